"""The actions of others that our workflows use, as far as their documentation says what they do."""

import re
import shutil
import stat
from pathlib import Path

from tests.workflows.harness.hub import zipped
from tests.workflows.repositories import git


def checkout(job, given):
    """`actions/checkout`: a shallow clone of the repository, or of a part, with no credential left."""
    known = {"ref", "path", "fetch-depth", "lfs", "persist-credentials"}
    assert set(given) <= known, given
    assert str(given["persist-credentials"]).lower() == "false"
    job.require("contents:read")
    ref = given.get("ref") or job.context["github"]["sha"]
    target = job.workspace / given.get("path", ".")
    target.mkdir(parents=True, exist_ok=True)
    url = f"{job.hub.url}/{job.context['github']['repository']}"
    git(target, "init", "--quiet")
    git(target, "remote", "add", "origin", url)
    depth = str(given.get("fetch-depth", 1))
    options = ["--depth", depth] if depth != "0" else []
    header = job.authorization()
    source = (
        ref
        if re.fullmatch(r"[0-9a-f]{40}", ref)
        else f"+refs/heads/{ref}:refs/remotes/origin/{ref}"
    )
    git(target, *header, "fetch", "--quiet", "--no-tags", *options, "origin", source)
    git(target, "checkout", "--quiet", "--force", "FETCH_HEAD")
    return {}


def setup_python(_job, given):
    """`actions/setup-python`: the machine has it already."""
    assert set(given) == {"python-version"}
    return {}


def cache(job, given):
    """`actions/cache`: restores now, and keeps the folder when the job has succeeded."""
    hit = cache_restore(job, given)
    if hit["cache-hit"] != "true":
        job.at_end.append(lambda: job.run.caches.save(_home(job, given["path"]), given["key"]))
    return hit


def cache_restore(job, given):
    """`actions/cache/restore`."""
    prefixes = [one for one in given.get("restore-keys", "").split("\n") if one.strip()]
    hit = job.run.caches.restore(_home(job, given["path"]), given["key"], prefixes)
    return {"cache-hit": str(hit).lower()}


def cache_save(job, given):
    """`actions/cache/save`."""
    job.run.caches.save(_home(job, given["path"]), given["key"])
    return {}


def upload_artifact(job, given):
    """`actions/upload-artifact`: every file of a folder, as one archive."""
    folder = _home(job, given["path"])
    files = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    if not files:
        return {}
    repository = job.run.repository
    number = job.hub.number()
    run = int(job.context["github"]["run_id"])
    repository["artifacts"][number] = {"name": given["name"], "run": run}
    job.hub.stored[number] = zipped(files)
    return {"artifact-id": str(number)}


def app_token(job, given):
    """`actions/create-github-app-token`: a token of an App that may push to protected branches."""
    assert given["private-key"] == job.run.app_key, "the App does not know this key"
    permissions = {
        name.removeprefix("permission-"): level
        for name, level in given.items()
        if name.startswith("permission-")
    }
    token = job.hub.token(job.run.repository["name"], permissions, bypass=True)
    return {"token": token}


def _home(job, path):
    if path.startswith("~"):
        return job.machine.home / path.removeprefix("~/")
    found = Path(path)
    return found if found.is_absolute() else job.workspace / found


def unpack(hub, repository, commit, folder):
    """Return the folder of a repository at a commit, as the runner downloads actions."""
    target = folder / f"_actions/{repository}/{commit}"
    if not target.exists():
        archive = folder / f"{commit}.tar"
        source = hub.repositories[repository]["path"]
        git(source, "archive", "--format=tar", "-o", str(archive), commit)
        target.mkdir(parents=True)
        shutil.unpack_archive(archive, target, filter="data")
        archive.unlink()
        for path in target.rglob("*"):  # an action that writes beside itself would be found
            path.chmod(path.stat().st_mode & ~(stat.S_IWUSR | stat.S_IWGRP))
    return target


ACTIONS = {
    "actions/checkout": checkout,
    "actions/setup-python": setup_python,
    "actions/cache": cache,
    "actions/cache/restore": cache_restore,
    "actions/cache/save": cache_save,
    "actions/upload-artifact": upload_artifact,
    "actions/create-github-app-token": app_token,
}
