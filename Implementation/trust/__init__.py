"""How far a result can be trusted: consistency, confidence, likeness to the training images."""
