"""Launcher of Ray clusters, over HTTP; the program for several nodes runs inside a cluster."""
