"""Two variational autoencoders: 24 latent variables for compositions, 64 for powder patterns."""
