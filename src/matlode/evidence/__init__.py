"""What a machine-learned potential says of a structure: shape, stability, stiffness."""
