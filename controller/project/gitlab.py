"""Files by which a repository at GitLab plans, applies and follows its fine-tunes: `ftctl init --gitlab`."""

import json
import re
from collections.abc import Iterable
from pathlib import Path

from controller.errors import FtctlError
from controller.project.github import (
    WrittenFiles,
    add_merge_driver,
    origin_of_ftctl,
    top_and_prefix,
    trigger_paths,
    write_file,
)
from controller.spec.load import LoadedSpec

FILE = ".gitlab/fine-tunes.yml"
PIPELINE = ".gitlab-ci.yml"
INCLUDE = f"include:\n  - local: {FILE}\n"
_TEMPLATE = Path(__file__).with_name("workflows") / "gitlab.yml"
_SOURCE = re.compile(r"^((?:https?|ssh|file)://[^\s'\"@]+|git@[^\s'\"@]+)@([0-9a-f]{40})$")


def git_source(given: str | None, option: str) -> tuple[str, str]:
    """Return address and commit of the ftctl whose scripts the jobs run.

    Args:
        given: What a person named, `URL@COMMIT`; None to take where ftctl came from.
        option: The option of `ftctl init`, in messages.

    Raises:
        FtctlError: Nothing tells it, or it is not of that form.
    """
    url, commit = origin_of_ftctl()
    source = given or (f"{url}@{commit}" if url and commit else None)
    if source is None:
        message = "it is not known where this ftctl came from"
        raise FtctlError(message, f"Name it: ftctl init {option} --uses URL@COMMIT")
    match = _SOURCE.fullmatch(source)
    if match is None:
        remedy = "Write --uses https://…/ftctl.git@COMMIT, with all 40 digits of the commit."
        raise FtctlError(f"{source!r} is not URL@COMMIT", remedy)
    return match[1], match[2]


def write_gitlab_files(
    root: Path, specs: Iterable[LoadedSpec], uses: str | None, *, overwrite: bool = False
) -> WrittenFiles:
    """Write the jobs; a pipeline that is there is left alone, and must include them.

    Args:
        root: The folder with `finetunes/`; it may be below the top of its git repository.
        specs: Its specs: data outside `finetunes/` starts an apply too.
        uses: The ftctl to run, `URL@COMMIT`; None to take where this one came from.
        overwrite: True to replace jobs that say something else.

    Raises:
        FtctlError: It is no git repository, or nothing tells where ftctl came from.
    """
    url, commit = git_source(uses, "--gitlab")
    top, prefix = top_and_prefix(root)
    done = WrittenFiles()
    values = {
        "FOLDER": json.dumps(prefix.rstrip("/") or ".", ensure_ascii=False),
        "URL": url,
        "COMMIT": commit,
        "PATHS": json.dumps(trigger_paths(top, prefix, specs), ensure_ascii=False),
    }
    text = _TEMPLATE.read_text(encoding="utf-8")
    for key, value in values.items():
        text = text.replace(f"@{key}@", value)
    write_file(top, FILE, text, done, overwrite=overwrite)
    pipeline = top / PIPELINE
    if not pipeline.exists() or FILE.encode() not in pipeline.read_bytes():
        # Never replaced: it holds every other job of the repository.
        write_file(top, PIPELINE, INCLUDE, done, overwrite=False)
    else:
        done.kept.append(PIPELINE)
    add_merge_driver(top, prefix, done)
    return done
