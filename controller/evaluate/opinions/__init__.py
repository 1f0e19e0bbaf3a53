"""Opinions on answers, of a judge and of people, and the files that people fill in."""
