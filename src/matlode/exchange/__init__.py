"""Run folders in the formats of other programs, through the libraries that own the formats."""
