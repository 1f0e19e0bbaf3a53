"""One run: make a plan, carry it out pass by pass, wait for its jobs.

Read `reconcile.walk` first: it has the stages in order. `load`, `stages` and `observe` are its first
lines, `carry_out` is its last.
"""
