"""From a folder of images to its results: run, job, stages, pieces, helpers, cluster."""
