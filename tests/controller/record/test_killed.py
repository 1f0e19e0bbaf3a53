"""`kill -9` at random moments: nothing is lost, and only what was under way is asked twice."""

import pytest

from tests.benchmarks.record_kills import UNDER_WAY, kill_rounds


@pytest.mark.slow
def test_a_killed_record_continues(tmp_path, monkeypatch):
    for name in ("FTCTL_STATE_DIR", "OPENAI_BASE_URL", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HOSTED_KEY", "HOME_KEY"):
        monkeypatch.setenv(name, "")
    found = kill_rounds(tmp_path / "repository", rounds=4, count=600, seed=3)
    assert found.lost == 0
    assert found.kept == found.committed == found.wanted
    assert found.asking >= 3
    assert 0 < found.twice == found.given - found.wanted <= UNDER_WAY * found.asking
