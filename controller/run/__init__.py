"""One run: prepare a plan, carry it out pass by pass, wait for its jobs.

prepare: specs, settings, lockfile → resolve → observe → plan. reconcile: the passes.
"""
