"""A local page for searches: what is wanted, how it goes, what was found."""
