"""What is known: crystals and their labels, from files, tables and the embedded starter set."""
