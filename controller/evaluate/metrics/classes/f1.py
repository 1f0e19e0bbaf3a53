"""`f1`, `f1_macro`, `f1_micro`: precision and recall in one number."""

from controller.evaluate.labels import LabelSettings
from controller.evaluate.metrics.classes.counts import OneLabel, macro, micro, of_one_label
from controller.evaluate.metrics.classes.counts import f1 as ratio


class F1(OneLabel):
    """F1 of one label, the harmonic mean of its precision and recall.

    Examples that expect a tool call do not count.
    """


class F1Macro(LabelSettings):
    """F1 of each label, the mean over all labels: rare labels count like frequent ones.

    Examples that expect a tool call do not count.
    """


class F1Micro(LabelSettings):
    """F1 of all labels together: equal to `accuracy` where every answer is a label.

    Examples that expect a tool call do not count.
    """


METRICS = (
    of_one_label("f1", F1, ratio),
    macro("f1_macro", F1Macro, ratio),
    micro("f1_micro", F1Micro, ratio),
)
