"""Which candidates survive, and why the others did not: every verdict has a reason."""
