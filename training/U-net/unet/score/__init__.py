"""The training of the network that scores candidates for nuclei."""
