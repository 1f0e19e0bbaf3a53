"""What people read about a fine-tune that starts from another one."""

import pytest

pytestmark = pytest.mark.usefixtures("installed")


def test_a_parent_and_its_child_as_plans_show_them(shell, golden):
    shell.declare("cafe")
    shell.declare("faq", base="{finetune: cafe}")
    told = [shell("plan")[1]]
    assert shell("apply", "-y")[0] == 0
    told.append(shell("plan")[1])
    assert shell("apply", "-y")[0] == 0
    shell.declare("cafe", "seed: 7\n")
    assert shell("apply", "-y")[0] == 0
    told.append(shell("plan")[1])
    golden("plan/parent.txt", "\n----\n".join(told))
