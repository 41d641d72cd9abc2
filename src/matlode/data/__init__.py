"""Crystals and their labels, from files, tables, databases and the embedded starter set."""
