"""The SRGAN: networks, losses, data, training, evaluation."""
