"""`precision`, `precision_macro`, `precision_micro`: how often a given label is right."""

from controller.evaluate.labels import LabelSettings
from controller.evaluate.metrics.classes.counts import OneLabel, macro, micro, of_one_label
from controller.evaluate.metrics.classes.counts import precision as ratio


class Precision(OneLabel):
    """Share of right answers among the answers with one label.

    Examples that expect a tool call do not count.
    """


class PrecisionMacro(LabelSettings):
    """Precision of each label, the mean over all labels.

    Examples that expect a tool call do not count.
    """


class PrecisionMicro(LabelSettings):
    """Share of right answers among the answers that are labels.

    Examples that expect a tool call do not count.
    """


METRICS = (
    of_one_label("precision", Precision, ratio),
    macro("precision_macro", PrecisionMacro, ratio),
    micro("precision_micro", PrecisionMicro, ratio),
)
