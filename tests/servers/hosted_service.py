"""A hosted service on loopback, and a repository of fine-tunes of labels for it."""

import json

from backends.openai.examples.tokens import answer_counter, counter
from tests.backends.openai.servers import fault_server

KEY = fault_server.KEY
BASE = "gpt-4o-mini-2024-07-18"
LABELS = ("환불", "배송", "교환")
SPEC = """\
backend: openai
endpoint: {endpoint}
base_model: {base}
data:
  train:
    - path: data/{rows}.jsonl
{held_out}  prepare: {{pii: {pii}}}
evaluation:
  metrics: [{metrics}]
  max_tokens: 16
  compare_to: [{compare_to}]
gate: [{gate}]
"""
SETTINGS = """\
endpoints:
  hosted:
    kind: openai
    base_url: {hosted}
    api_key_env: HOSTED_KEY
    answer_prices: {{{base}: {{input: 0.3, output: 1.2}}}}
  home:
    kind: compatible
    base_url: {home}
    api_key_env: HOME_KEY
"""
FRACTION = "  held_out: {fraction: 0.25}\n"


def rows(count, *, salt=""):
    """Return labelled rows in Korean."""
    return "".join(
        json.dumps(
            {
                "messages": [
                    {"role": "user", "content": f"{salt}문의 {number}: 어떻게 하나요?"},
                    {"role": "assistant", "content": LABELS[number % len(LABELS)]},
                ]
            },
            ensure_ascii=False,
        )
        + "\n"
        for number in range(count)
    )


def label_of(body):
    """Answer as the model: the right label, but for each tenth question."""
    number = int("".join(c for c in body["messages"][-1]["content"] if c.isdigit()) or 0)
    return LABELS[(number + (number % 10 == 9)) % len(LABELS)]


_count, _count_answer = counter(BASE), answer_counter(BASE)


def billed(body, text):
    """Return the tokens that a service counts."""
    asked = _count({"messages": body["messages"]})
    return asked, _count_answer({"role": "assistant", "content": text})


def hosted_server():
    """Start a server whose jobs succeed at once; its models answer with labels."""
    server = fault_server.Server()
    server.models[BASE] = {"id": BASE, "object": "model", "created": 1, "owned_by": "openai"}
    server.finishes, server.answer, server.usage = True, label_of, billed
    server.gives_logprobs, server.stored = True, {}
    return server


def settings(hosted, home):
    """Return an `ftctl.yaml` that names two servers."""
    return SETTINGS.format(hosted=hosted, home=home, base=BASE)


def declaration(rows_of, **changes):
    """Return a spec at the hosted server."""
    given = {
        "endpoint": "hosted",
        "base": BASE,
        "rows": rows_of,
        "held_out": FRACTION,
        "pii": "off",
        "metrics": "accuracy",
        "compare_to": "base, production",
        "gate": '"accuracy >= 0.5"',
    }
    return SPEC.format(**(given | changes))
