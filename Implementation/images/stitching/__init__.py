"""Overlapping microscope fields become one image, for `Stitch_fields.py`."""
