"""Two hosted fine-tunes move to this machine before their service ends: what `make demo-exit` runs.

The hosted service is `ftctl serve` in a repository of its own, with an announced end. A customer has
two fine-tunes there, trained with the official SDK and nothing else. In the customer's repository
they are adopted, recorded and moved; the service is switched off; the gates judge from what was
recorded; and the old names still answer. Prints every command before it runs, and ends the servers
that it started.

    python -m tests.demos.exit DEMO_REPOSITORY FOLDER
"""

import csv
import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from openai import OpenAI

from tests.demos.steps import TOKEN, free_port, ftctl, say, serving, url_of

BASE: Final = "small-ko"
DAYS: Final = 46
"""Days until the end of the service: as many as OpenAI's customers had at the end of November."""
INSTRUCTION: Final = "카페 문의를 예약, 메뉴, 영업시간, 주차, 결제, 분실물로 나눈다."
QUESTIONS: Final = {
    "inquiries": "차 두 대 가져가도 댈 데 있어요?",
    "answers": "주말에도 문 여나요?",
}
METRICS: Final = {
    "inquiries": "evaluation:\n  metrics: [accuracy]\n  max_tokens: 16\n",
    "answers": "evaluation:\n  metrics:\n    - regex_match: {pattern: '^안녕하세요, 손님! .+ 물어봐 주세요\\.$'}\n"
    "  max_tokens: 96\n",
}


def main(demo: Path, folder: Path) -> int:
    """Run the whole story; return the exit code of the first command that failed."""
    os.environ.setdefault(TOKEN, secrets.token_urlsafe(24))
    hosted, team, port = folder / "hosted", folder / "team", free_port()
    shutil.rmtree(folder, ignore_errors=True)
    _write_hosted(hosted, demo)
    _write_team(team, demo, port)
    with serving(hosted, port) as service:
        names = _train_hosted(service, demo)
        _title("What we have, and how long it lives")
        code = (
            ftctl(team, "adopt", "--endpoint", "hosted")
            or ftctl(team, "adopt", "--endpoint", "hosted", "--all")
            or _commit(team, "Adopt the hosted fine-tunes")
            or ftctl(team, "plan")
        )
        if code:
            return code
        ftctl(team, "status", "--expiring", "60")
        _title("Record what the models say, as long as they speak")
        _add_metrics(team)
        code = ftctl(team, "record", "--all", "--yes") or _commit(team, "Record the hosted models")
        if code:
            return code
    _title("The service is switched off")
    return _move(team) or _ask_by_old_names(team, names)


def _move(team: Path) -> int:
    _title("Move both to this machine")
    model = f"../models/{BASE}"
    return (
        ftctl(team, "move", "--all", "--to", "local-gpu", "--base_model", model)
        or _commit(team, "Move both fine-tunes to our own machine")
        or ftctl(team, "plan")
        or ftctl(team, "apply", "--auto-approve")
        or _commit(team, "Put the moved fine-tunes into production")
        or ftctl(team, "status")
    )


def _ask_by_old_names(team: Path, names: Mapping[str, str]) -> int:
    _title("The old names answer, from this machine")
    with serving(team, free_port()) as sdk:
        for suffix, model in names.items():
            question = QUESTIONS[suffix]
            messages: Any = [*_instruction(suffix), {"role": "user", "content": question}]
            print(f"\n$ # the official SDK asks {model}\n> {question}", flush=True)
            answer = sdk.chat.completions.create(model=model, messages=messages, temperature=0)
            print(f"  {answer.choices[0].message.content}")
    say("git", "log", "--oneline", "--stat")
    _git(team, "log", "--oneline", "--stat", "--format=%n%h %s")
    return 0


def _write_hosted(hosted: Path, demo: Path) -> None:
    (hosted / "finetunes").mkdir(parents=True)
    shutil.copytree(demo / "models" / BASE, hosted / "models" / BASE)
    day = (datetime.now(UTC) + timedelta(days=DAYS)).date().isoformat()
    settings = f"serve:\n  base_models: [../models/{BASE}]\n  shutdown_dates: {{{BASE}: {day}}}\n"
    (hosted / "ftctl.yaml").write_text(settings, encoding="utf-8")


def _write_team(team: Path, demo: Path, port: int) -> None:
    (team / "finetunes").mkdir(parents=True)
    shutil.copytree(demo / "models" / BASE, team / "models" / BASE)
    hosted = f'{{kind: openai, base_url: "{url_of(port)}", api_key_env: {TOKEN}}}'
    (team / "ftctl.yaml").write_text(f"endpoints:\n  hosted: {hosted}\n", encoding="utf-8")
    (team / ".gitignore").write_text(".ftctl/\nmodels/\n", encoding="utf-8")
    _git(team, "init", "--quiet")
    _commit(team, "Begin")


def _train_hosted(service: OpenAI, demo: Path) -> dict[str, str]:
    """Train two fine-tunes as customers of a service do; return their model IDs by suffix."""
    _title("Two fine-tunes at a hosted service, made with the official SDK")
    data = demo / "finetunes" / "data"
    answers = [json.loads(line) for line in (data / "cafe-answers.jsonl").open(encoding="utf-8")]
    held_out = len(answers) // 6
    examples = {
        "inquiries": (
            _rows(data / "cafe-inquiries.csv"),
            _rows(data / "cafe-inquiries-held-out.csv"),
        ),
        "answers": (answers[held_out:], answers[:held_out]),
    }
    jobs = {}
    for suffix, (train, validation) in examples.items():
        jobs[suffix] = service.fine_tuning.jobs.create(
            model=BASE,
            suffix=suffix,
            training_file=_upload(service, f"{suffix}.jsonl", train),
            validation_file=_upload(service, f"{suffix}-validation.jsonl", validation),
            method={
                "type": "supervised",
                "supervised": {
                    "hyperparameters": {
                        "n_epochs": 6,
                        "batch_size": 16,
                        "learning_rate_multiplier": 10,
                    }
                },
            },
        ).id
    names = {suffix: _model_of(service, job) for suffix, job in jobs.items()}
    for suffix, model in names.items():
        print(f"  {jobs[suffix]}: {model}")
    return names


def _rows(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8", newline="") as file:
        return [
            {
                "messages": [
                    *_instruction("inquiries"),
                    {"role": "user", "content": row["문의"]},
                    {"role": "assistant", "content": row["분류"]},
                ]
            }
            for row in csv.DictReader(file)
        ]


def _instruction(suffix: str) -> list[dict[str, str]]:
    return [{"role": "system", "content": INSTRUCTION}] if suffix == "inquiries" else []


def _upload(service: OpenAI, name: str, examples: Iterable[Mapping[str, Any]]) -> str:
    text = "".join(json.dumps(example, ensure_ascii=False) + "\n" for example in examples)
    return service.files.create(file=(name, text.encode()), purpose="fine-tune").id


def _model_of(service: OpenAI, job_id: str) -> str:
    """Wait for a job; return the ID of its model."""
    while True:
        job = service.fine_tuning.jobs.retrieve(job_id)
        if job.fine_tuned_model is not None:
            return job.fine_tuned_model
        if job.status in {"failed", "cancelled"}:
            sys.exit(f"job {job_id} {job.status}: {job.error}")
        time.sleep(1)


def _add_metrics(team: Path) -> None:
    """Say how each fine-tune is measured: nobody but its owner knows that."""
    for suffix, text in METRICS.items():
        path = team / "finetunes" / f"{suffix}.yaml"
        say(f"cat >> {path.relative_to(team)}")
        print(text, end="", flush=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(text)


def _commit(team: Path, subject: str) -> int:
    say("git", "add", "-A", "&&", "git", "commit", "-m", f'"{subject}"')
    _git(team, "add", "-A")
    _git(
        team, "-c", "user.name=team", "-c", "user.email=team@example.com", "commit", "-qm", subject
    )
    return 0


def _git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", "-C", str(folder), "--no-pager", *arguments], check=True)


def _title(text: str) -> None:
    print(f"\n── {text} ──", flush=True)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()))
