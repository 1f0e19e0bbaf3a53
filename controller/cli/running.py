"""Findings on running jobs, by their losses so far."""

from controller.cli.common import Seen, backend_for
from controller.errors import FtctlError
from controller.evaluate.curves.files import findings_of_job
from controller.evaluate.curves.findings import Finding
from controller.evaluate.curves.points import thinned
from controller.lockfile.model import Lockfile
from controller.project.project import Project
from controller.state_folder import refused_by_system


def findings_of_running(
    project: Project, lockfile: Lockfile, seen: Seen
) -> dict[str, tuple[Finding, ...]]:
    """Return the findings about the open jobs on this machine, by fine-tune.

    A service would be asked once for each job; `ftctl logs` does that for one.

    Args:
        project: The repository.
        lockfile: What is recorded.
        seen: The open jobs; gets the places whose losses could not be read.
    """
    found = {}
    for name, entry in lockfile.finetunes.items():
        if entry.job is None or (job := seen.jobs.get(entry.job.id)) is None or not job.progress:
            continue
        place = entry.job.backend
        try:
            backend = backend_for(project, place)
            if not backend.capabilities().remote:
                found[name] = findings_of_job(entry, thinned(backend.curve(job.id)))
        except FtctlError as error:
            seen.unreachable[place] = error.one_line
        except OSError as error:
            seen.unreachable[place] = refused_by_system(error, project.state).one_line
    return found
