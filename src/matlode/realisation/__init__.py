"""Construction of crystal structures for formulas and patterns."""
