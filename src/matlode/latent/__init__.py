"""Two variational autoencoders: composition in 24 numbers, powder pattern in 64."""
