"""What a material is predicted to do: endpoints, models with intervals, and their baselines."""
