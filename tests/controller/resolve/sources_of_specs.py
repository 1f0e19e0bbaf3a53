"""Sources in specs, for tests of plans."""

COLUMNS = {"user": "question", "assistant": "answer"}


def with_source(source, **more):
    return {"data": {"train": [source], "held_out": {"fraction": 0.25}, **more}}
