"""Stores of objects that several machines share: a folder, buckets, the hub.

- `objects`: the interface, and the names of objects
- `folder`, `bucket`, `hub`: the kinds of stores, opened by `open_store`
- `probe`: the refusal of stores that ignore conditions
- `manifest`, `push`, `pull`: files, in pieces that are named by their digests
"""
