"""Training jobs on this machine: run folders, worker processes and devices."""
