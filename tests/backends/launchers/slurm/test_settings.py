import pytest

from backends.contract.errors import InvalidInput
from backends.launchers.slurm.settings import SlurmSettings, parse


def problems(**settings):
    """Return the problems of some settings, by field."""
    with pytest.raises(InvalidInput) as caught:
        parse({"runs": "/shared/ftctl", **settings})
    return {problem.field: problem for problem in caught.value.problems}


def test_every_problem_is_told_at_once():
    found = problems(partition="a b", time="soon", options=["-J x"], unknown=1, qos=3)
    assert set(found) == {"partition", "time", "options[0]", "unknown", "qos"}


def test_logs_are_beside_the_runs_unless_named():
    assert parse({"runs": "/shared/ftctl/"}).log_folder == "/shared/ftctl/logs"
    assert parse({"runs": "/shared/ftctl", "logs": "/logs"}).log_folder == "/logs"
    with pytest.raises(InvalidInput) as caught:
        parse({})
    (problem,) = caught.value.problems
    assert problem.field == "logs"
    assert "is missing" in problem.message


@pytest.mark.parametrize("folder", ["logs", "~/logs", "/a\nb", "/a\\b", ""])
def test_folders_mean_the_same_on_every_machine(folder):
    assert "logs" in problems(logs=folder)
    assert "runs" in problems(runs=folder)


@pytest.mark.parametrize("time", ["10", "10:00", "12:00:00", "2-00", "1-12:30", "1-12:30:15"])
def test_times_that_slurm_reads(time):
    assert parse({"runs": "/r", "time": time}).time == time


@pytest.mark.parametrize(
    "time",
    [
        "",
        "5",
        "9:59",
        "00:09:00",
        "0-00:05",
        "2 days",
        "1:2:3:4",
        90,
        "\u0663\u0660:00:00",
        "12:00:00\n",
    ],
)
def test_times_that_it_does_not_read_or_nobody_can_save_in(time):
    assert set(problems(time=time)) == {"time"}


@pytest.mark.parametrize(
    ("option", "remedy"),
    [
        ("--constraint h100", "with `=`"),
        ("-C", "with `=`"),
        ("constraint=h100", "with `=`"),
        ("--constraint=a\nb", "with `=`"),
        ("--partition=gpu", "`partition: …`"),
        ("--part=gpu", "Remove it"),
        ("--time=1", "`time: …`"),
        ("--output=/x", "Remove it"),
        ("--out=/x", "Remove it"),
        ("--job-name=x", "Remove it"),
        ("--job-n=x", "Remove it"),
        ("--export=ALL", "Remove it"),
        ("--array=1-9", "Remove it"),
        ("--no-requeue", "Remove it"),
        ("--gpus-per-node=8", "`gpus`"),
        ("--gres=gpu:8", "`gpus`"),
        ("--mem=1G", "`memory`"),
        ("--nodes=2", "`nodes`"),
    ],
)
def test_options_that_ftctl_sets_itself(option, remedy):
    found = problems(options=["--exclusive", option])
    assert list(found) == ["options[1]"]
    assert remedy in found["options[1]"].remedy


def test_other_options_are_taken_as_they_are():
    options = [
        *("--constraint=h100&nvlink", "--exclude=n[1-3]", "--exclusive", "--nodelist=n1"),
        *("--mail-type=END", "--reservation=r 1", "--cpus-per-task=8", "--time-min=60"),
        *("--gres=lscratch:100", "--nice=100", "--mem-bind=local", "--wait-all-nodes=1", "--hold"),
    ]
    assert parse({"runs": "/r", "options": options}).options == options


@pytest.mark.parametrize("host", ["-oProxyCommand=id", "a b", "a\nb", ""])
def test_a_login_node_is_a_name_and_not_an_option_of_ssh(host):
    assert set(problems(ssh=host)) == {"ssh"}


def test_every_setting_has_a_text():
    assert all(field.description for field in SlurmSettings.model_fields.values())
