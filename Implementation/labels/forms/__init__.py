"""Readers of forms of labels: masks, label maps, outlines."""
