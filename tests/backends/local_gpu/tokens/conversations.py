"""Chat templates of several habits, and conversations that they show, refuse or forget."""

CHATML_TURN = "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n"
NO_SYSTEM = (
    "{% for m in messages %}{% if m.role != 'system' %}" + CHATML_TURN + "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
REFUSES_SYSTEM = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}" + NO_SYSTEM
)
FORGETFUL = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.role == 'assistant' and loop.last %}<think></think>{% endif %}"
    "{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
STRICT = (
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}" + CHATML_TURN + "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
DROPS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{{ m.content.split('---')[-1].split('</think>')[-1] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
ENDLESS = "{% for m in messages %}[{{ m.role }}] {{ m.content }} {% endfor %}"
CALL = {"id": "1", "type": "function", "function": {"name": "hours", "arguments": "{}"}}

EVERY = ("system", "developer", "tools")
PLAIN = [{"role": "user", "content": "뭐?"}, {"role": "assistant", "content": "네"}]
SYSTEM = {"role": "system", "content": "짧게"}
TOOL = {"type": "function", "function": {"name": "hours"}}
CALLS = {"role": "assistant", "content": None, "tool_calls": [CALL]}
