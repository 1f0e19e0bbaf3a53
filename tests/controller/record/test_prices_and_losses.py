"""Approval of what a recording costs, and services that refuse, are off, or end."""

import json
import re

import pytest

from tests.backends.openai.servers.emulator import error_body
from tests.backends.openai.servers.fault_server import Fault
from tests.controller.record.recorded import TRAIN, asked_by, shown
from tests.servers.hosted_service import LABELS, billed, rows

CHAT = ("POST", "/chat/completions")


def test_nobody_is_asked_without_approval(hosted):
    hosted.train()
    code, text, asked = asked_by(hosted, "record", "triage")
    assert (code, asked, hosted.files()) == (1, [], [])
    assert "there is no terminal to ask at" in text
    assert "Approve beforehand: ftctl record triage --yes" in text
    code, text, asked = asked_by(hosted, "record", "--all", "--json")
    assert (code, asked) == (1, [])
    assert json.loads(text)["error"] == "--json cannot ask before spending"


def test_the_estimate_holds_what_the_service_counts(hosted):
    hosted.train()
    hosted.forget_answers()
    code, found = hosted.shell.json("record", "triage", "--yes")
    assert code == 0
    estimate, counted = found["estimate"], found["counted"]
    assert estimate["basis"] == "prices of ftctl.yaml"
    assert (estimate["answers"], counted["answers"]) == (40, 40)
    asked = [billed(body, LABELS[0]) for body in hosted.chats()[-40:]]
    assert counted["prompt_tokens"] == sum(count for count, _ in asked)
    assert estimate["prompt_tokens"] == counted["prompt_tokens"]
    least, most = estimate["completion_tokens"]
    assert most == 40 * 16
    # One answer in ten is not the reference.
    assert counted["completion_tokens"] == pytest.approx(least, rel=0.1)
    assert estimate["usd"][0] == pytest.approx(counted["usd"], rel=0.1)
    assert counted["usd"] < estimate["usd"][1]
    assert counted["usd"] == pytest.approx(
        (counted["prompt_tokens"] * 0.3 + counted["completion_tokens"] * 1.2) / 1e6
    )


def test_a_service_without_a_price_says_how_to_declare_one(hosted, monkeypatch):
    hosted.train()
    settings = (hosted.shell.root / "ftctl.yaml").read_text()
    settings = re.sub(r"(?m)^ *answer_prices.*\n", "", settings)
    hosted.shell.write("ftctl.yaml", settings.replace(hosted.hosted.url, "https://far.example/v1"))
    monkeypatch.setenv("HOSTED_KEY", "")
    code, text = hosted.shell("record", "triage")
    # Without a key it is not asked, and the words say what is kept.
    assert code == 1
    assert "no key" in text
    assert "Kept: 7 of 7 held-out rows, 0 of 33 training rows." in text


def far(hosted):
    """Let the service be one of which ftctl does not know that it is near, without a price."""
    settings = (hosted.shell.root / "ftctl.yaml").read_text()
    settings = re.sub(r"(?m)^ *answer_prices.*\n", "", settings)
    port = hosted.hosted.url.rpartition(":")[2]
    hosted.shell.write("ftctl.yaml", settings.replace(hosted.hosted.url, f"http://0.0.0.0:{port}"))


def test_a_price_that_is_not_known_is_told_and_asked_about(hosted, golden):
    hosted.train()
    far(hosted)
    code, text, asked = asked_by(hosted, "record", "triage")
    assert (code, asked) == (1, [])
    golden("record/no_price.txt", shown(text, hosted))
    code, text, asked = asked_by(hosted, "record", "triage", "--yes")
    assert (code, len(asked)) == (0, TRAIN)
    assert "Asked: 33 answers, 33 with log-probabilities; 495 tokens in and 88 out.\n" in text


def test_a_rate_limit_is_waited_for(hosted):
    hosted.train()
    busy = error_body("slow down", "rate_limit_exceeded")
    hosted.hosted.put_fault(*CHAT, *[Fault("429", body=busy, headers={"retry-after-ms": "30"})] * 3)
    code, text = hosted.shell("record", "triage", "--yes")
    assert code == 0, text
    assert "40 of 40 answers" in text


def test_a_refused_prompt_stops_no_other(hosted):
    hosted.train()
    hosted.hosted.put_fault(*CHAT, Fault("400", body=error_body("filtered", "content_filter")))
    code, text = hosted.shell("record", "triage", "--yes")
    assert code == 1
    assert "does not answer this prompt: filtered" in text
    assert "Kept: 7 of 7 held-out rows, 32 of 33 training rows." in text
    assert "39 of 40 answers in finetunes/recorded/" in text
    code, text, asked = asked_by(hosted, "record", "triage", "--yes")
    assert (code, len(asked)) == (0, 1)


def test_an_empty_account_keeps_what_was_answered(hosted):
    hosted.train()
    code, text, _ = asked_by(hosted, "record", "triage", "--train", "5", "--yes")
    assert code == 0, text
    empty = error_body("You exceeded your current quota", "insufficient_quota")
    hosted.hosted.put_fault(*CHAT, *[Fault("429", body=empty)] * 100)
    code, text = hosted.shell("record", "triage", "--yes")
    assert code == 1
    assert "Kept: 7 of 7 held-out rows, 5 of 33 training rows." in text
    assert "run the same command again: ftctl record triage. Nothing is asked twice." in text
    hosted.hosted.faults.clear()
    assert len(asked_by(hosted, "record", "triage", "--yes")[2]) == TRAIN - 5


def test_after_the_shutdown_it_says_what_is_kept_and_how_to_gate(hosted, golden):
    hosted.train()
    hosted.forget_answers()
    assert hosted.shell("record", "triage", "--train", "0", "--yes")[0] == 0
    rewritten = rows(40).replace("문의 2", "질문 2").replace("문의 3", "질문 3")
    hosted.shell.write("finetunes/data/triage.jsonl", rewritten)
    for model in [one for one in hosted.hosted.models if one.startswith("ft:")]:
        del hosted.hosted.models[model]
    code, text, asked = asked_by(hosted, "record", "triage", "--yes")
    assert (code, asked) == (1, [])
    golden("record/gone.txt", shown(text, hosted))


def test_a_model_that_goes_while_it_is_asked_is_told_of_the_same_way(hosted):
    hosted.train()
    (model,) = [one for one in hosted.hosted.models if one.startswith("ft:")]

    def last_words(body):
        hosted.hosted.models.pop(body["model"], None)
        return LABELS[0]

    hosted.hosted.answer = last_words
    code, text = hosted.shell("record", "triage", "--yes")
    assert code == 1
    assert "! triage: the model is gone: " in text
    assert model in text
    assert "Gates on `production.*` use the answers to all held-out rows, with any metric." in text


def test_a_service_that_is_off_is_told_at_once(hosted):
    hosted.train()
    hosted.hosted.close()
    code, text = hosted.shell("record", "triage", "--yes")
    assert code == 1
    assert "cannot be reached" in text
    assert "Kept: 7 of 7 held-out rows, 0 of 33 training rows." in text
    # With nothing left to ask, it need not be there.
    code, text = hosted.shell("record", "triage", "--train", "0")
    assert code == 0
    assert "Nothing to ask: all 7 answers are kept, at $0.00." in text
    assert "Note: stored completions were not listed: " in text
    code, text = hosted.shell("record", "triage", "--train", "0", "--stored", "4")
    assert code == 1
