"""`ftctl doctor --machine`: a machine as it looks from here, and as a job sees it from inside.

- `__main__`: the job, which a launcher places as it places workers
- `from_here`: the store and the scheduler; waits for what the job writes
- `findings`: that in words; pure
- `objects`: the names of a probe's objects in the store; pure
"""
