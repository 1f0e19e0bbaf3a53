"""The suite `tool_calls` is for models whose chat template has a place for tools."""

import pytest

from backends.local_gpu.backend import LocalGpuBackend
from controller.resolve.retain import check_tools
from tests.specs import load_specs
from tests.tiny_base import TEMPLATE, make_base

pytestmark = pytest.mark.torch

WITH_TOOLS = (
    "{% if tools %}<|im_start|>system\n{% for t in tools %}{{ t | tojson }}\n{% endfor %}"
    "<|im_end|>\n{% endif %}{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{{ m.content or '' }}{% for c in m.tool_calls or [] %}<tool_call>\n"
    '{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}'
    "\n</tool_call>{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPEC = """\
backend: local-gpu
base_model: ../models/tiny
data:
  train: [{path: data/rows.jsonl}]
  held_out: {fraction: 0.1}
evaluation:
  retain: [json, tool_calls]
"""


@pytest.mark.parametrize(
    ("template", "message"), [(WITH_TOOLS, None), (TEMPLATE, "does not show calls of tools")]
)
def test_a_template_decides(tmp_path, template, message):
    make_base(tmp_path / "models" / "tiny", template)
    (tmp_path / "finetunes").mkdir()
    (tmp_path / "finetunes" / "faq.yaml").write_text(SPEC)
    loaded = load_specs(tmp_path)["faq"]
    backend = LocalGpuBackend(tmp_path / "state")
    base = backend.resolve_base_model("../models/tiny", None, loaded.folder)
    hyperparameters = backend.parse_hyperparameters("supervised", {})
    inspector = backend.inspector(base, "supervised", hyperparameters)
    found = [(one.line, one.message) for one in check_tools(loaded, inspector)]
    if message is None:
        assert found == []
    else:
        ((line, said),) = found
        assert line == 7
        assert message in said
