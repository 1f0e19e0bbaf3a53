"""Models of a run and the store: those that it lacks, and those that this machine lacks."""
