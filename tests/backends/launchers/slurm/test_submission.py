"""Jobs are submitted by commands of Slurm, whose unclear answers are lost submissions."""

import dataclasses
import zipfile

import pytest

from backends.launchers.launcher import (
    LauncherError,
    Placement,
    SubmissionLost,
)
from backends.launchers.slurm.slurm import Slurm
from backends.launchers.table import open_launcher
from tests.backends.launchers.slurm.slurm_names import FAILED, NAME


def test_the_table_knows_it(host):
    launcher = open_launcher("slurm", {"runs": str(host.runs)}, host.environment)
    assert isinstance(launcher, Slurm)
    assert host.calls() == []


def test_a_job_is_submitted_by_flags_that_old_releases_have(host, placement):
    host.has("sbatch", "17\n")
    settings = {"partition": "gpu", "account": "nlp", "qos": "low", "time": "2-00"}
    launcher = host.launcher(**settings, gpu_type="h100", options=["--constraint=nvlink"])
    launcher.submit(dataclasses.replace(placement, gpus=8, nodes=2, memory_bytes=64 * 10**9))
    assert host.given("sbatch") == [
        "--parsable",
        f"--job-name={NAME}",
        "--comment=ftctl abc 1",
        "--dependency=singleton",
        "--requeue",
        "--signal=B:TERM@120",
        "--open-mode=append",
        f"--output={host.runs}/logs/{NAME}.log",
        f"--chdir={host.runs}/logs",
        "--nodes=2",
        "--ntasks-per-node=1",
        "--gpus-per-node=h100:8",
        "--mem=61036M",
        "--partition=gpu",
        "--account=nlp",
        "--qos=low",
        "--time=2-00",
        "--constraint=nvlink",
    ]
    assert (host.runs / "logs").is_dir()


def test_a_job_without_gpus_asks_for_none(host, placement):
    host.has("sbatch", "17\n")
    host.launcher().submit(placement)
    assert not [one for one in host.given("sbatch") if one.startswith(("--gpus", "--mem"))]


def test_a_percent_sign_in_the_path_stays_one(host, placement):
    host.has("sbatch", "17;cluster\n")
    host.launcher(logs=f"{host.runs}/100%j").submit(placement)
    assert f"--output={host.runs}/100%%j/{NAME}.log" in host.given("sbatch")
    assert f"--chdir={host.runs}/100%j" in host.given("sbatch")


def test_keys_of_this_machine_do_not_reach_the_job(host, placement):
    host.has("sbatch", "17\n")
    host.launcher().submit(placement)
    given = host.given("sbatch", "environment")
    assert f"HOME={host.environment['HOME']}" in given
    assert not [one for one in given if one.startswith(("OPENAI", "SBATCH"))]


@pytest.mark.parametrize(
    ("output", "errors", "status"),
    [
        (
            "",
            "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation",
            1,
        ),
        ("", "sbatch: error: slurm_receive_msg: Zero Bytes were transmitted or received", 1),
        ("", "sbatch: error: Unable to contact slurm controller (receive failure)", 1),
        ("", "Segmentation fault", 139),
        ("", "", 1),
        ("", "", 0),
        ("Welcome to the cluster!\n", "", 0),
        ("17 18\n", "", 0),
    ],
)
def test_an_unclear_answer_is_a_lost_submission(host, placement, output, errors, status):
    host.has("sbatch", output, errors, status)
    with pytest.raises(SubmissionLost):
        host.launcher().submit(placement)


def test_a_slow_answer_is_a_lost_submission(host, placement):
    host.has("sbatch", "17\n", first="exec sleep 60")
    with pytest.raises(SubmissionLost, match=r"did not answer within 0\.5 s"):
        host.launcher(timeout_s=0.5).submit(placement)


def test_a_killed_sbatch_is_a_lost_submission(host, placement):
    host.has("sbatch", "17\n", first="kill -9 $$")
    with pytest.raises(SubmissionLost, match="signal 9"):
        host.launcher().submit(placement)


UNAVAILABLE = f"{FAILED}Requested node configuration is not available"


@pytest.mark.parametrize(
    ("errors", "said", "remedy"),
    [
        (f"{FAILED}Invalid account or account/partition combination specified", "", "`account`"),
        (f"{FAILED}Invalid qos specification", "Invalid qos", "`qos`"),
        (
            f"sbatch: error: Memory specification can not be satisfied\n{UNAVAILABLE}",
            "Memory specification can not be satisfied: Requested node configuration",
            "%G",
        ),
        ("sbatch: error: Invalid generic resource (gres) specification", "gres", "`gpu_type`"),
        (f"{FAILED}Node count specification invalid", "Node count", "`nodes`"),
        (
            f"{FAILED}Requested time limit is invalid (missing or exceeds some limit)",
            "time limit",
            "`time`",
        ),
        (
            f"{FAILED}Job violates accounting/QOS policy (job submit limit, size and/or time limits)",
            "violates",
            "limit of the account",
        ),
        (f"{FAILED}Invalid feature specification", "feature", "--constraint"),
        ("sbatch: unrecognized option '--bogus'\nTry \"sbatch --help\"", "--bogus", "`options`"),
        (f"{FAILED}User's group not permitted to use this partition", "group", "you may use"),
        (f"{FAILED}Access/permission denied", "denied", "you may use"),
        (
            f"{FAILED}Unable to contact slurm controller (connect failure)",
            "cannot be reached from this machine",
            "scontrol ping",
        ),
        (
            "sbatch: error: If munged is up, restart with --num-threads=10",
            "munged",
            "scontrol ping",
        ),
        (f"{FAILED}The moon is full", "refuses the job: The moon is full", "ftctl.yaml"),
    ],
)
def test_a_clear_refusal_comes_with_a_remedy(host, placement, errors, said, remedy):
    host.has("sbatch", "", errors, 1)
    with pytest.raises(LauncherError) as caught:
        host.launcher().submit(placement)
    assert not isinstance(caught.value, SubmissionLost)
    assert said in caught.value.message
    assert remedy in caught.value.remedy


def test_a_partition_that_is_not_there_is_answered_with_those_that_are(host, placement):
    host.has("sbatch", "", f"{FAILED}Invalid partition name specified", 1)
    host.has("sinfo", "gpu\ncpu\n")
    with pytest.raises(LauncherError) as caught:
        host.launcher(partition="gpus").submit(placement)
    assert caught.value.remedy == "Use one of: cpu, gpu."


def test_a_folder_that_cannot_be_made_is_found_before_anything_is_submitted(host, placement):
    host.has("sbatch", "17\n")
    (host.runs / "logs").write_text("a file")
    with pytest.raises(LauncherError, match="output cannot be made"):
        host.launcher().submit(placement)
    assert host.calls() == []


def test_a_machine_without_slurm_says_what_to_do(host, placement):
    launcher = host.launcher()
    asked = (lambda: launcher.find([NAME]), lambda: launcher.submit(placement), launcher.capacity)
    for ask in asked:
        with pytest.raises(LauncherError, match="this machine has no command") as caught:
            ask()
        assert not isinstance(caught.value, SubmissionLost)
        assert "ssh: HOST" in caught.value.remedy


@pytest.mark.parametrize("at", [{}, {"ssh": "login"}])
def test_code_is_unpacked_once_where_all_nodes_find_it(login, placement, tmp_path, at):
    login.has("sbatch", "17\n")
    archive = tmp_path / "code.zip"
    with zipfile.ZipFile(archive, "w") as written:
        written.writestr("package/module.py", "print('한국어')")
    given = dataclasses.replace(placement, code=archive)
    login.launcher(**at).submit(given)
    (code,) = (login.runs / "logs").glob("code-*")
    assert (code / "package" / "module.py").read_text() == "print('한국어')"
    assert f"--chdir={code}" in login.given("sbatch")
    assert f"export PYTHONPATH={code}${{PYTHONPATH:+:$PYTHONPATH}}" in login.given(
        "sbatch", "input"
    )
    (code / "mark").touch()
    login.launcher(**at).submit(given)
    assert [*(login.runs / "logs").iterdir()] == [code]
    assert (code / "mark").exists()


def test_code_that_cannot_be_unpacked_is_found_before_anything_is_submitted(host, placement):
    host.has("sbatch", "17\n")
    broken = host.runs / "code.zip"
    broken.write_text("not a zip file")
    with pytest.raises(LauncherError, match="cannot be unpacked") as caught:
        host.launcher().submit(dataclasses.replace(placement, code=broken))
    assert "venv" in caught.value.remedy
    assert not (host.noted / "sbatch.arguments").exists()
    assert [*(host.runs / "logs").iterdir()] == []


def test_images_are_refused_with_a_way_out(host, placement):
    with pytest.raises(LauncherError, match="no container images") as caught:
        host.launcher().submit(dataclasses.replace(placement, image="ours:1"))
    assert "venv" in caught.value.remedy
    assert host.calls() == []


def test_placement_of_a_variable_that_no_shell_exports(host):
    broken = Placement(name=NAME, comment="ftctl a 1", command=("x",), environment={"a-b": "c"})
    with pytest.raises(Exception, match="a-b"):
        host.launcher().submit(broken)
