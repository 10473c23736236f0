"""Regions: annotations of an image, their tissue and nuclei; maps, and the densest fields."""
