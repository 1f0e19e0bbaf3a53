"""The file by which a repository at Forgejo or Gitea plans, applies and follows its fine-tunes."""

import json
from collections.abc import Iterable
from pathlib import Path

from controller.project.github import (
    WrittenFiles,
    add_merge_driver,
    default_branch,
    top_and_prefix,
    trigger_paths,
    write_file,
)
from controller.project.gitlab import git_source
from controller.spec.load import LoadedSpec

FILE = ".forgejo/workflows/fine-tunes.yml"
_TEMPLATE = Path(__file__).with_name("workflows") / "forgejo.yml"
_RUNNER = "docker"
"""Label of the machines of Forgejo's own examples."""


def write_forgejo_files(
    root: Path,
    specs: Iterable[LoadedSpec],
    uses: str | None,
    *,
    runner: str | None = None,
    overwrite: bool = False,
) -> WrittenFiles:
    """Write the workflow; one that says something else is left alone.

    Args:
        root: The folder with `finetunes/`; it may be below the top of its git repository.
        specs: Its specs: data outside `finetunes/` starts an apply too.
        uses: The ftctl to run, `URL@COMMIT`; None to take where this one came from.
        runner: Label of the machines that train; None for those that plan.
        overwrite: True to replace a workflow that says something else.

    Raises:
        FtctlError: It is no git repository, or nothing tells where ftctl came from.
    """
    url, commit = git_source(uses, "--forgejo")
    top, prefix = top_and_prefix(root)
    done = WrittenFiles()
    values = {
        "BRANCH": json.dumps(default_branch(top), ensure_ascii=False),
        "FOLDER": json.dumps(prefix.rstrip("/") or ".", ensure_ascii=False),
        "PATHS": json.dumps(
            [*trigger_paths(top, prefix, specs), "!**/ftctl.lock"], ensure_ascii=False
        ),
        "URL": url,
        "COMMIT": commit,
        "RUNNER": json.dumps(_RUNNER),
        "TRAINER": json.dumps(runner or _RUNNER, ensure_ascii=False),
    }
    text = _TEMPLATE.read_text(encoding="utf-8")
    for key, value in values.items():
        text = text.replace(f"@{key}@", value)
    write_file(top, FILE, text, done, overwrite=overwrite)
    add_merge_driver(top, prefix, done)
    return done
