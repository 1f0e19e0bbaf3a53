"""Evaluations written as logs of other tools, for their viewers. Pure."""
