"""The weights of `ftctl export`: adapter, merged model, GGUF file, and their upload."""

import json
import os
import re
import shlex
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import click

from backends.contract.backend import Backend
from backends.contract.exports import ExportRequest
from backends.contract.inspector import Json
from backends.did_you_mean import use_one_of
from controller import __version__
from controller.cli.common import backend_for, print_result, wants_json
from controller.cli.report_inputs import report_inputs
from controller.errors import FtctlError
from controller.extras import import_extra
from controller.lockfile.model import Build, Entry
from controller.plan.fingerprint import short_id
from controller.project.project import Project
from controller.render.text import escape_control
from controller.report.build import build_report
from controller.report.markdown import card_sections
from controller.spec.load import read_specs
from controller.weights.folder import MANIFEST, export_folder, files_of, require_replaceable

_CARD: Final = "README.md"
_NOTE: Final = "Made by ftctl export."
_FOLDER: Final = re.compile('"FOLDER"|FOLDER')
"""Place of the export's folder in a command, or as a text in code."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """Request of a person."""

    name: str
    entry: Entry
    form: str
    out: Path
    build: str | None
    push_to: str | None
    public: bool


def export_weights(ctx: click.Context, project: Project, asked: Weights) -> None:
    """Export the weights of a build, and upload them if that was asked for.

    Raises:
        FtctlError: They cannot be exported here, or the upload failed.
    """
    build = chosen_build(asked.name, asked.entry, asked.build)
    require_trained(asked.name, build)
    target = asked.out.resolve()
    specs, _ = read_specs(project.root)
    private = asked.name in specs and specs[asked.name].spec.data.is_private
    hub = _hub(asked, private=private)
    backend = exporting_backend(project, build, asked.form)
    require_replaceable(target)
    with export_folder(target, project.state) as folder:
        facts = _written(ctx, backend, asked, build, folder)
        _write_card(folder, facts, _sections(project, asked, build))
        manifest = _manifest(asked, build, folder, facts)
        text = json.dumps(manifest, ensure_ascii=False, indent=1, sort_keys=True)
        (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")
    url = None
    if hub is not None and asked.push_to is not None:
        message = f"{asked.name}: build {short_id(build.fingerprint)}, {asked.form}"
        url = hub.push(target, asked.push_to, message, public=asked.public)
    if private:
        warning = f"! {asked.name}: its data is declared private, and the weights learned from it"
        click.echo(warning, err=True)
    result: dict[str, Json] = {"folder": str(target), "url": url, **manifest}
    print_result(ctx, result, _summary(asked, build, facts, url))


def chosen_build(name: str, entry: Entry, wanted: str | None) -> Build:
    """Return the build in production, or the one whose fingerprint begins as given.

    Raises:
        FtctlError: There is no such build, or there are several.
    """
    if wanted is None:
        build = entry.builds.get(entry.production or "")
        if build is None:
            remedy = "Name a build with `--build`, or see `ftctl status`."
            raise FtctlError(f"{name} has no model in production", remedy)
        return build
    digits = wanted.rpartition(":")[2]
    found = [
        one
        for one in entry.builds.values()
        if digits and one.fingerprint.rpartition(":")[2].startswith(digits)
    ]
    if len(found) != 1:
        known = [short_id(one) for one in entry.builds]
        word = "several builds begin" if found else "no build begins"
        raise FtctlError(f"{name}: {word} with {wanted!r}", use_one_of(known), field="--build")
    return found[0]


def require_trained(name: str, build: Build) -> None:
    """Require that a build has weights of its own.

    Raises:
        FtctlError: The build is its base model with a prompt.
    """
    if build.prompt is not None:
        raise FtctlError(
            f"{name} has no weights of its own: nothing was trained",
            f"Use the base model: {escape_control(build.base_model)}.",
        )


def exporting_backend(project: Project, build: Build, form: str) -> Backend:
    """Open a build's backend, which must export weights in a format.

    Raises:
        FtctlError: The weights are at a service, or the backend lacks the format.
    """
    backend = backend_for(project, build.backend)
    can = backend.capabilities()
    if form in can.exports:
        return backend
    model = escape_control(build.model_id)
    if can.exports:
        message = f"backend {build.backend} exports no {form}"
        raise FtctlError(message, use_one_of(sorted(can.exports)), field="--format")
    where = "the service that trained it" if can.remote else f"backend {build.backend}"
    raise FtctlError(
        f"the weights of {model} cannot be exported: {where} keeps them",
        "Train it with `backend: local-gpu`, with the same data and the same gate: "
        "`ftctl help migration`.",
    )


def _hub(asked: Weights, *, private: bool) -> ModuleType | None:
    """Return the module that uploads, after all that can be checked before the export.

    Raises:
        FtctlError: Its package, the token or the ID is missing, or private data would be public.
    """
    if asked.push_to is None:
        if asked.public:
            message = "there is no repository to make public"
            raise FtctlError(message, "Name one with `--push-to`.", field="--public")
        return None
    if private and asked.public:
        raise FtctlError(
            "the data is declared private, so its model is not uploaded to a public repository",
            "Leave `--public` out.",
            field="--public",
        )
    # Otherwise its client reports on this machine to the hub.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    hub: ModuleType = import_extra(
        "controller.weights.hub", extra="hub", what="uploading to the hub"
    )
    hub.require_hub(asked.push_to)
    return hub


def _written(
    ctx: click.Context, backend: Backend, asked: Weights, build: Build, folder: Path
) -> dict[str, Any]:
    """Let the backend write the weights; return its facts."""
    request = ExportRequest(
        model_id=build.model_id, name=asked.name, format=asked.form, folder=folder
    )
    facts: dict[str, Any] = {}
    # Closed at once when this is interrupted: nothing may write into a folder that is removed.
    with closing(backend.export_model(request)) as steps:
        for step in steps:
            facts |= step.facts
            if not (step.facts or wants_json(ctx)):
                click.echo(f"{escape_control(step.message)} …", err=True)
    if not any(folder.iterdir()):
        message = f"backend {build.backend} wrote no files"
        raise FtctlError(message, "Report it to the authors of the backend.")
    return facts


def _sections(project: Project, asked: Weights, build: Build) -> str:
    """Return what the lockfile and the spec tell of a build, for its card."""
    specs, problems = read_specs(project.root)
    mine = problems.get(asked.name, ())
    entry = asked.entry.model_copy(update={"candidate": None, "production": build.fingerprint})
    return card_sections(
        build_report(report_inputs(project, asked.name, entry, specs.get(asked.name), mine))
    )


def _write_card(folder: Path, facts: dict[str, Any], sections: str) -> None:
    """Complete the backend's card: use and notes, the record, and how the weights were checked."""
    path = folder / _CARD
    parts = [path.read_text(encoding="utf-8").rstrip()] if path.exists() else []
    parts.append(sections)
    if facts.get("use"):
        parts.append(f"### Use\n\n```\n{_command(facts, '.')}\n```")
    parts += [f"> {note}" for note in facts.get("notes", ())]
    checks = "\n".join(f"- {_check_words(one)}" for one in facts.get("checks", ()))
    if checks:
        asked = facts.get("questions", "questions")
        lead = f"Compared with the trained model on its base, by {asked}:"
        parts.append(f"### Checked\n\n{lead}\n\n{checks}")
    path.write_text("\n\n".join(filter(None, parts)) + "\n", encoding="utf-8")


def _command(facts: dict[str, Any], folder: str) -> str:
    """Return what uses an export: a command, or code with the folder as a text of its own."""

    def written(found: re.Match[str]) -> str:
        quoted = found[0] != "FOLDER"
        return json.dumps(folder, ensure_ascii=False) if quoted else shlex.quote(folder)

    return _FOLDER.sub(written, str(facts["use"]))


def _check_words(check: dict[str, Any]) -> str:
    near = len(check["near_ties"])
    rest = f", {near} with a near tie" if near else ""
    return f"{check['by']}: {check['equal']} of {check['answers']} greedy answers equal{rest}"


def _manifest(asked: Weights, build: Build, folder: Path, facts: dict[str, Any]) -> dict[str, Json]:
    return {
        "_": _NOTE,
        "ftctl": __version__,
        "name": asked.name,
        "format": asked.form,
        "model_id": build.model_id,
        "fingerprint": build.fingerprint,
        "attempt": build.attempt,
        "files": files_of(folder),
        **facts,
    }


def _summary(asked: Weights, build: Build, facts: dict[str, Any], url: str | None) -> str:
    lines = [
        f"{asked.name}: build {short_id(build.fingerprint)} as {asked.form} in {asked.out}",
        *(f"  {escape_control(_check_words(one))}" for one in facts.get("checks", ())),
        *(f"  ! {escape_control(note)}" for note in facts.get("notes", ())),
    ]
    if url is not None:
        lines.append(f"  uploaded to {escape_control(url)}")
    if facts.get("use"):
        lines.append(f"Use it: {escape_control(_command(facts, str(asked.out)))}")
    return "\n".join(lines)
