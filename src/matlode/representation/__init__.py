"""Matter as arrays (composition, powder pattern, descriptors), and back where it can go back."""
