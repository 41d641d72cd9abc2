"""Screening rules for candidates; every verdict states its reason."""
