"""The network that tells the pixel size of tissue: layers, patches, training."""
