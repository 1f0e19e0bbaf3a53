"""What every test may use: golden files, rewritten by `--update-golden`, and waiting."""

import atexit
import gc
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Generator
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import certifi
import pytest

from tests.children import until
from tests.warm.children import shared_warm_python

GOLDEN = Path(__file__).parent / "golden"
ROOM_BYTES = 4 << 30
CLEANING_S = 60.0
# Read when torch is loaded, here and in children. As many tests run as there are cores, and a model
# of two layers is no faster on several.
os.environ.setdefault("OMP_NUM_THREADS", "1")
ALIVE = "FTCTL_TESTS_ALIVE"
"""Variable that names the pipe which says how long a run of tests lasts."""
# No test asks the real hub: at this port nobody answers.
os.environ["HF_ENDPOINT"] = "http://127.0.0.1:9"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden",
        action="store_true",
        help="Rewrite golden files with what the code says now; the diff is the review.",
    )


def pytest_configure() -> None:
    """Set this process apart from others, and keep temporary files in memory where there is room.

    Thousands of fsyncs cost nothing there.
    """
    memory = Path("/dev/shm")
    if "PYTEST_DEBUG_TEMPROOT" not in os.environ and memory.is_dir():
        disk = os.statvfs(memory)
        fits = disk.f_bavail * disk.f_frsize > ROOM_BYTES
        # Tests write programs, and start them.
        if fits and os.access(memory, os.W_OK) and not disk.f_flag & os.ST_NOEXEC:
            os.environ["PYTEST_DEBUG_TEMPROOT"] = str(memory)
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
    # Locks of this machine's devices are there: no test waits for another worker, nor for a person's
    # own training.
    os.environ["TMPDIR"] = tempfile.mkdtemp(prefix="ftctl-tests-")
    tempfile.tempdir = None
    trust_one_authority()
    atexit.register(shutil.rmtree, os.environ["TMPDIR"], ignore_errors=True)
    if ALIVE not in os.environ:
        # This process ends last: workers of xdist inherit the path, and not the open pipe.
        alive = Path(os.environ["TMPDIR"]) / "alive"
        os.mkfifo(alive)
        os.environ[ALIVE] = str(alive)
        os.open(alive, os.O_RDWR)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # Shells switch Ctrl-C off for what they start in the background.
        signal.signal(signal.SIGINT, signal.default_int_handler)


def trust_one_authority() -> None:
    """Let clients trust a single authority: reading all takes 20 ms for each of thousands."""
    first = Path(certifi.where()).read_text().partition("-----END")[0]
    file = Path(os.environ["TMPDIR"]) / "authority.pem"
    file.write_text(f"{first}-----END CERTIFICATE-----\n")
    os.environ["SSL_CERT_FILE"] = str(file)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Give slow tests more time, unless one names its own."""
    limit_s = 5 * float(config.getini("timeout"))
    for item in items:
        if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(limit_s))


def pytest_collection_finish() -> None:
    """Keep what was imported out of every later search for cycles.

    It is a million objects, and stays. Each training that a test runs in this process has such a
    search, which would take far longer than the training.
    """
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Generator[None]:
    """Limit what cleans up after a failed test: the failure has switched the test's own limit off."""
    if signal.getitimer(signal.ITIMER_REAL)[0]:
        return (yield)

    def ring(*_: object) -> None:
        pytest.fail(f"cleaning up took longer than {CLEANING_S} s")

    signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, CLEANING_S)
    try:
        return (yield)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)


@pytest.fixture
def golden(pytestconfig: pytest.Config) -> Callable[[str, str], None]:
    """Compare a text with `tests/golden/NAME`."""

    def compare(name: str, text: str) -> None:
        path = GOLDEN / name
        text = text.rstrip("\n") + "\n"
        if pytestconfig.getoption("update_golden"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert text == path.read_text(encoding="utf-8"), f"--update-golden rewrites {path}"

    return compare


@pytest.fixture
def eventually() -> Callable[[Callable[[], object]], None]:
    """Wait until a condition holds; never for ever."""

    return partial(until, seconds=30.0)


@pytest.fixture(scope="session")
def warm_python() -> str:
    """Stand in for Python where what children import shall be imported already."""
    if find_spec("torch") is None:
        pytest.skip("the training packages are not installed")
    alive = Path(os.environ[ALIVE])
    return shared_warm_python(alive.with_name("warm"), alive)


@pytest.fixture
def warm(warm_python: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Fork children from a process that has imported the training packages.

    For tests of what comes out of a training; those of processes themselves start them as users do.
    """
    monkeypatch.setattr(sys, "executable", warm_python)
    return warm_python
