"""Nothing in a test can wait for ever, kept by a machine: processes, threads and loops have limits.

`pytest-timeout` ends a test that takes too long. It ends neither what the test started nor what a
`with` block waits for on the way out, so these rules see to both.
"""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
STARTS = {"call", "check_call", "check_output", "run"}
WAITS = {"communicate", "join", "wait"}
# `controller.data.aside.Aside`, whose thread only does what a test hands to it.
OURS = {"aside.wait"}
# Programs that a person starts and stops, and the one place where tests start processes.
EXEMPT = {"tests/benchmarks", "tests/demos", "tests/children.py"}


def dotted(node: ast.expr) -> str:
    """Return a name such as `subprocess.run`, as far as it is one."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def problem(node: ast.AST) -> str | None:
    """Return what is wrong with one statement or call."""
    if isinstance(node, ast.While) and all(isinstance(one, ast.Pass) for one in node.body):
        return "spins: wait with the fixture `eventually`"
    if not isinstance(node, ast.Call):
        return None
    called, given = dotted(node.func), {word.arg for word in node.keywords}
    module, _, name = called.rpartition(".")
    if module == "subprocess" and name in STARTS and "timeout" not in given:
        return f"{called} without timeout="
    if called == "subprocess.Popen":
        return "start processes by tests.children.child, which ends them"
    if name in {"Process", "Thread"} and "daemon" not in given:
        return f"{called} without daemon=True: it can keep the whole run from ending"
    waits = isinstance(node.func, ast.Attribute) and node.func.attr in WAITS
    if waits and not (given or node.args) and called not in OURS:
        return f".{node.func.attr}() without a limit"
    return None


def problems(text: str) -> list[tuple[int, str]]:
    found = [(node, problem(node)) for node in ast.walk(ast.parse(text))]
    return [(node.lineno, what) for node, what in found if what]


def is_exempt(name: str) -> bool:
    return any(name == one or name.startswith(f"{one}/") for one in EXEMPT)


def test_no_test_waits_without_a_limit():
    found = []
    for path in sorted((ROOT / "tests").rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        if not is_exempt(name):
            text = path.read_text(encoding="utf-8")
            found += [f"{name}:{line}: {what}" for line, what in problems(text)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("while busy(): pass", "spins"),
        ("subprocess.run(['x'])", "without timeout="),
        ("subprocess.check_output(['x'])", "without timeout="),
        ("subprocess.Popen(['x'])", "tests.children.child"),
        ("threading.Thread(target=f).start()", "daemon=True"),
        ("thread.join()", ".join() without a limit"),
        ("process.wait()", ".wait() without a limit"),
        ("process.communicate()[0]", ".communicate() without a limit"),
    ],
)
def test_the_rule_sees(text, said):
    [(line, found)] = problems(text)
    assert line == 1
    assert said in found


@pytest.mark.parametrize(
    "text",
    [
        "while busy(): time.sleep(1)",
        "subprocess.run(['x'], timeout=60)",
        "threading.Thread(target=f, daemon=True)",
        "thread.join(10)",
        "process.wait(timeout=10)",
        "', '.join(names)",
    ],
)
def test_the_rule_lets_pass(text):
    assert problems(text) == []
