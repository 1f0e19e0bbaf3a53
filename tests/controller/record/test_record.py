"""`ftctl record`: each answer is asked for once, kept, and written to be committed."""

import errno
import json
import os
import re
from pathlib import Path

import pytest

from tests.backends.openai.servers.emulator import error_body
from tests.backends.openai.servers.fault_server import Fault
from tests.servers.hosted_service import BASE, LABELS, billed, rows

CHAT = ("POST", "/chat/completions")
HELD_OUT, TRAIN = 7, 33


def asked_by(hosted, *arguments):
    """Return the code, the text and the accepted questions of a command."""
    before = len(hosted.chats())
    code, text = hosted.shell(*arguments)
    return code, text, hosted.chats()[before:]


def shown(text, hosted):
    """Return a text without what differs from run to run."""
    text = text.replace(hosted.hosted.url, "http://hosted/v1")
    text = re.sub(r"[0-9a-f]{32}\.jsonl", f"{'0123456789abcdef' * 2}.jsonl", text)
    return re.sub(r"triage-[0-9a-f]{10}", "triage-0123456789", text)


def answers_in(path):
    head, *lines = map(json.loads, path.read_text("utf-8").splitlines())
    assert head["format"] == 1
    return lines


# --- asked once -------------------------------------------------------------------------------


def test_each_answer_is_asked_for_once_and_written(hosted, golden):
    hosted.train()

    code, first, asked = asked_by(hosted, "record", "triage", "--yes")
    assert code == 0, first
    # The evaluation before has asked for the held-out rows.
    assert len(asked) == TRAIN
    assert {body["model"] for body in asked} == {asked[0]["model"]}
    (path,) = hosted.files()
    assert len(answers_in(path)) == HELD_OUT + TRAIN

    code, second, again = asked_by(hosted, "record", "triage")
    assert (code, again) == (0, [])
    golden("record/first.txt", shown(first, hosted))
    golden("record/second.txt", shown(second, hosted))


def test_answers_under_another_limit_of_tokens_are_written_too(hosted):
    hosted.train()
    assert hosted.shell("record", "triage", "--yes")[0] == 0
    (path,) = hosted.files()
    path.unlink()
    spec = hosted.shell.root / "finetunes/triage.yaml"
    text = spec.read_text("utf-8")
    spec.write_text(text.replace("max_tokens: 16", "max_tokens: 77"), "utf-8")
    assert spec.read_text("utf-8") != text

    code, text, asked = asked_by(hosted, "record", "triage", "--yes")

    assert (code, asked) == (0, []), text
    (path,) = hosted.files()
    assert len(answers_in(path)) == HELD_OUT + TRAIN
    # In a clone, only the file that was committed counts.
    hosted.forget_answers()
    assert asked_by(hosted, "record", "triage", "--yes")[2] == []


def test_without_an_evaluation_the_held_out_rows_are_asked_too(hosted):
    hosted.train()
    hosted.forget_answers()
    code, text, asked = asked_by(hosted, "record", "triage", "--train", "5", "--yes")
    assert code == 0, text
    assert len(asked) == HELD_OUT + 5
    # A larger sample has all rows of the smaller one.
    assert len(asked_by(hosted, "record", "triage", "--train", "9", "--yes")[2]) == 4
    assert asked_by(hosted, "record", "triage", "--train", "3", "--yes")[2] == []


def test_the_sample_does_not_depend_on_the_order_of_the_rows(hosted):
    hosted.train()
    assert len(asked_by(hosted, "record", "triage", "--train", "9", "--yes")[2]) == 9
    lines = rows(40).splitlines(keepends=True)
    hosted.shell.write("finetunes/data/triage.jsonl", "".join(reversed(lines)))
    assert asked_by(hosted, "record", "triage", "--train", "9", "--yes")[2] == []


def test_files_that_were_committed_keep_a_fresh_clone_from_asking(hosted):
    hosted.train()
    assert hosted.shell("record", "triage", "--yes")[0] == 0
    hosted.forget_answers()
    code, text, asked = asked_by(hosted, "record", "triage")
    assert (code, asked) == (0, [])
    assert "Nothing to ask: all 40 answers are kept, at $0.00." in text


def test_fine_tunes_that_share_a_model_ask_it_once(hosted):
    hosted.train()
    hosted.declare("care", rows_of="triage")
    code, text = hosted.shell("apply", "--auto-approve", "--only", "care")
    assert code == 0, text
    assert len(hosted.hosted.jobs) == 1
    hosted.forget_answers()
    code, text, asked = asked_by(hosted, "record", "--all", "--yes")
    assert code == 0, text
    assert len(asked) == HELD_OUT + TRAIN
    assert "To ask: 40 answers" in text
    assert len(hosted.files()) == 1


# --- money ------------------------------------------------------------------------------------


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


# --- log-probabilities ------------------------------------------------------------------------


def test_log_probabilities_of_labels_are_kept_beside_the_answers(hosted):
    hosted.train()
    assert hosted.shell("record", "triage", "--yes")[0] == 0
    asked = [body for body in hosted.chats() if body.get("logprobs")]
    assert len(asked) == TRAIN
    assert {body["top_logprobs"] for body in asked} == {20}
    kept = answers_in(hosted.files()[0])
    # Answers that were kept before are not asked for again.
    assert sum("logprobs" in line for line in kept) == TRAIN
    (token,) = next(line["logprobs"] for line in kept if "logprobs" in line)
    assert token["token"] in LABELS
    assert token["logprob"] == -0.0123
    assert token["top"][0] == [token["token"], -0.0123]
    # A part of a Korean character has no text, so its bytes are kept.
    assert token["top"][1][2] == list(token["token"].encode()[:2])


def test_answers_that_are_no_labels_have_no_log_probabilities(hosted):
    hosted.train(metrics="exact_match", gate='"exact_match >= 0.5"')
    code, _, asked = asked_by(hosted, "record", "triage", "--yes")
    assert code == 0
    assert len(asked) == TRAIN
    assert not any("logprobs" in body or "top_logprobs" in body for body in asked)


def test_without_metrics_the_expected_answers_tell_if_they_are_labels(hosted):
    hosted.train(metrics="", gate="")
    code, _, asked = asked_by(hosted, "record", "triage", "--yes")
    assert code == 0
    assert sum("logprobs" in body for body in asked) == len(asked) == TRAIN

    lines = rows(40).splitlines(keepends=True)
    texts = [line.replace(LABELS[n % 3], f"답변 {n}") for n, line in enumerate(lines)]
    # Other questions: a changed label alone would ask nobody again.
    texts = [line.replace('"content": "', '"content": "다시: ', 1) for line in texts]
    hosted.shell.write("finetunes/data/triage.jsonl", "".join(texts))
    asked = asked_by(hosted, "record", "triage", "--yes")[2]
    assert asked
    assert not any("logprobs" in body for body in asked)


def test_a_service_that_refuses_log_probabilities_is_asked_without(hosted):
    hosted.train()
    hosted.hosted.gives_logprobs = False
    code, text, asked = asked_by(hosted, "record", "triage", "--yes")
    assert code == 0, text
    refused = [body for body in asked if body.get("logprobs")]
    # Those under way at the first refusal, at most; a refusal costs nothing.
    assert 1 <= len(refused) <= TRAIN
    assert len(asked) - len(refused) == TRAIN
    assert "33 answers; " in text
    assert all("logprobs" not in line for line in answers_in(hosted.files()[0]))
    assert asked_by(hosted, "record", "triage", "--yes")[2] == []


# --- faults -----------------------------------------------------------------------------------


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


# --- the model is gone ------------------------------------------------------------------------


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


# --- words ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments", [[], ["triage", "--all"], ["triage", "--metadata", "team"], ["a", "--train", "-1"]]
)
def test_wrong_usage(hosted, arguments):
    code, _ = hosted.shell("record", *arguments)
    assert code == 64


def test_unknown_names_and_fine_tunes_without_a_model(hosted):
    hosted.train()
    code, text = hosted.shell("record", "triag")
    assert code == 1
    assert "no fine-tune is called triag" in text
    assert "triage" in text.partition("triag\n")[2]
    lock = hosted.shell.root / "finetunes/ftctl.lock"
    recorded = json.loads(lock.read_text())
    del recorded["finetunes"]["triage"]["production"]
    lock.write_text(json.dumps(recorded))
    code, text = hosted.shell("record", "triage")
    assert code == 1
    assert "triage has no model in production" in text
    code, text = hosted.shell("record", "--all")
    assert code == 0
    assert "Without a model in production: triage" in text


def test_an_alias_names_a_fine_tune(hosted):
    hosted.train()
    path = hosted.shell.root / "finetunes/triage.yaml"
    path.write_text(path.read_text() + 'aliases: ["ft:old:acme:triage:AbC"]\n')
    code, _, asked = asked_by(hosted, "record", "ft:old:acme:triage:AbC", "--yes")
    assert (code, len(asked)) == (0, TRAIN)


def test_a_spec_with_problems_stops_no_other(hosted):
    hosted.train()
    hosted.declare("care", count=30)
    assert hosted.shell("apply", "--auto-approve", "--only", "care")[0] == 0
    hosted.shell.write("finetunes/care.yaml", "backend: openai\nbase_model: [\n")
    code, text, asked = asked_by(hosted, "record", "--all", "--yes")
    assert code == 1
    assert len(asked) == TRAIN
    assert "! care: finetunes/care.yaml" in text


def test_json_has_numbers_of_each_part(hosted):
    hosted.train()
    code, found = hosted.shell.json("record", "triage", "--train", "9", "--yes")
    assert code == 0
    parts = found["finetunes"]["triage"]["parts"]
    assert parts["held_out"] == {"rows": 7, "of": 7, "kept": 7, "asked": 0}
    assert parts["train"] == {"rows": 9, "of": 33, "kept": 9, "asked": 9}
    assert found["finetunes"]["triage"]["file"].startswith("finetunes/recorded/")
    assert found["counted"]["with_logprobs"] == 9
    assert BASE in found["finetunes"]["triage"]["model"]


def test_a_full_disk_of_the_files_to_commit_is_named_and_loses_nothing(hosted, monkeypatch):
    hosted.train()
    hosted.forget_answers()
    write = os.write
    recorded = hosted.shell.root / "finetunes/recorded"

    def refuse(handle, data):
        if Path(f"/proc/self/fd/{handle}").readlink().is_relative_to(recorded):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(handle, data)

    with monkeypatch.context() as full:
        full.setattr(os, "write", refuse)
        code, text = hosted.shell("record", "triage", "--yes")
    assert code == 1
    assert "finetunes/recorded cannot be written: No space left on device" in text
    assert "state folder" not in text
    asked = len(hosted.chats())
    assert hosted.shell("record", "triage", "--yes")[0] == 0
    assert len(hosted.chats()) == asked
