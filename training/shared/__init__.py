"""What all trainings need: setup, epochs, saving, images."""
