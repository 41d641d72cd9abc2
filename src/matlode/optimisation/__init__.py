"""Goals, samplers of latent points, and the campaign that evaluates them."""
