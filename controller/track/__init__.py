"""Evaluated builds written to trackers: MLflow, Weights & Biases, TensorBoard, trackio.

`record` makes what goes there, `targets` decides where, and `send` starts a child process per
tracker, so that a tracker's library can neither block nor change the process that trains.
"""
