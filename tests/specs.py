"""Specs of a repository, for tests that have no use for a broken one."""

from controller.errors import InvalidInput
from controller.spec.load import all_problems, read_specs


def load_specs(root):
    """Return the specs by name; raise InvalidInput with every problem of every file."""
    specs, problems = read_specs(root)
    if problems:
        raise InvalidInput(all_problems(problems))
    return specs
