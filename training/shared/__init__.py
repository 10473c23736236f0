"""What both trainings need: setup, epochs, saving."""
