"""The U-net: network, loss, data, augmentation, training."""
