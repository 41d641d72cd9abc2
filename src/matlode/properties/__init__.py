"""Prediction of material properties: endpoints, models with intervals, and baselines."""
