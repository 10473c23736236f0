"""Rectangles: tile geometry, seamless prediction, resampling, arrays on disk."""
