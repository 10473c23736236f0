"""Regions: annotations of an image, their tissue and nuclei."""
