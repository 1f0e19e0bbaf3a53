"""Prompts that models answer in an evaluation, read or made when they are needed."""
