import dataclasses
import zipfile

import pytest

from backends.launchers.launcher import (
    Capacity,
    LauncherError,
    PlacedState,
    Placement,
    SubmissionLost,
)
from backends.launchers.slurm.slurm import Slurm
from backends.launchers.table import open_launcher

NAME = "ftctl-cafe-0123456789ab"
NODES = "ftctl|NODELIST|PARTITION|GRES"


def test_the_table_knows_it(host):
    launcher = open_launcher("slurm", {"runs": str(host.runs)}, host.environment)
    assert isinstance(launcher, Slurm)
    assert host.calls() == []


# Submit


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


FAILED = "sbatch: error: Batch job submission failed: "
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


# Find


@pytest.mark.parametrize(
    ("state", "reason", "known", "words"),
    [
        ("PENDING", "Resources", PlacedState.QUEUED, "PENDING (Resources)"),
        ("PENDING", "None", PlacedState.QUEUED, "PENDING"),
        (
            "PENDING",
            "JobHeldUser",
            PlacedState.QUEUED,
            "PENDING (JobHeldUser): held; `scontrol release 17` releases it",
        ),
        ("CONFIGURING", "None", PlacedState.QUEUED, "CONFIGURING"),
        ("REQUEUED", "BeginTime", PlacedState.QUEUED, "REQUEUED (BeginTime)"),
        ("RUNNING", "None", PlacedState.RUNNING, "RUNNING"),
        ("COMPLETING", "None", PlacedState.RUNNING, "COMPLETING"),
        ("SUSPENDED", "None", PlacedState.RUNNING, "SUSPENDED"),
        ("NEW_IN_2030", "None", PlacedState.RUNNING, "NEW_IN_2030"),
        ("COMPLETED", "None", PlacedState.ENDED, "COMPLETED"),
        ("FAILED", "NonZeroExitCode", PlacedState.ENDED, "FAILED (NonZeroExitCode)"),
        ("PREEMPTED", "None", PlacedState.ENDED, "PREEMPTED"),
        ("NODE_FAIL", "None", PlacedState.ENDED, "NODE_FAIL"),
        ("TIMEOUT", "TimeLimit", PlacedState.ENDED, "TIMEOUT (TimeLimit)"),
        ("OUT_OF_MEMORY", "OutOfMemory", PlacedState.ENDED, "OUT_OF_MEMORY (OutOfMemory)"),
        ("CANCELLED", "None", PlacedState.ENDED, "CANCELLED"),
    ],
)
def test_states_and_reasons(host, state, reason, known, words):
    host.lists(f"17|{state}|{reason}|{NAME}|ftctl abc 1")
    placed = host.launcher().find([NAME])[NAME]
    assert (placed.state, placed.words, placed.comment) == (known, words, "ftctl abc 1")


def test_a_forgotten_job_is_absent(host):
    host.lists()
    assert host.launcher().find([NAME]) == {}


def test_the_accounting_knows_how_a_forgotten_job_has_ended(host):
    host.lists()
    rows = ["FAILED|1:0|{}|ftctl abc 1", "OUT_OF_MEMORY|0:125|{}|ftctl abc 1", "RUNNING|0:0|other|"]
    host.has("sacct", "\n".join(row.format(NAME) for row in rows))
    (placed,) = host.launcher().find([NAME]).values()
    assert (placed.state, placed.words) == (PlacedState.ENDED, "OUT_OF_MEMORY, exit code 0:125")
    assert placed.comment == "ftctl abc 1"
    assert f"--name={NAME}" in host.given("sacct")


def test_what_the_accounting_calls_running_has_ended_if_it_is_not_queued(host):
    host.lists()
    host.has("sacct", f"RUNNING|0:0|{NAME}|")
    assert host.launcher().find([NAME])[NAME].state is PlacedState.ENDED


@pytest.mark.parametrize("first", ["", "exec sleep 60"])
def test_a_cluster_without_accounting_is_asked_for_it_once(host, first):
    host.lists()
    host.has("sacct", "", "Slurm accounting storage is disabled", 1, first=first)
    launcher = host.launcher(timeout_s=0.5)
    assert launcher.find([NAME]) == launcher.find([NAME]) == {}
    assert host.calls() == ["squeue", "sacct", "squeue"]


@pytest.mark.parametrize(
    "rows",
    [
        ("16|FAILED|None|{}|ftctl abc 1", "17|RUNNING|None|{}|ftctl abc 1"),
        ("17|RUNNING|None|{}|ftctl abc 1", "18|FAILED|None|{}|ftctl abc 1"),
        ("17|RUNNING|None|{}|ftctl abc 1", "18|PENDING|Dependency|{}|ftctl abc 1"),
        ("17|RUNNING|None|{}|ftctl abc 1", "18|RUNNING|None|{}|(null)"),
    ],
)
def test_of_two_jobs_of_one_name_the_open_one_of_ours_counts(host, rows):
    host.lists(*(row.format(NAME) for row in rows))
    placed = host.launcher().find([NAME])[NAME]
    assert (placed.words, placed.comment) == ("RUNNING", "ftctl abc 1")


@pytest.mark.parametrize(("comment", "told"), [("(null)", ""), ("a|b", "a|b"), ("x\ny", "x")])
def test_a_job_of_others_is_told_as_it_is(host, comment, told):
    host.lists(f"17|RUNNING|None|{NAME}|{comment}", f"18|RUNNING|None|other|{NAME}|ftctl abc 1")
    found = host.launcher().find([NAME])
    assert {name: placed.comment for name, placed in found.items()} == {NAME: told}


def test_all_names_are_looked_up_by_one_call(host):
    names = [f"ftctl-m{number}-0123456789ab" for number in range(1000)]
    rows = [f"{at}|RUNNING|None|{name}|ftctl abc 1" for at, name in enumerate(names, 1)]
    host.lists(*rows, "5000|RUNNING|None|ftctl-other-0123456789ab|ftctl abc 1")
    assert set(host.launcher().find(names)) == set(names)
    assert host.calls() == ["squeue"]
    assert max(len(one) for one in host.given("squeue")) < 100
    host.launcher().find(names[:2])
    assert f"--name={names[0]},{names[1]}" in host.given("squeue")


def test_without_names_nothing_is_asked(host):
    assert host.launcher().find([]) == {}


@pytest.mark.parametrize(
    "output", ["", "Welcome to the cluster!\n", "17|RUNNING|None|x|y\n", "\0\xff"]
)
def test_garbage_is_not_the_absence_of_a_job(host, output):
    host.has("squeue", output)
    with pytest.raises(LauncherError, match="cannot be read"):
        host.launcher().find([NAME])


def test_a_greeting_before_the_answer_is_skipped(host):
    host.has(
        "squeue",
        "Welcome!\nftctl|JOBID|STATE|REASON|NAME|COMMENT\n"
        f"ftctl|17|RUNNING|None|{NAME}|ftctl abc 1\n",
    )
    assert host.launcher().find([NAME])[NAME].state is PlacedState.RUNNING


def test_a_controller_that_is_down_is_not_the_absence_of_a_job(host):
    errors = "slurm_load_jobs error: Unable to contact slurm controller (connect failure)"
    host.has("squeue", "ftctl|JOBID|STATE|REASON|NAME|COMMENT\n", errors, 1)
    with pytest.raises(LauncherError, match="controller cannot be reached"):
        host.launcher().find([NAME])


# Stop


def test_stop_lets_what_runs_save_and_removes_what_waits(host):
    host.lists(
        f"17|RUNNING|None|{NAME}|ftctl abc 1",
        f"18|PENDING|Dependency|{NAME}|ftctl abc 1",
        f"19|FAILED|None|{NAME}|ftctl abc 1",
        f"20|RUNNING|None|{NAME}|of somebody else",
    )
    for command in ("scancel", "scontrol"):
        host.install(command, f'echo {command} "$@" >>{host.noted}/typed')
    host.launcher().stop(NAME, at_once=False)
    assert (host.noted / "typed").read_text().splitlines() == [
        "scancel 18",
        "scontrol update JobId=17 Requeue=0",
        "scancel --signal=TERM --batch 17",
    ]


def test_stop_at_once_ends_all_that_are_open(host):
    host.lists(f"17|RUNNING|None|{NAME}|ftctl abc 1", f"18|PENDING|Dependency|{NAME}|ftctl abc 1")
    host.has("scancel")
    host.launcher().stop(NAME, at_once=True)
    assert host.given("scancel") == ["17", "18"]


def test_stop_of_an_ended_job_does_nothing(host):
    host.lists(f"17|COMPLETED|None|{NAME}|ftctl abc 1")
    host.has("scancel")
    host.launcher().stop(NAME, at_once=True)
    assert host.calls() == ["squeue"]


def test_a_job_that_ends_meanwhile_is_stopped_all_the_same(host):
    host.lists(f"17|RUNNING|None|{NAME}|ftctl abc 1")
    host.has("scontrol", "", "slurm_update error: Job has already finished", 1)
    host.has(
        "scancel", "", "scancel: error: Kill job error on job id 17: Invalid job id specified", 1
    )
    host.launcher().stop(NAME, at_once=False)


def test_a_job_that_may_not_be_stopped_is_an_error(host):
    host.lists(f"17|RUNNING|None|{NAME}|ftctl abc 1")
    host.has("scontrol", "", "slurm_update error: Access denied", 1)
    host.has("scancel", "", "scancel: error: Kill job error on job id 17: Access denied", 1)
    with pytest.raises(LauncherError, match="Access denied"):
        host.launcher().stop(NAME, at_once=False)


# Logs


def test_logs_are_the_last_lines_of_the_jobs_output(host):
    folder = host.runs / "logs"
    folder.mkdir()
    (folder / f"{NAME}.log").write_text("".join(f"Zeile {number} ü\n" for number in range(99)))
    assert host.launcher().logs(NAME, 2) == ["Zeile 97 ü", "Zeile 98 ü"]
    assert host.launcher().logs("ftctl-other-0123456789ab", 2) == []


def test_logs_that_may_not_be_read_are_an_error(host):
    host.install("tail", "echo 'tail: cannot open: Permission denied' >&2; exit 1")
    with pytest.raises(LauncherError, match="Permission denied"):
        host.launcher().logs(NAME, 2)


# Capacity


@pytest.mark.parametrize(
    ("settings", "rows", "nodes", "gpus"),
    [
        ({}, ["n1|cpu*|(null)", "g1|gpu|gpu:8"], 1, 0),
        ({}, ["n1|cpu|gpu:2", "n1|gpu|gpu:2", "g1|gpu|gpu:8"], 2, 10),
        (
            {"partition": "gpu"},
            ["g1|gpu|gpu:h100:8(S:0-1),nvme:1", "g2|gpu|nvme:1,gpu:a100:4"],
            2,
            12,
        ),
        (
            {"gpu_type": "a100"},
            ["g1|gpu*|gpu:h100:8(S:0-1)", "g2|gpu*|gpu:a100:4,gpu:1g.5gb:7"],
            2,
            4,
        ),
        ({}, ["g1|gpu*|gpu"], 1, 1),
        ({}, ["g1|gpu*|nvgpu:4,gpus:3"], 1, 0),
    ],
)
def test_capacity(host, settings, rows, nodes, gpus):
    host.has("sinfo", "\n".join([NODES, *(f"ftctl|{row}" for row in rows), ""]))
    assert host.launcher(**settings).capacity() == Capacity(nodes=nodes, gpus=gpus)
    assert [one for one in host.given("sinfo") if one.startswith("--part")] == [
        f"--partition={value}" for key, value in settings.items() if key == "partition"
    ]


def test_a_partition_without_nodes_is_an_error(host):
    host.has("sinfo", f"{NODES}\n")
    with pytest.raises(LauncherError, match="no nodes in partition gpus"):
        host.launcher(partition="gpus").capacity()


# At a login node


def test_commands_run_at_the_login_node(login, placement):
    login.has("sbatch", "Welcome to the cluster!\n17\n")
    hostile = 'it\'s a "$HOME" `id`\nEND\n'
    given = dataclasses.replace(placement, environment={"TEXT": hostile})
    login.launcher(ssh="ada@login").submit(given)
    assert login.given("ssh") == [
        *("-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "ada@login", "bash", "-l")
    ]
    assert f"--job-name={NAME}" in login.given("sbatch")
    assert "--comment=ftctl abc 1" in login.given("sbatch")
    assert "\n".join(login.given("sbatch", "input")[:5]) == (
        "#!/bin/bash -l\nunset LC_ALL\nexport TEXT='it'\"'\"'s a \"$HOME\" `id`\nEND\n'"
    )
    assert (login.runs / "logs").is_dir()


def test_finding_and_logs_go_through_ssh(login):
    login.lists(f"17|RUNNING|None|{NAME}|ftctl abc 1")
    launcher = login.launcher(ssh="login")
    assert launcher.find([NAME])[NAME].state is PlacedState.RUNNING
    assert launcher.logs(NAME, 5) == []


def test_variables_of_the_login_node_do_not_change_the_commands(login):
    with (login.programs.parent / ".bash_profile").open("a") as profile:
        profile.write("export SQUEUE_USERS=nobody SBATCH_PARTITION=x\n")
    login.lists(f"17|RUNNING|None|{NAME}|ftctl abc 1")
    assert login.launcher(ssh="login").find([NAME])
    assert not [one for one in login.given("squeue", "environment") if "SQUEUE_" in one]


def test_a_login_node_that_does_not_answer_loses_no_job(host, placement):
    host.install(
        "ssh", "echo 'ssh: connect to host login port 22: Connection refused' >&2; exit 255"
    )
    with pytest.raises(LauncherError, match=r"ssh to login failed.*Connection refused") as caught:
        host.launcher(ssh="login").submit(placement)
    assert not isinstance(caught.value, SubmissionLost)


def test_a_connection_cut_during_sbatch_is_a_lost_submission(host, placement):
    host.install(
        "ssh",
        "script=$(cat)\n"
        "case $script in *mkdir*) exit 0;; esac\n"
        "echo 'client_loop: send disconnect: Broken pipe' >&2; exit 255",
    )
    with pytest.raises(SubmissionLost, match="Broken pipe"):
        host.launcher(ssh="login").submit(placement)


def test_a_refusal_at_the_login_node_is_not_a_cut_connection(login, placement):
    login.has("sbatch", "", "sbatch: unrecognized option '--bogus'\nTry \"sbatch --help\"", 255)
    with pytest.raises(LauncherError, match="--bogus") as caught:
        login.launcher(ssh="login").submit(placement)
    assert not isinstance(caught.value, SubmissionLost)


def test_a_login_node_without_slurm_says_so(login, placement):
    with pytest.raises(LauncherError, match="login has no command `sbatch`"):
        login.launcher(ssh="login").submit(placement)


def test_placement_of_a_variable_that_no_shell_exports(host):
    broken = Placement(name=NAME, comment="ftctl a 1", command=("x",), environment={"a-b": "c"})
    with pytest.raises(Exception, match="a-b"):
        host.launcher().submit(broken)
