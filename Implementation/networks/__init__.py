"""Trained networks: safe loading, prediction, receptive field, folding, precision."""
