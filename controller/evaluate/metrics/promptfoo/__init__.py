"""Assertions of promptfoo as a metric."""
