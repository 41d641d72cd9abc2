"""Benchmarks of speed and accuracy against other software."""
