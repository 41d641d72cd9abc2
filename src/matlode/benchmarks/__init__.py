"""How fast and how good the product is beside others, in one run."""
