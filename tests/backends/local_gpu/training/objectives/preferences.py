"""Preferences, and a base model and a policy whose weights follow a formula, for every machine."""

from importlib import import_module

from tests.tiny_base import make_base

TEMPLATE = (
    "{% for m in messages %}{{ '\n' if not loop.first }}"
    "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>{% endfor %}"
    "{{ '\n<|im_start|>assistant\n' if add_generation_prompt }}"
)
"""Ends with the end of the turn: what TRL learns of an answer is what is learned here."""
PAIRS = [
    ("Where is the nearest cafe?", "Two streets down, on the left.", "No."),
    (
        "카페는 몇 시에 여나요?",
        "매일 아홉 시에 엽니다.",
        "잘 모르겠는데 아마 아홉 시쯤 열지 않을까요?",
    ),
    ("How long are you open?", "From nine to six.", "We are open, every day, all of the day."),
    ("창업 비용은 얼마인가요?", "평수와 상권에 따라 다릅니다.", "비쌉니다."),
]
"""Questions, each with a preferred answer and another one."""
MARKS = [True, False, False, True]
"""Of each pair, whether its preferred answer is the row for kto, and good."""


def turn(role, content):
    return {"role": role, "content": content}


def pair(question, chosen, rejected):
    """Return a pair in the protocol's form."""
    return {
        "input": {"messages": [turn("user", question)]},
        "preferred_output": [turn("assistant", chosen)],
        "non_preferred_output": [turn("assistant", rejected)],
    }


def marked(question, answer, label):
    """Return a marked answer as a line of a dataset has it."""
    return {
        "input": {"messages": [turn("user", question)]},
        "output": [turn("assistant", answer)],
        "label": label,
    }


def pairs():
    return [pair(*one) for one in PAIRS]


def marked_answers():
    """Return an answer of each pair: the preferred one as good, or the other as bad."""
    return [
        marked(question, chosen if label else rejected, label)
        for (question, chosen, rejected), label in zip(PAIRS, MARKS, strict=True)
    ]


def formula_base(folder):
    """Write a base model with weights by a formula."""
    # Tests without the training packages import this module too.
    torch, transformers = import_module("torch"), import_module("transformers")
    make_base(folder, TEMPLATE)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        for number, (_, weights) in enumerate(sorted(model.named_parameters()), start=1):
            if weights.dim() > 1:
                weights.copy_(_waves(weights, 7.13 * number) * 0.1)
    model.save_pretrained(folder)
    return folder


def become_policy(model):
    """Change a model as a training would."""
    torch = import_module("torch")
    with torch.no_grad():
        for number, (_, weights) in enumerate(sorted(model.named_parameters()), start=1):
            if weights.dim() > 1:
                weights.add_(_waves(weights, 3.71 * number) * 0.02)


def _waves(weights, step):
    torch = import_module("torch")
    places = torch.arange(1, weights.numel() + 1, dtype=torch.float64)
    return torch.sin(places * step).reshape(weights.shape).to(weights.dtype)
