"""Commands of Slurm that run at a login node."""

import dataclasses

import pytest

from backends.launchers.launcher import (
    LauncherError,
    PlacedState,
    SubmissionLost,
)
from tests.backends.launchers.slurm.slurm_names import NAME


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
