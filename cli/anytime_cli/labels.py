"""What `anytime sample --label` says: one class, or several and how many samples of each."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from anytime_cli import output
from anytime_core.digest import digest
from anytime_core.display import shown

if TYPE_CHECKING:
    from anytime_core.run import Run
    from anytime_core.sampling.options import SamplingOptions

_SAMPLES = 16
_LONGEST_NAME = 60


def labelled(options: SamplingOptions, num: int | None, texts: Sequence[str], run: Run) -> tuple[SamplingOptions, int]:
    """The options with the classes that `--label` names, and the number of samples.

    Raises:
        UsageError: one of several classes has no count, or `num` is given beside counts.
    """
    from anytime_core.errors import UsageError
    from anytime_core.sampling.labels import counted_label

    parsed = [counted_label(text, run.record.classes) for text in texts]
    counts = tuple((label, count) for label, count in parsed if count is not None)
    if not counts and len(parsed) < 2:
        return dataclasses.replace(options, label=parsed[0][0] if parsed else None), num or _SAMPLES
    if uncounted := [label for label, count in parsed if count is None]:
        raise UsageError(
            f"--label {shown(uncounted[0])} is one of several and has no count: give the number of samples, as in "
            f"--label {shown(uncounted[0])}=10"
        )
    total = sum(count for _, count in counts)
    if num is not None:
        raise UsageError(f"--num {num} and the counts of --label, {total} in all, are both given: leave --num out")
    if total > output.MOST_SAMPLES:
        raise UsageError(f"the counts of --label make {total} samples: use at most {output.MOST_SAMPLES}")
    return dataclasses.replace(options, labels=counts), total


def name(options: SamplingOptions, run: Run) -> str | None:
    """The classes that are asked for, as a part of a folder's name; None if there are none."""
    if options.label is not None:
        return run.record.classes[run.label_number(options.label) or 0]
    joined = "+".join(f"{label}={count}" for label, count in options.labels)
    if len(joined) > _LONGEST_NAME:
        return f"s{len(options.labels)}-{digest(joined.encode())[:8]}"
    return joined or None
