"""`recall`, `recall_macro`, `recall_micro`: how often an expected label is given."""

from controller.evaluate.labels import LabelSettings
from controller.evaluate.metrics.classes.counts import OneLabel, macro, micro, of_one_label
from controller.evaluate.metrics.classes.counts import recall as ratio


class Recall(OneLabel):
    """Share of right answers among the examples that expect one label."""


class RecallMacro(LabelSettings):
    """Recall of each label, the mean over all labels that are expected or given.

    Examples that expect a tool call do not count.
    """


class RecallMicro(LabelSettings):
    """Share of right answers among the examples that expect a label."""


METRICS = (
    of_one_label("recall", Recall, ratio),
    macro("recall_macro", RecallMacro, ratio),
    micro("recall_micro", RecallMicro, ratio),
)
