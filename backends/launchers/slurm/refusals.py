"""Refusals of sbatch: which are clear, and what to do about each. Pure."""

import re
from typing import Final

from backends.launchers.launcher import LauncherError, SubmissionLost
from backends.launchers.slurm.commands import Answer

INVALID_PARTITION: Final = re.compile("invalid partition", re.IGNORECASE)
_DOUBTFUL: Final = re.compile(
    r"(?i)timed out|timeout|zero bytes|connection reset|broken pipe|transport endpoint"
    r"|(?:send|receive|shutdown) failure|unexpected (?:message|msg)|incomplete|communication"
    r"|interrupted"
)
"""Words after which the controller may have created the job all the same."""
_NO_CONTACT: Final = re.compile(
    r"(?i)unable to contact slurm controller|connect failure|in standby mode"
    r"|not establish a configuration|unable to establish|munge|authentication|credential"
    r"|protocol (?:authentication|version)"
)


def _sinfo(form: str) -> str:
    return f"`sinfo -o '{form}'` lists what there is"


_REMEDIES: Final = (
    (
        r"violates accounting|qos policy",
        "Ask for less, or wait until other jobs have ended: a limit of the account is reached.",
    ),
    (INVALID_PARTITION.pattern, "Correct `partition`; `sinfo` lists the partitions."),
    (r"invalid account", "Correct `account`; `sacctmgr show associations` lists yours."),
    (r"invalid qos", "Correct `qos`; `sacctmgr show qos` lists them."),
    (r"generic resource|gres", f"Lower `gpus`, or correct `gpu_type`; {_sinfo('%N %G')}."),
    (
        r"memory|node configuration",
        f"Ask for less on each node, or name another partition; {_sinfo('%N %c %m %G')}.",
    ),
    (r"node count", f"Lower `nodes`, or name another partition; {_sinfo('%R %D')}."),
    (r"time ?limit|--time", f"Correct `time`; {_sinfo('%R %l')}."),
    (r"feature|constraint", f"Correct `--constraint` in `options`; {_sinfo('%N %f')}."),
    (r"option|--help", "Correct `options`; `sbatch --help` lists them."),
    (
        r"permi(?:tted|ssion)|denied|not allowed",
        "Name a partition and an account that you may use, or ask the cluster's administrators.",
    ),
)


def no_contact(words: str, place: str) -> LauncherError | None:
    """Return the error of a command that did not reach the controller; None if it did.

    Args:
        words: What the command reported.
        place: Where it ran.
    """
    if _NO_CONTACT.search(words) is None:
        return None
    return LauncherError(
        f"Slurm's controller cannot be reached from {place}: {words}",
        "Type `scontrol ping` there; its administrators see why.",
    )


def refusal(answer: Answer, place: str) -> LauncherError:
    """Return the error of an sbatch that did not tell the number of a job.

    Args:
        answer: Its answer.
        place: Where it ran.
    """
    words = _cause(answer)
    spoke = answer.status != 0 and "sbatch:" in answer.errors
    if not spoke or _DOUBTFUL.search(answer.errors):
        return SubmissionLost(
            f"sbatch on {place} gave no clear answer: {words}",
            "Type the command again: it looks for the job first.",
        )
    unreached = no_contact(words, place)
    if unreached is not None:
        return unreached
    remedy = next(
        (
            remedy
            for pattern, remedy in _REMEDIES
            if re.search(pattern, answer.errors, re.IGNORECASE)
        ),
        "Correct the machine's settings in ftctl.yaml.",
    )
    return LauncherError(f"Slurm refuses the job: {words}", remedy)


def _cause(answer: Answer) -> str:
    """Return what sbatch gives as its reason, without its own name before it."""
    found = [
        re.sub(r"^sbatch: (?:error: |fatal: )?(?:Batch job submission failed: )?", "", line).strip()
        for line in answer.errors.splitlines()
        if line.startswith("sbatch: ")
    ]
    causes = [line for line in dict.fromkeys(found) if line]
    return ": ".join(causes[-2:]) if causes else answer.words
