"""Readers of image formats: DICOM, plain images, TIFF, slides."""
