"""The rules of the house, kept by a machine: who may import whom, and what the core may not do.

Each failure says what to do. A rule is changed here, on purpose, or not at all.
"""

import ast
import re
import subprocess
import sys

import pytest

from tests.architecture.layers import CONTRACT, LAYERS, UPWARDS
from tests.architecture.sources import (
    PACKAGES,
    ROOT,
    expect_none,
    functions,
    nodes,
    shown,
    sources,
    tree,
)

PURE = (
    "controller/adopt/builds.py",
    "controller/adopt/configs/adapter.py",
    "controller/adopt/configs/axolotl.py",
    "controller/adopt/configs/axolotl_rows.py",
    "controller/adopt/configs/keys.py",
    "controller/adopt/configs/llama_factory.py",
    "controller/adopt/configs/llama_factory_rows.py",
    "controller/adopt/configs/recognise.py",
    "controller/adopt/configs/shared.py",
    "controller/adopt/configs/soup.py",
    "controller/adopt/configs/spec.py",
    "controller/adopt/configs/translation.py",
    "controller/adopt/configs/trl.py",
    "controller/adopt/hosted_spec.py",
    "controller/adopt/names.py",
    "controller/canonical.py",
    "controller/data/examples/example.py",
    "controller/data/transforms/html_to_text.py",
    "controller/data/select/minhash.py",
    "controller/data/transforms/pii/*.py",
    "controller/data/transforms/normalise.py",
    "controller/data/examples/row_formats.py",
    "controller/data/examples/sharegpt.py",
    "controller/data/select/split.py",
    "controller/evaluate/answers.py",
    "controller/evaluate/curves/findings.py",
    "controller/evaluate/curves/points.py",
    "controller/evaluate/gate.py",
    "controller/evaluate/judgement.py",
    "controller/evaluate/labels.py",
    "controller/evaluate/prompts/lazy.py",
    "controller/evaluate/metric.py",
    "controller/evaluate/metrics/**/*.py",
    "controller/evaluate/retain/rules.py",
    "controller/evaluate/retain/suites.py",
    "controller/evaluate/scoring.py",
    "controller/evaluate/statistics/*.py",
    "controller/export/*.py",
    "controller/record/wanted.py",
    "controller/record/words.py",
    "controller/lockfile/early.py",
    "controller/lockfile/model.py",
    "controller/move/edits.py",
    "controller/move/translate.py",
    "controller/move/yaml_*.py",
    "controller/plan/**/*.py",
    "controller/render/*.py",
    "controller/render/comment/*.py",
    "controller/review/gates.py",
    "controller/report/*.py",
    "controller/track/record.py",
    "controller/track/targets.py",
    "controller/resolve/aliases.py",
    "controller/project/needed_extras.py",
    "controller/watch/interval.py",
    "controller/watch/mask.py",
    "controller/watch/outlook.py",
)
IMPURE_MODULES = {
    *("asyncio", "datetime", "io", "logging", "os", "pathlib", "random", "secrets", "shutil"),
    *("socket", "subprocess", "tempfile", "threading", "time", "urllib", "uuid"),
}
IMPURE_CALLS = {"open", "print", "input", "exec", "eval", "__import__"}

# Importing inside a function hides a dependency. These may, and why:
LATE_IMPORTS = {
    # `ftctl --help` imports no command.
    ("controller/cli/__init__.py", "import_module"),
    # Importing it changes how this process reads a terminal, which only a conversation wants.
    ("controller/cli/chat.py", "import_module"),
    # The door to the packages of the extra `local`, which most commands never need.
    ("backends/local_gpu/tokens/inspector.py", "import_module"),
    # The door to the hub's client, which only a model that is not here needs.
    ("backends/local_gpu/backend.py", "import_module"),
    # The doors to the extra `openai`: half a second of import, which validate never needs.
    ("backends/openai/api/opening.py", "import_module"),
    ("backends/openai/examples/inspector.py", "import_module"),
    ("backends/openai/api/endpoints.py", "import_module"),
    # Inside a cluster, Ray's own package is there; a message says so where it is not.
    ("backends/launchers/ray/nodes.py", "import_module"),
    # Finding a dataset built needs nothing of what builds it.
    ("controller/data/dataset.py", "import_module"),
    # The door to stores that need a package of the extra `store`.
    ("backends/stores/open_store.py", "import_module"),
    # The one door of the controller to modules that need a package of an extra.
    ("controller/extras.py", "import_module"),
    # A spec names the metrics whose modules are needed; every command reads specs.
    ("controller/evaluate/metrics/__init__.py", "import_module"),
}
HEAVY = (
    *("accelerate", "numpy", "openai", "peft", "tokenizers", "torch", "transformers"),
    *("datasets", "detect_secrets", "fsspec", "phonenumbers", "py3langid", "pyarrow", "rensa"),
    *("selectolax", "sqlalchemy", "stdnum", "trafilatura"),
    "jsonschema_rs",
    *("mlflow", "tensorboardX", "trackio", "wandb"),
    *("httpx2", "prometheus_client"),
    *("conversion", "convert_hf_to_gguf", "huggingface_hub", "xllamacpp"),
)


def imported(path, known):
    """Yield (line, module) for every import of our own modules, wherever it is.

    A module that is loaded by its name in a string counts as well.
    """
    for node in nodes(path):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{shown(path)}:{node.lineno}: imports are absolute"
            names = {
                deeper if (deeper := f"{node.module}.{alias.name}") in known else node.module
                for alias in node.names
            }
        elif isinstance(node, ast.Constant) and node.value in known:
            names = [node.value] if "." in node.value else []
        else:
            continue
        for name in names:
            if name.split(".")[0] in PACKAGES:
                yield node.lineno, name


def place(module):
    """Return (row, entry) of a module in LAYERS, or None."""
    fitting = [
        (len(entry), row, entry)
        for row, entries in enumerate(LAYERS)
        for entry in entries
        # `controller` itself is the version, not a home for whatever has none.
        if module == entry or (entry != "controller" and module.startswith(f"{entry}."))
    ]
    return max(fitting)[1:] if fitting else None


def one_backend(module):
    """Return the concrete backend that a module belongs to, or None."""
    parts = module.split(".")
    inside = len(parts) > 1 and parts[0] == "backends" and f"backends.{parts[1]}" not in CONTRACT
    return f"backends.{parts[1]}" if inside else None


def holds_others(module):
    """Return whether a module is a package with nothing but a docstring: importing it adds none."""
    path = sources().get(module)
    return path is not None and path.name == "__init__.py" and len(tree(path).body) <= 1


def broken_directions(modules, imports):
    """List the imports that do not point downwards; `imports` is (importer, line, imported)."""
    found = [
        f"{module} has no place: give it one in LAYERS"
        for module in modules
        if place(module) is None and not holds_others(module)
    ]
    for importer, line, target in imports:
        where = f"{importer}:{line}: imports {target}"
        if holds_others(target) or importer == target or (importer, target) in UPWARDS:
            continue
        if one_backend(target) and one_backend(target) != one_backend(importer):
            found.append(f"{where}: only a backend knows itself; go through backends.registry")
        elif importer.startswith("backends") and target.startswith("controller"):
            found.append(f"{where}: backends do not know who calls them")
        else:
            mine, theirs = place(importer), place(target)
            if mine and theirs and mine[1] != theirs[1] and mine[0] <= theirs[0]:
                found.append(f"{where}: that points upwards or sideways; move it down or pass it")
    return found


def test_imports_point_downwards():
    known = sources()
    imports = [(name, *one) for name, path in known.items() for one in imported(path, known)]
    assert len(imports) > 100, "the test looks at the wrong folder"

    expect_none(broken_directions(known, imports))


@pytest.mark.parametrize(
    ("importer", "target"),
    [
        ("controller.plan.plan", "controller.apply.dispatch"),
        ("controller.plan.plan", "controller.render.plan"),
        ("controller.data.build", "controller.evaluate.gate"),
        ("controller.data.storage.columns", "controller.data.readers.jsonl"),
        ("backends.local_gpu.models.adapters", "backends.local_gpu.training.train"),
        ("controller.errors", "controller.spec.model"),
        ("controller.apply.dispatch", "backends.local_gpu.backend"),
        ("controller.cli.chat", "backends.local_gpu.backend"),
        ("backends.registry", "backends.local_gpu.backend"),
        ("backends.local_gpu.backend", "controller.errors"),
        ("backends.contract.backend", "controller.errors"),
        ("backends.contract.backend", "backends.registry"),
        ("backends.openai.backend", "backends.local_gpu.jobs.run_dir"),
    ],
)
def test_an_import_that_breaks_the_direction_is_found(importer, target):
    assert len(broken_directions([], [(importer, 1, target)])) == 1


def test_a_module_without_a_place_is_found():
    assert broken_directions(["controller.utils"], []) == [
        "controller.utils has no place: give it one in LAYERS"
    ]


def test_no_module_imports_itself_in_a_circle():
    known = sources()
    graph = {
        # A module that starts a process of its own name imports nothing.
        name: {target for _, target in imported(path, known)} - {name}
        for name, path in known.items()
    }
    state = {}

    def visit(name, path):
        if state.get(name) == "done":
            return
        assert state.get(name) != "open", " -> ".join([*path[path.index(name) :], name])
        state[name] = "open"
        for target in sorted(graph.get(name, ())):
            visit(target, [*path, name])
        state[name] = "done"

    for name in graph:
        visit(name, [])


@pytest.mark.parametrize("pattern", PURE)
def test_the_core_has_no_files_no_clock_and_no_chance(pattern):
    paths = sorted(ROOT.glob(pattern))
    assert paths, f"{pattern} fits no file: the list is out of date"
    found = []
    for path in paths:
        for node in nodes(path):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                names = [node.func.id] if node.func.id in IMPURE_CALLS else []
            elif isinstance(node, ast.AsyncFunctionDef | ast.Await):
                names = ["asyncio"]
            bad = {name.split(".")[0] for name in names} & (IMPURE_MODULES | IMPURE_CALLS)
            found += [f"{shown(path)}:{node.lineno}: {name}" for name in bad]
    expect_none(found, "The core takes values and returns values; let the shell do this.")


def test_nothing_is_imported_inside_a_function():
    found = set()
    for path in sources().values():
        for function in functions(path):
            for node in ast.walk(function):
                if isinstance(node, ast.Import | ast.ImportFrom):
                    found.add((shown(path), f"line {node.lineno}"))
                elif isinstance(node, ast.Call):
                    name = getattr(node.func, "id", getattr(node.func, "attr", ""))
                    if name in {"import_module", "__import__"}:
                        found.add((shown(path), name))
    expect_none(found - LATE_IMPORTS, "What you want lives in the wrong file: move it down.")
    allowed = {late for late in LATE_IMPORTS if (ROOT / late[0]).exists()}
    expect_none(allowed - found, "No longer needed: take it off the list.")


def test_planning_needs_no_training_package(tmp_path):
    base = tmp_path / "base"
    base.mkdir()
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (base / name).write_text("{}")
    token = '{"added_tokens": [{"id": 0, "content": "<|end|>", "special": true}]}'
    (base / "tokenizer.json").write_text(token)
    template = "{% for m in messages %}{{ m.role }}: {{ m.content }}<|end|>{% endfor %}"
    (base / "chat_template.jinja").write_text(template)
    folder = tmp_path / "finetunes"
    folder.mkdir()
    rows = [f"question {number},answer {number}" for number in range(20)]
    (folder / "rows.csv").write_text("\n".join(["q,a", *rows]))
    (folder / "small.yaml").write_text(
        "backend: local-gpu\nbase_model: ../base\ndata:\n"
        "  train: [{path: rows.csv, columns: {user: q, assistant: a}}]\n"
        "  held_out: {fraction: 0.2}\n"
    )
    program = f"""
import sys
from controller.cli import COMMANDS, run
assert run(["--dir", {str(tmp_path)!r}, "validate"]) == 0
assert run(["--dir", {str(tmp_path)!r}, "plan", "--detailed-exitcode"]) == 2
for name in COMMANDS:
    assert run([name, "--help"]) == 0
print("HEAVY", sorted(set(sys.modules) & set({HEAVY!r})))
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "HEAVY []"


def test_the_controller_names_no_backend():
    """A backend is found by the name in a spec; nothing of it is known before that."""
    expect_none(
        f"{shown(path)}:{node.lineno}: {node.value!r}"
        for path in sources().values()
        if path.is_relative_to(ROOT / "controller")
        for node in nodes(path)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and (node.value == "local-gpu" or re.match(r"backends\.(local_gpu|openai)\b", node.value))
    )
