"""What the commands do, callable from Python: each job wires rooms together."""
