"""Regions that may be nuclei: fragments of the mask, and what neighbouring ones are together."""
