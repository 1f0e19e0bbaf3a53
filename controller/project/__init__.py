"""A repository on this machine: its paths, and the files that `ftctl init` writes."""
