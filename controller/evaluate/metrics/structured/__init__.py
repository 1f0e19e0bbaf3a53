"""Metrics of JSON and of tool calls."""
