"""Configurations of other tools, read as specs of this repository: one module for each tool.

A translator is pure: from parsed values to a `Translation`, with a line for every key that it was
given. `translation` says what a translation is; `keys` has the tables' entries.
"""
