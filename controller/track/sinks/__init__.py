"""One module for each tracker. Each imports the tracker's library, and has one function, `write`.

`write(settings, records, state)` writes the runs of the records to the tracker that the settings
name, replaces what an earlier call wrote of the same runs, and returns the link of each run by its
key. `state` is the state folder.
"""
