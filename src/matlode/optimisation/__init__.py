"""Where to look next: goals, samplers of latent points, and the campaign that runs them."""
