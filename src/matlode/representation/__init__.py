"""Representation of materials as arrays: compositions, powder patterns and descriptors."""
