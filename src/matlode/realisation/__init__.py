"""Crystal structures for formulas and patterns."""
