"""The rules of the house, kept by a machine: who may import whom, what the core may not do, size.

Each failure says what to do. A rule is changed here, on purpose, or not at all.
"""

import ast
import io
import re
import shutil
import subprocess
import sys
import tokenize
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("controller", "backends")

# From the ground up. A module imports from rows below its own, and inside its own entry.
# The longest entry that fits a module's name is the one that counts.
LAYERS = (
    (
        "backends.contract.capabilities",
        "backends.contract.common_names",
        "backends.contract.deployments",
        "backends.contract.errors",
        "backends.contract.inspector",
        "backends.contract.methods",
        "backends.contract.shutdowns",
        "backends.excerpt",
        "backends.hub_token",
        "backends.lock_files",
    ),
    (
        "backends.contract.completions",
        "backends.contract.exports",
        "backends.contract.jobs",
        "backends.contract.recording",
        "backends.contract.speed",
        "backends.did_you_mean",
    ),
    ("backends.contract.inventory", "backends.contract.moves"),
    ("backends.contract.backend", "backends.pydantic_errors"),
    ("backends.atomic_files", "backends.contract.guard.value_types", "backends.installation"),
    ("backends.contract.guard.faults",),
    ("backends.contract.guard.answer_checks",),
    ("backends.contract.guard.guarded",),
    ("backends.launchers.launcher", "backends.stores"),
    ("backends.launchers",),
    ("backends.base", "backends.registry", "backends.testing"),
    # backends.local_gpu
    (
        "backends.local_gpu.hardware",
        "backends.local_gpu.hyperparameters",
        "backends.local_gpu.json_files",
        "backends.local_gpu.planned_steps",
    ),
    ("backends.local_gpu.jobs.devices", "backends.local_gpu.jobs.rank_protocol"),
    ("backends.local_gpu.jobs.run_module",),
    ("backends.local_gpu.jobs.child_process", "backends.local_gpu.jobs.run_dir"),
    ("backends.local_gpu.jobs.speeds", "backends.local_gpu.jobs.worker_record"),
    (
        "backends.local_gpu.jobs.workers.workers",
        "backends.local_gpu.jobs.workers.process_identity",
    ),
    ("backends.local_gpu.jobs.ranks",),
    ("backends.local_gpu.jobs.device_queue",),
    ("backends.local_gpu.jobs.workers.local_process",),
    ("backends.local_gpu.models",),
    ("backends.local_gpu.recipes", "backends.local_gpu.templates"),
    ("backends.local_gpu.tokens",),
    ("backends.local_gpu.memory",),
    ("backends.local_gpu.hub",),
    ("backends.local_gpu.models.model_folders",),
    ("backends.local_gpu.models.merging",),
    ("backends.local_gpu.models.base_folders",),
    ("backends.local_gpu.training",),
    ("backends.local_gpu.inference",),
    ("backends.local_gpu.export",),
    ("backends.local_gpu.jobs",),
    ("backends.local_gpu.machines.objects", "backends.local_gpu.machines.scratch"),
    ("backends.local_gpu.machines.claims", "backends.local_gpu.machines.shipping"),
    ("backends.local_gpu.machines",),
    ("backends.local_gpu.backend",),
    # backends.openai
    ("backends.openai.profiles",),
    (
        "backends.openai.grader_templates",
        "backends.openai.limits",
        "backends.openai.prices",
    ),
    ("backends.openai.graders",),
    ("backends.openai.hyperparameters",),
    ("backends.openai.api",),
    ("backends.openai.chat", "backends.openai.examples"),
    ("backends.openai.recording", "backends.openai.shutdowns"),
    ("backends.openai.deployments", "backends.openai.estimates", "backends.openai.jobs"),
    ("backends.openai.inventory",),
    ("backends.openai.backend",),
    # controller
    (
        "controller",
        "controller.canonical",
        "controller.dates",
        "controller.errors",
        "controller.lockfile.merge",
        "controller.render.text",
    ),
    ("controller.help",),
    (
        "controller.extras",
        "controller.repository_files",
        "controller.state_folder",
        "controller.state_memo",
        "controller.timed_search",
    ),
    ("controller.spec.base", "controller.evaluate.answers", "controller.evaluate.curves.points"),
    ("controller.spec.asked",),
    (
        "controller.evaluate.answer_file",
        "controller.evaluate.prompts.lazy",
        "controller.evaluate.retain.rules",
    ),
    (
        "controller.evaluate.answer_store",
        "controller.evaluate.metric",
        "controller.evaluate.retain.suites",
    ),
    ("controller.evaluate.labels",),
    (
        "controller.evaluate.metrics",
        "controller.evaluate.retain.items",
        "controller.evaluate.statistics",
    ),
    ("controller.spec",),
    ("controller.adopt.names", "controller.adopt.spec_text"),
    # controller.data
    (
        "controller.data.cache_gc",
        "controller.data.errors",
        "controller.data.lookup",
        "controller.data.recipes",
        "controller.data.report",
        "controller.data.suggestions",
    ),
    ("controller.data.extras",),
    ("controller.data.storage",),
    ("controller.data.sources",),
    ("controller.data.examples",),
    ("controller.data.readers", "controller.data.transforms"),
    ("controller.data.fetch",),
    ("controller.data.cache", "controller.data.select"),
    ("controller.data.verified_datasets",),
    ("controller.data.resolve_sources",),
    ("controller.data.pipeline",),
    ("controller.data.build", "controller.data.training_file"),
    ("controller.data.dataset",),
    ("controller.data.reports",),
    ("controller.data",),
    (
        "controller.evaluate.curves.findings",
        "controller.evaluate.gate",
        "controller.evaluate.prompts.held_out",
        "controller.evaluate.rivals",
        "controller.evaluate.scoring",
        "controller.lockfile.model",
    ),
    ("controller.evaluate.judgement", "controller.lockfile.early"),
    ("controller.plan",),
    ("controller.prompted",),
    ("controller.evaluate.compare",),
    ("controller.evaluate.curves.files", "controller.evaluate.measure"),
    ("controller.evaluate.ask", "controller.evaluate.samples"),
    ("controller.evaluate.opinions",),
    (
        "controller.evaluate.rescoring",
        "controller.evaluate.retain.measure",
        "controller.lockfile.branch",
        "controller.lockfile.pulls",
        "controller.project.project",
        "controller.render",
    ),
    ("controller.lockfile.store",),
    ("controller.export", "controller.report", "controller.track", "controller.weights"),
    ("controller.resolve.aliases", "controller.resolve.answers"),
    (
        "controller.resolve.check_gate",
        "controller.resolve.check_metrics",
        "controller.resolve.check_prompt",
        "controller.resolve.gate_size",
    ),
    ("controller.resolve.preflight",),
    ("controller.resolve.validate",),
    (
        "controller.project.github",
        "controller.project.needed_extras",
        "controller.project.scaffold",
        "controller.resolve.git_checkout",
        "controller.resolve.inputs",
    ),
    (
        "controller.project.gitlab",
        "controller.resolve.moves",
        "controller.resolve.recipes",
        "controller.resolve.retain",
        "controller.resolve.sheets",
    ),
    ("controller.project.forgejo", "controller.resolve.resolve"),
    ("controller.adopt.hosted_spec",),
    ("controller.adopt.builds",),
    ("controller.adopt.lost",),
    ("controller.store",),
    ("controller.run.backends", "controller.apply"),
    ("controller.run",),
    ("controller.review",),
    ("controller.adopt", "controller.move"),
    ("controller.record.wanted",),
    ("controller.record",),
    ("controller.server",),
    # controller.watch
    (
        "controller.watch.health",
        "controller.watch.interval",
        "controller.watch.listener",
        "controller.watch.mask",
    ),
    ("controller.watch.clone.git", "controller.watch.log", "controller.watch.metrics"),
    (
        "controller.watch.approval",
        "controller.watch.outlook",
        "controller.watch.pauses",
        "controller.watch.clone.upstream",
    ),
    ("controller.watch.clone.checkout", "controller.watch.reporter", "controller.watch.statuses"),
    ("controller.watch.clone.records", "controller.watch.reports"),
    ("controller.watch.branch",),
    ("controller.watch.service",),
    ("controller.watch.start",),
    ("controller.cli",),
    ("controller.__main__",),
)
# What a module of `controller` may know of `backends`, and one backend of the rest of the house.
CONTRACT = {
    "backends.atomic_files",
    "backends.base",
    "backends.contract",
    "backends.did_you_mean",
    "backends.excerpt",
    "backends.hub_token",
    "backends.installation",
    "backends.launchers",
    "backends.pydantic_errors",
    "backends.lock_files",
    "backends.registry",
    "backends.stores",
    "backends.testing",
}

# Modules that are loaded by their names from below, and why:
UPWARDS = {
    # The worker waits for a device before it loads the packages that training needs.
    ("backends.local_gpu.jobs.device_queue", "backends.local_gpu.training.train"),
    ("backends.local_gpu.jobs.ranks", "backends.local_gpu.training.train"),
    ("backends.local_gpu.jobs.device_queue", "backends.local_gpu.inference.engine_worker"),
    ("backends.local_gpu.jobs.device_queue", "backends.local_gpu.export.export_worker"),
    # The registry names what it loads.
    ("backends.registry", "backends.local_gpu.models.small_base"),
}

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

MAX_FILE_LINES = 400
MAX_FILES = 15
MAX_FILES_IN = {"controller/cli": 40}  # one file a command
MAX_FUNCTION_LINES = 60
MAX_FUNCTION_LINES_IN = {"backends/local_gpu/training/train.py": 100}

# How often a checker may be told to look away. Lower these when one goes; raise one only with a
# reason that stands beside the comment, and as part of the same change.
AT_MOST = {"noqa": 74, "type: ignore": 6, "pragma: no cover": 0}

ABSOLUTE = ("root", "work", "home/[a-z]+/", "Users", "opt/(?:wheels|pypi)", "tmp/(?!$)[a-z]+_jobs")


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def sources():
    return {
        module_name(path): path
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
    }


@cache
def tree(path):
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def shown(path):
    return path.relative_to(ROOT).as_posix()


@cache
def nodes(path):
    """Return all parts of a module's tree, in the order of `ast.walk`: half of these tests look."""
    return list(ast.walk(tree(path)))


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


def expect_none(found, advice=""):
    """Fail with everything that was found, one a line."""
    found = list(found)
    assert not found, "\n".join(["", *map(str, sorted(found)), advice])


def functions(path):
    for node in nodes(path):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


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


def test_files_and_functions_are_short():
    found = []
    for path in sources().values():
        lines = len(path.read_text(encoding="utf-8").splitlines())
        if lines > MAX_FILE_LINES:
            found.append(f"{shown(path)}: {lines} lines, of {MAX_FILE_LINES}: split it")
        limit = MAX_FUNCTION_LINES_IN.get(shown(path), MAX_FUNCTION_LINES)
        for function in functions(path):
            length = function.end_lineno - function.lineno + 1
            if length > limit:
                found.append(f"{shown(path)}: {function.name}: {length} lines, of {limit}")
    expect_none(found)


def test_folders_are_not_crowded():
    counted = Counter(shown(path.parent) for path in sources().values() if path.stem != "__init__")
    expect_none(
        f"{folder}: {files} files, of {MAX_FILES}: make folders by topic"
        for folder, files in counted.items()
        if files > MAX_FILES_IN.get(folder, MAX_FILES)
    )


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


def test_everything_public_says_what_it_is():
    found = []
    for module, path in sources().items():
        if not ast.get_docstring(tree(path)):
            found.append(f"{module}: the module")
        bodies = [(module, tree(path).body)]
        while bodies:
            owner, body = bodies.pop()
            for node in body:
                if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                    continue
                if node.name.startswith("_"):
                    continue
                if not ast.get_docstring(node):
                    found.append(f"{owner}.{node.name}")
                if isinstance(node, ast.ClassDef):
                    bodies.append((f"{owner}.{node.name}", node.body))
    expect_none(found, "These need a docstring.")


@cache
def comments():
    """Return every comment of our code and its tests."""
    return [
        (path, token.start[0], token.string)
        for folder in (*PACKAGES, "tests", ".github")
        for path in sorted((ROOT / folder).rglob("*.py"))
        for token in tokenize.generate_tokens(io.StringIO(path.read_text("utf-8")).readline)
        if token.type == tokenize.COMMENT
    ]


def test_checkers_are_told_to_look_away_no_more_often():
    counted = Counter(
        what
        for _, _, comment in comments()
        for what in AT_MOST
        if re.search(rf"#.*{what}", comment)
    )
    too_many = {what: counted[what] for what, limit in AT_MOST.items() if counted[what] > limit}
    assert too_many == {}, (
        f"allowed are at most {AT_MOST}. Mend what the checker found; where that is not possible, "
        "raise the number in tests/test_architecture.py in the same change, and say why."
    )


def test_nothing_is_left_for_later():
    found = [
        f"{shown(path)}:{line}"
        for path, line, comment in comments()
        if re.search(r"\b(TODO|FIXME|XXX|HACK)\b", comment)
    ]
    expect_none(found)


def tracked():
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(
        [git, "-C", str(ROOT), "ls-files", "-z"],
        capture_output=True,
        text=True,
        check=True,
        timeout=110,
    )
    return [ROOT / name for name in listed.stdout.split("\0") if name]


def test_no_file_names_the_machine_it_was_written_on():
    machine = re.compile(rf"(?<![\w.$}}~/:-])/(?:{'|'.join(ABSOLUTE)})\b/?[\w.]*")
    found = []
    for path in tracked():
        if path.is_symlink() or not path.is_file() or path == Path(__file__):
            continue
        text = path.read_bytes().decode("utf-8", errors="ignore")
        for number, line in enumerate(text.splitlines(), start=1):
            if match := machine.search(line):
                found.append(f"{shown(path)}:{number}: {match[0]}")
    expect_none(found)
