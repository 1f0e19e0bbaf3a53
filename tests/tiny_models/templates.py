"""Templates of families, for where TRL is not installed."""

MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'assistant' %}"
    " {{ m.content | trim }}{{ eos_token }}{% elif m.role == 'user' %}[INST] {{ m.content }}[/INST]"
    "{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}"
    "{% endfor %}"
)
OLMO2 = (
    "{{ bos_token }}{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}"
    "{{ eos_token if m.role == 'assistant' }}{{ '\n' if not loop.last }}"
    "{{ '\n' if loop.last and m.role != 'assistant' }}{% endfor %}"
    "{{ '<|assistant|>\n' if add_generation_prompt }}"
)
GLM4 = (
    "[gMASK]<sop>{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}{% endfor %}"
    "{{ '<|assistant|>\n' if add_generation_prompt }}"
)
EXAONE4 = (
    "{% for m in messages %}[|{{ m.role }}|]\n"
    "{{ '<think>\n\n</think>\n\n' if m.role == 'assistant' and loop.last }}"
    "{{ m.content }}[|endofturn|]\n{% endfor %}"
    "{{ '[|assistant|]\n<think>\n\n</think>\n\n' if add_generation_prompt }}"
)
GRANITE = (
    "{% for m in messages %}<|start_of_role|>{{ m.role }}<|end_of_role|>{{ m.content }}"
    "<|end_of_text|>\n{% endfor %}"
    "{{ '<|start_of_role|>assistant<|end_of_role|>' if add_generation_prompt }}"
)
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{{ '<|im_start|>assistant\n' if add_generation_prompt }}"
)
GEMMA = (
    "{{ bos_token }}{% for m in messages %}<start_of_turn>"
    "{{ 'model' if m.role == 'assistant' else m.role }}\n{{ m.content | trim }}<end_of_turn>\n"
    "{% endfor %}{{ '<start_of_turn>model\n' if add_generation_prompt }}"
)
