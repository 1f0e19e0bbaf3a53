"""A fine-tune whose evaluation has everything that a report shows, made by a real run."""

import json
from hashlib import sha256

from backends.contract.completions import Completion

LABELS = ("예약", "메뉴", "영업시간", "주차")
QUESTIONS = {
    "예약": "{n}명 예약하고 싶어요.",
    "메뉴": "디카페인 메뉴가 {n}가지 있나요?",
    "영업시간": "{n}일에도 문을 여나요?",
    "주차": "차 {n}대를 세울 수 있나요?",
}
SPEC = {
    "description": "손님의 문의를 분류합니다.",
    "owner": "카페 팀",
    "labels": {"team": "cafe", "stage": "trial"},
    "evaluation": {"metrics": ["accuracy", "exact_match"], "compare_to": ["base"]},
    "gate": ["accuracy >= 0.8", "accuracy > base.accuracy + 0.1"],
    "hyperparameters": {"learning_rate": 2e-4},
}


def table(rows: int) -> str:
    """Return a table of questions with labels."""
    lines = ["question,answer"]
    for n in range(rows):
        label = LABELS[n % len(LABELS)]
        lines.append(f"{QUESTIONS[label].format(n=n + 1)},{label}")
    return "\n".join(lines) + "\n"


def share(*parts: object) -> float:
    """Return a number from 0 to 1 that follows from some values."""
    return int(sha256(repr(parts).encode()).hexdigest()[:8], 16) / 0xFFFFFFFF


def answerer(good: float, poor: float):
    """Return a function that answers: the tuned model is right more often than the base."""

    def answer(model, prompt):
        question, expected = prompt.messages[-1]["content"], prompt.reference["content"]
        right = share(model is None, question) < (poor if model is None else good)
        other = LABELS[(LABELS.index(expected) + 1 + int(3 * share(question))) % len(LABELS)]
        text = expected if right else other if model else f"아마 {other}인 것 같아요."
        return Completion(
            text=text,
            finish_reason="stop",
            reference_loss=0.42 if model else 2.31,
            reference_tokens=4,
            latency_s=0.02 + share(question, "time") / 10,
            completion_tokens=2 + len(text),
            prompt_tokens=12,
        )

    return answer


def train(
    repo, name: str = "cafe", *, rows: int = 240, good: float = 0.93, poor: float = 0.55, **changes
):
    """Train, measure and judge a fine-tune; return its build."""
    repo.use(answer=answerer(good, poor))
    repo.write("finetunes/data/faq.csv", table(rows))
    repo.declare(name, **{**SPEC, **changes})
    repo.settle()
    entry = repo.lockfile.finetunes[name]
    return entry.builds[entry.candidate or entry.production]


def curve(repo, build, points: int = 40) -> None:
    """Keep a curve for a build."""
    folder = repo.project.state / "curves"
    folder.mkdir(exist_ok=True)
    lines = []
    for n in range(points):
        step = 5 * n
        value = {"step": step, "train_loss": round(0.3 + 2 * 0.9**n, 4), "epoch": n / 10}
        if n % 4 == 0:
            value["held_out_loss"] = round(0.5 + 1.8 * 0.88**n + max(0, n - 25) * 0.01, 4)
        lines.append(json.dumps(value))
    name = build.fingerprint.partition(":")[2][:12]
    (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
