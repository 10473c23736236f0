"""Any image or slide: found, opened, read as 8-bit RGB with its pixel size; degraded; stitched."""
