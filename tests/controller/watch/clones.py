"""A clone as the service keeps it, without the service."""

import json
import os

from controller.lockfile.model import dump_lockfile, parse_lockfile
from controller.project.project import Project
from controller.watch.clone.checkout import open_checkout
from controller.watch.clone.git import Git, git_environment
from controller.watch.clone.records import synchronise
from controller.watch.clone.upstream import Upstream
from tests.watched import LOCKFILE, PEOPLE


class Clone:
    """A clone as the service keeps it."""

    def __init__(self, folder, remote, branch="main", subfolder="", **environment):
        self.folder = folder
        lock = os.open(folder.with_suffix(".lock"), os.O_RDWR | os.O_CREAT)
        given = git_environment({**os.environ, **PEOPLE, **environment}, remote.url, "")
        self.git = Git(folder=folder, environment=given, lock=lock)
        self.checkout = open_checkout(
            self.git, Upstream(url=remote.url, branch=branch, folder=subfolder)
        )
        self.project = Project(root=folder / subfolder, state=folder / ".ftctl")

    def sync(self, **options):
        return synchronise(self.checkout, self.project, self.checkout.fetch(), **options)

    def write(self, entries):
        write(self.folder, entries)

    def recorded(self):
        return json.loads((self.folder / LOCKFILE).read_bytes())["finetunes"]


def write(folder, entries):
    text = json.dumps({"_": "", "format": 1, "finetunes": entries}).encode()
    (folder / LOCKFILE).parent.mkdir(exist_ok=True)
    (folder / LOCKFILE).write_bytes(dump_lockfile(parse_lockfile(text, LOCKFILE)))
