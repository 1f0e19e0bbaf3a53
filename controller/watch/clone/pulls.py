"""Records of pull requests that the branch has taken over: removed from the server, then here."""

from controller.lockfile.early import is_taken_over
from controller.lockfile.pulls import PREFIX, list_pulls, read_pulls
from controller.lockfile.store import read_lockfile
from controller.project.project import Project
from controller.watch.clone.checkout import Checkout
from controller.watch.clone.git import GitFailed, Trouble


def remove_taken_over(checkout: Checkout, project: Project) -> tuple[str, ...]:
    """Remove the records of merged pull requests; return their references.

    What somebody records for one of them meanwhile stays: the next fetch brings it.

    Args:
        checkout: The clone; its records are pushed, or a build would be nowhere.
        project: The repository in it.

    Raises:
        LockfileInvalid: The lockfile cannot be read.
        GitFailed: There is no permission, or no answer.
    """
    commits = list_pulls(project.root)
    if not commits:
        return ()
    recorded = read_lockfile(project.root, project.records)
    removed = []
    for record in read_pulls(project.root).records:
        if not is_taken_over(record, recorded):
            continue
        reference = f"{PREFIX}{record.pull}"
        try:
            checkout.remove_reference(reference, commits[record.pull])
        except GitFailed as error:
            if error.trouble is not Trouble.RACE:
                raise
        else:
            removed.append(reference)
    return tuple(removed)
