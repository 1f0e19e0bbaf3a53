"""Jobs on other machines: a run folder in a store that both machines share is the truth.

The machine of ftctl writes what a job needs into the store, and a launcher places the worker. The
worker claims the run, fetches what it needs, trains in a folder of its own disk, and writes signs of
life, progress, checkpoints and last of all the result into the store.

Both sides:

- `objects`: the names of a run's objects, and what a listing tells of a run; pure
- `shipping`: files that go to the store and come back
- `bases`, `placed_request`: what a worker needs
- `claims`: one worker at a time trains a run

The machine of ftctl:

- `machines`: the machines by name, and this one
- `placed_workers`: workers that a launcher places
- `mirror`: the run folder here, filled from the store
- `own_code`: this ftctl, for machines that do not have it

The other machine:

- `worker`: its program
- `nodes`: several nodes train one run
- `publishing`: what it writes while it trains
- `scratch`: its folder there
"""
