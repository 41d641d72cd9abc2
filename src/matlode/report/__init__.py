"""What a run found, for people: reads the run folder and computes nothing new."""
