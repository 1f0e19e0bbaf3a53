"""The half of ftctl that decides: specs, data, plans, the lockfile and the command line."""

__version__ = "0.1.0"
