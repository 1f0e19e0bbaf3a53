"""Training and completion on this machine: one child process per job, files in between."""
