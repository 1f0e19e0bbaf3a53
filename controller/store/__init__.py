"""The model store: where trained models outlive the machine that trained them.

Files are split into pieces of at most 8 MiB, and each piece is an object under its own digest. So
any file is written and read in little memory, an interrupted transfer continues after the last whole
piece, equal files are stored once, and damage is found by the name of the object. A small manifest
for each build names the pieces. It is written last: a build is in the store exactly if its manifest
is there.

Stores and the transfer of files are in `backends.stores`.

- `declared`: the store of `ftctl.yaml`
- `lease`: pushes and prunes keep out of each other's way
- `builds`: builds of the lockfile and the store
- `fetching`: backends that get what they lack from the store
- `prune`, `history`, `verify`: the store as a whole
"""
