"""Nuclei: tissue, separation, measurement, windows, GeoJSON."""
