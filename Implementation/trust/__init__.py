"""Can the result be trusted: consistency, confidence, likeness to the training images."""
