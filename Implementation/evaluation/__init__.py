"""Segmentation, super-resolution, speed and memory, measured."""
