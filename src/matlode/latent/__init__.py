"""Two variational autoencoders: composition in 24 numbers, powder pattern in 64."""

from matlode.latent.space import LatentSpace

__all__ = ["LatentSpace"]
