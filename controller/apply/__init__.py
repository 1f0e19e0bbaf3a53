"""Carrying out a plan: one short handler per action, recorded in one place.

The door is `dispatch.apply_action`. A handler acts at a backend, where its action asks for that,
and returns the entries to record with what to tell people.
"""
