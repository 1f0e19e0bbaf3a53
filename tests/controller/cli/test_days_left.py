"""Days left of models: from a real server, from the lockfile, from the table; and what cron reads."""

from datetime import UTC, datetime, timedelta

import pytest

from controller.lockfile.model import Lockfile, dump_lockfile
from tests.servers.models_server import listing
from tests.servers.silent_backends import KEY, MODEL, dead_server, entry

pytestmark = pytest.mark.usefixtures("installed")


@pytest.fixture(autouse=True)
def no_key(monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.delenv(name, raising=False)


def day(left: int) -> str:
    return (datetime.now(UTC).date() + timedelta(days=left)).isoformat()


@pytest.fixture
def fleet(shell):
    """Return a function that declares fine-tunes with a model in production at OpenAI.

    Each has a recorded end, or None; what else its spec says stands in `more`.
    """

    def make(more=None, place="openai", **recorded):
        entries = {}
        for number, (name, end) in enumerate(recorded.items(), start=1):
            shell.declare(name, (more or {}).get(name, ""), backend="openai", base=MODEL)
            made = entry(place, number)
            (build,) = made.builds.values()
            facts = {} if end is None else {"shutdown_date": end}
            build = build.model_copy(update={"facts": facts})
            builds = {build.fingerprint: build}
            entries[name] = made.model_copy(update={"builds": builds, "job": None})
        shell.write("finetunes/ftctl.lock", dump_lockfile(Lockfile(finetunes=entries)))

    return make


@pytest.fixture
def serve(monkeypatch):
    """Return a function that runs a server of models for a block, as the default endpoint."""

    def start(models, **settings):
        running = listing(models, **settings)

        class Running:
            def __enter__(self):
                url, paths = running.__enter__()
                monkeypatch.setenv("OPENAI_BASE_URL", url)
                monkeypatch.setenv("OPENAI_API_KEY", KEY)
                return paths

            def __exit__(self, *error):
                running.__exit__(*error)

        return Running()

    return start


def facts_of(shell, name="a", *options):
    code, value = shell.json("status", *options)
    assert code == 0
    return value["finetunes"][name]


# --- where the date is from -------------------------------------------------------------------


def test_the_service_counts_before_what_is_recorded(shell, fleet, serve):
    fleet(a=day(5), b=day(5))
    with serve({"ft:model:1": day(40), "ft:model:2": None, MODEL: None}) as paths:
        a, b = (facts_of(shell, name) for name in "ab")

    assert (a["days_left"], a["shutdown"]["date"]) == (40, day(40))
    assert a["shutdown"]["source"].startswith("shutdown_date of default (http://127.0.0.1:")
    # The service names no day: what was recorded stands.
    assert (b["days_left"], b["shutdown"]["source"]) == (5, "recorded on 2026-11-20 with the model")
    assert paths == ["/models"] * 2


@pytest.mark.parametrize("options", [[], ["--offline"]])
def test_without_a_key_or_network_the_record_and_the_table_count(shell, fleet, options):
    fleet(a="2026-12-24", b=None)

    a, b = (facts_of(shell, name, *options)["shutdown"] for name in "ab")

    assert (a["date"], a["source"]) == ("2026-12-24", "recorded on 2026-11-20 with the model")
    assert b["date"] == "2027-01-14"
    assert b["source"].startswith("table of ftctl: OpenAI deprecations page, entries up to 2026-")
    code, text = shell("status", *options)
    assert code == 0
    why = "no server is asked with --offline" if options else "no key: the variable OPENAI_API_KEY"
    assert "Not asked for dates: openai: " in text
    assert why in text
    assert "recorded on 2026-11-20 with the model" in text
    assert "table of ftctl" in text


def test_offline_asks_no_server(shell, fleet, serve):
    fleet(a=day(5))
    with serve({"ft:model:1": day(40)}) as paths:
        assert facts_of(shell, "a", "--offline")["days_left"] == 5
    assert paths == []


def test_a_server_that_is_away_leaves_what_is_recorded(shell, fleet, monkeypatch):
    fleet(a=day(5))
    monkeypatch.setenv("OPENAI_BASE_URL", dead_server())
    monkeypatch.setenv("OPENAI_API_KEY", KEY)

    code, text = shell("status")

    assert code == 0
    assert "in 5 days (recorded" in text
    assert "Not asked for dates: openai: " in text


def test_the_base_model_counts_before_the_first_training(shell, serve):
    shell.declare("a", backend="openai", base=MODEL)
    with serve({MODEL: day(1)}):
        end = facts_of(shell)["shutdown"]
        text = shell("status")[1]

    assert (end["model"], end["is_base"], end["days_left"]) == (MODEL, True, 1)
    assert f"! a: the base model {MODEL} is switched off on {day(1)}, in 1 day (" in text


def test_a_model_on_this_machine_has_no_end(shell):
    shell.declare("a")

    assert facts_of(shell)["days_left"] is None
    assert "DAYS LEFT" not in shell("status")[1]


# --- what is wrong, and what is over ----------------------------------------------------------


def test_a_malformed_date_is_named_and_the_next_source_counts(shell, fleet, serve):
    fleet(a=day(5), b="2027-13-01", c="2027-1-1")
    with serve({"ft:model:1": "14 January", "ft:model:2": None, "ft:model:3": day(9)}):
        code, value = shell.json("status")
        text = shell("status")[1]

    assert code == 0
    left = {name: one["days_left"] for name, one in value["finetunes"].items()}
    assert left == {"a": 5, "b": None, "c": 9}
    assert len(value["remarks"]) == 3
    assert "is '14 January', which is not a day YYYY-MM-DD" in text
    assert "! b: the recorded shutdown_date is '2027-13-01', which is not a day" in text


def test_a_model_that_is_switched_off_already(shell, fleet, serve):
    fleet(a=None, b=None, c=None)
    # The service still lists one, and has forgotten another; the third ends today.
    with serve({"ft:model:1": day(-37), MODEL: day(-37), "ft:model:3": day(0)}):
        code, value = shell.json("status")
        text = shell("status")[1]

    assert code == 0
    shown = {name: one["shutdown"] for name, one in value["finetunes"].items()}
    assert {name: end["days_left"] for name, end in shown.items()} == {"a": -37, "b": -37, "c": 0}
    assert [end["gone"] for end in shown.values()] == [False, True, False]
    assert f"! a: the model in production was switched off on {day(-37)}, 37 days ago" in text
    assert "! b: the model in production is gone: default (http" in text
    assert f"! c: the model in production is switched off on {day(0)}, today" in text
    cells = [line.split()[3] for line in text.splitlines()[1:4]]
    assert cells == ["off", "gone", "0"]


def test_a_gone_model_without_a_date_has_no_days_left(shell, fleet, serve):
    fleet(a=None, b=day(30))
    with serve({}):
        code, value = shell.json("status", "--expiring", "1")

    assert code == 9
    assert {name: one["days_left"] for name, one in value["finetunes"].items()} == {"a": 0, "b": 0}


# --- conditions -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        (["days_left < 30"], "b"),
        (["days_left <= 46"], "a b"),
        (["days_left == null"], "c d"),
        (["days_left != null", "owner == ml@acme.example"], "b"),
        (["labels.team == growth"], "a b"),
        (["labels.team in [growth, '상담, 2팀']"], "a b c"),
        (["labels.team != growth"], "c d"),
        (["labels.team == null"], "d"),
        (["state == 'in production'"], "a b c"),
        (["state != 'in production'"], "d"),
        (["state == 'not trained'"], "d"),
        (["backend == openai"], "a b c"),
        (["backend == scripted"], "d"),
        (["name in [a, d]", "days_left < 1000"], "a"),
        (["owner == nobody"], ""),
    ],
)
def test_conditions_choose_fine_tunes(shell, fleet, serve, conditions, expected):
    fleet(
        more={
            "a": "labels: {team: growth}\n",
            "b": "labels: {team: growth}\nowner: ml@acme.example\n",
            "c": "labels: {team: '상담, 2팀'}\n",
        },
        a=None,
        b=None,
        c=None,
    )
    shell.declare("d")
    typed = [part for text in conditions for part in ("--where", text)]
    with serve({"ft:model:1": day(46), "ft:model:2": day(29), "ft:model:3": None}):
        code, value = shell.json("status", *typed)
        text = shell("status", *typed)[1]

    assert code == 0
    assert " ".join(value["finetunes"]) == expected
    assert ("No fine-tune meets these conditions." in text) == (not expected)


def test_a_wrong_condition_names_its_place_and_what_is_meant(shell, fleet):
    fleet(more={"a": "labels: {team: growth}\n"}, a=None)

    for text, place, remedy in (
        ("day_left < 30", "expected a name at character 1, found 'day_left'", "`days_left`"),
        ("labels.taem == x", "at character 8, found 'taem'", "`team`"),
        ("labels. == x", "at character 8, found nothing", "Use one of: team."),
        ("state == 'in prodction'", "at character 11, found 'in prodction'", "`in production`"),
        ("name > b", "at character 6, found '>'", "Write days_left < 30"),
        ("days_left < soon", "expected a number at character 13, found 'soon'", "Write "),
        ("days_left == soon", "a number or null at character 14, found 'soon'", "Write "),
        ("days_left in []", "at character 15, found nothing", "Write "),
        ("days_left", "'days_left' has no operator", "Write days_left < 30"),
    ):
        code, said = shell("status", "--where", text)
        assert code == 1, text
        assert "--where: " in said
        assert place in said
        assert remedy in said


def test_a_spec_that_cannot_be_read_is_named_where_its_owner_is_asked_for(shell, fleet):
    fleet(more={"a": "owner: ml@acme.example\n"}, a=None, b=None)
    shell.write("finetunes/b.yaml", "backend: [\n")

    code, text = shell("status", "--where", "owner == ml@acme.example")

    assert code == 0
    assert "! b: its spec cannot be read" in text
    assert "its spec" not in shell("status", "--where", "days_left < 1000")[1]


# --- for cron ---------------------------------------------------------------------------------


def test_expiring_prints_only_those_and_exits_9(shell, fleet, serve):
    fleet(a=None, b=None, c=None)
    shell.declare("untrained", backend="openai", base=MODEL)
    with serve({"ft:model:1": day(29), "ft:model:2": day(30), "ft:model:3": None, MODEL: None}):
        code, text = shell("status", "--expiring", "30")
        json_code, value = shell.json("status", "--expiring", "30")

    assert (code, json_code) == (9, 9)
    assert list(value["finetunes"]) == ["a"]
    assert "29" in text.splitlines()[1]
    assert f"! a: the model in production is switched off on {day(29)}, in 29 days" in text
    for name in ("b", "c", "untrained"):
        assert not any(line.startswith(name) for line in text.splitlines())


def test_expiring_without_one_exits_0(shell, fleet, serve):
    fleet(a=None, b=None)
    # A base model that ends concerns no model in production.
    shell.declare("untrained", backend="openai", base=MODEL)
    with serve({"ft:model:1": day(30), "ft:model:2": None, MODEL: day(99)}):
        code, text = shell("status", "--expiring", "30")
        narrow = shell("status", "--expiring", "60", "--where", "name == b")[0]

    assert (code, narrow) == (0, 0)
    assert text == "No model in production has fewer than 30 days left.\n"


def test_expiring_does_not_pass_where_a_failure_hides_the_date(shell, fleet, serve):
    fleet(a=None)
    with serve({}, status=401):
        code, said = shell("status", "--expiring", "30")
    assert code == 1
    assert "could not be found out: a" in said
    assert "Not asked for dates: openai: " in said

    with serve({"ft:model:1": "soon"}):
        assert shell("status", "--expiring", "30")[0] == 1

    # Whoever asks no server knows it.
    with serve({}):
        assert shell("status", "--expiring", "30", "--offline")[0] == 0


def test_expiring_without_a_key_uses_the_table(shell, fleet):
    fleet(a=None)

    code, text = shell("status", "--expiring", "100000")

    assert code == 9
    assert "table of ftctl" in text


@pytest.mark.parametrize("days", ["0", "-1", "soon", "1.5", "nan"])
def test_a_wrong_number_of_days_is_refused(shell, fleet, days):
    fleet(a=None)
    assert shell("status", f"--expiring={days}")[0] not in {0, 9}


# --- plan -------------------------------------------------------------------------------------


def test_a_plan_names_the_end_of_models_that_the_spec_no_longer_trains(shell, fleet, serve):
    fleet(a=None, b=None)
    shell.declare("a", "gate: []\n")  # moved to another backend
    shell.declare("b", "gate: []\n")
    with serve({"ft:model:1": day(46), "ft:model:2": day(46)}):
        code, text = shell("plan")
        markdown = shell("plan", "--format", "github")[1]
        value = shell.json("plan")[1]

    assert code == 0
    line = f"a, b: the models in production are switched off on {day(46)}, in 46 days ("
    assert f"! {line}" in text
    assert "the models in production are switched off on" in markdown.partition("<details>")[0]
    assert value["shutdowns"]["a"]["days_left"] == 46
    assert value["shutdowns"]["a"]["model"] == "ft:model:1"


def test_a_plan_takes_the_end_of_a_base_model_from_its_service(shell, serve):
    shell.declare("a", backend="openai", base=MODEL)
    with serve({MODEL: day(46)}):
        value = shell.json("plan")[1]
        text = shell("plan")[1]
    offline = shell.json("plan", "--offline")[1]

    (action,) = value["actions"]
    assert (action["shutdown_date"], action["days_left"]) == (day(46), 46)
    assert f"is switched off on {day(46)} (46 days left; shutdown_date of default" in text
    assert value["id"] == offline["id"], "days left decide nothing"


def test_a_plan_stands_without_an_answer_about_dates(shell, fleet, serve):
    fleet(a=day(5))
    shell.declare("a", "gate: []\n")
    with serve({}, status=500):
        code, text = shell("plan")

    assert code == 0
    assert "in 5 days (recorded" in text
    assert "Note: openai was not asked when it switches models off: " in text
    assert shell("plan")[0] == 0
