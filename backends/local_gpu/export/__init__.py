"""Exports: a trained model's folder in the form of another program, checked by that program."""
