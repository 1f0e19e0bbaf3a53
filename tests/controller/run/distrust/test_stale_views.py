"""What a run does with edits that it has not seen."""

import json

from tests.controller.run.distrust.distrusted import STRICT, apply_saved, save_plan


def test_a_pull_during_an_evaluation_is_not_overwritten(shell):
    """The lockfile that a `git pull` brought is lost when the pass folds its own records."""
    shell.declare("other", "seed: 3\n")
    assert shell("apply", "-y")[0] == 0
    pulled = shell.lock.read_text()
    del shell.recorded["other"]
    first = json.loads(pulled)
    first["finetunes"].pop("other")
    shell.lock.write_text(json.dumps(first))
    shell.spec("other").unlink()
    shell.declare("faq")
    (shell.top / "pulled.lock").write_text(pulled)
    shell.hook("complete", f"import shutil; shutil.copy(TOP / 'pulled.lock', {str(shell.lock)!r})")
    assert shell("apply", "-y")[0] == 0
    assert shell.recorded.keys() == {"faq", "other"}


def test_a_saved_plan_is_refused_after_gpu_hours_rose(shell):
    shell.set("gpu_hours", [1, 2])
    shell.declare()
    save_plan(shell)
    shell.set("gpu_hours", [1000, 2000])
    code, text = apply_saved(shell)
    assert code == 6, text


def test_a_saved_plan_is_refused_after_its_server_was_changed(shell):
    settings = shell.root / "ftctl.yaml"
    settings.write_text("endpoints: {default: {base_url: 'http://127.0.0.1:9/v1'}}\n")
    shell.declare()
    save_plan(shell)
    settings.write_text("endpoints: {default: {base_url: 'http://127.0.0.1:10/v1'}}\n")
    code, text = apply_saved(shell)
    assert code == 6, text + (shell.top / "served_by").read_text()


def test_a_job_of_another_attempt_says_nothing_of_the_terms(shell):
    """Attempt 1 was approved without a gate and failed; attempt 2 with a strict one."""
    shell.endless()
    shell.declare()
    assert shell("apply", "-y", "--no-wait")[0] == 0
    shell.end("job-1", "failed")
    shell("reconcile")
    assert shell("retry", "faq")[0] == 0
    shell.declare(more=STRICT)
    assert shell("apply", "-y", "--no-wait")[0] == 0
    shell.end("job-2")
    shell.declare()
    _code, text = shell("reconcile")
    assert "production" not in shell.recorded["faq"], text


def test_a_shared_job_is_promoted_on_terms_that_nobody_approved(shell):
    """b shares a's job; its gate is removed while the job runs."""
    shell.endless()
    shell.declare("a")
    shell.declare("b", STRICT)
    assert shell("apply", "-y", "--no-wait")[0] == 0
    shell.end("job-1")
    shell.declare("b")
    _code, text = shell("reconcile")
    assert "production" not in shell.recorded["b"], text


def test_a_renamed_job_is_promoted_on_terms_that_nobody_approved(shell):
    shell.endless()
    shell.declare("mm", STRICT)
    assert shell("apply", "-y", "--no-wait")[0] == 0
    shell.spec("mm").rename(shell.spec("zz"))
    assert shell("apply", "-y", "--no-wait")[0] == 0
    shell.end("job-1")
    shell.declare("zz")
    _code, text = shell("reconcile")
    assert "production" not in shell.recorded["zz"], text


def test_terms_that_cannot_be_read_do_not_promote(shell):
    """The list of jobs is refused (training has ended there), answers still come."""
    shell.endless()
    shell.declare(more=STRICT)
    assert shell("apply", "-y", "--no-wait")[0] == 0
    shell.end("job-1")
    shell.fault("complete", "overloaded")
    shell("reconcile")
    shell.fault("complete", None)
    shell.declare()
    shell.fault("find_jobs", "training_not_available")
    _code, text = shell("reconcile")
    assert "production" not in shell.recorded["faq"], text


def test_a_rename_promotes_nothing(shell):
    """The first build failed its gate; a second job runs. Renaming puts the first in production."""
    shell.declare("mm", STRICT)
    assert shell("apply", "-y")[0] == 4
    shell.endless()
    shell.declare("mm", "seed: 7\n")
    assert shell("apply", "-y", "--no-wait")[0] == 0
    before = shell.recorded["mm"]
    shell.spec("mm").rename(shell.spec("zz"))
    _, plan = shell("plan")
    _code, text = shell("apply", "-y", "--no-wait")
    assert shell.recorded["zz"].get("production") == before.get("production"), plan + text
