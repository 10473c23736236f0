"""Any mask or label file, paired with its image: read as a label map with a note of its meaning."""
