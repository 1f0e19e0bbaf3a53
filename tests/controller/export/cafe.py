"""An evaluation of a café's model: Korean, hostile texts, calls, thinking, an unanswered example."""

from controller.export.evaluated import Evaluated
from controller.lockfile.model import RecordedSample, Verdict

CALL = {"id": "c1", "type": "function", "function": {"name": "book", "arguments": '{"day": 3}'}}
BROKEN = {"type": "function", "function": {"name": "book", "arguments": "[3"}}
LINES = [
    {
        "id": "00000000000000a1",
        "origin": "data/faq.csv:2",
        "messages": [{"role": "user", "content": "환불은 언제까지 되나요?"}],
        "reference": "7일 안에 됩니다.",
        "columns": {"lang": "ko"},
        "answers": {"candidate": "7일 안에 됩니다.", "base": "</script>\u202e모릅니다\n"},
        "values": {
            "candidate": {"exact_match": 1, "held_out_loss": 0.5, "stop_rate": 1},
            "base": {"exact_match": 0, "held_out_loss": 2.5, "stop_rate": 0},
        },
        "finish_reason": {"candidate": "stop", "base": "length"},
        "tokens": {"candidate": 7, "base": 256},
        "latency_s": {"candidate": 0.25},
        "thinking": {"candidate": "환불 규정을 찾자."},
    },
    {
        "id": "00000000000000a2",
        "origin": "data/faq.csv:3",
        "messages": [
            {"role": "developer", "content": "Answer briefly."},
            {"role": "user", "content": [{"type": "text", "text": "3일에 예약"}]},
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "c1", "content": "ok"},
        ],
        "reference": None,
        "reference_calls": [CALL],
        "columns": {},
        "answers": {"candidate": "", "base": "예약"},
        "calls": {"candidate": [BROKEN], "base": [CALL]},
        "values": {
            "candidate": {"exact_match": 0, "held_out_loss": None, "stop_rate": 1},
            "base": {"exact_match": 1, "held_out_loss": 1.5, "stop_rate": 1},
        },
        "finish_reason": {"candidate": "tool_calls"},
    },
]


def cafe(make, lines=LINES) -> Evaluated:
    desired = make.desired("cafe", gate=["exact_match >= 0.5"])
    build = make.build(desired)
    sample = RecordedSample(n=2, right=1)
    evaluation = build.evaluation.model_copy(
        update={
            "scores": {
                "candidate": {"exact_match": 0.5, "held_out_loss": 0.5, "stop_rate": 1.0},
                "base": {"exact_match": 0.5, "held_out_loss": 2.0, "stop_rate": 0.5},
            },
            "samples": {"candidate": {"exact_match": sample}},
        }
    )
    verdict = Verdict(passed=True, gate=["exact_match >= 0.5"])
    build = build.model_copy(update={"evaluation": evaluation, "verdict": verdict})
    return Evaluated(name="cafe", build=build, evaluation=evaluation, lines=lambda: iter(lines))
