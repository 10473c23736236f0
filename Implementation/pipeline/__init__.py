"""From a folder of images to the results of a run: jobs, summary, repetition, cluster."""
