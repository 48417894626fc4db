"""What a run says of values of data, in words: what its prior needs for them, and what independent values need."""

from __future__ import annotations

from collections.abc import Iterator

from anytime_core.data_space import NATS
from anytime_core.evaluation.result import Evaluation, ValueFloors


def number(value: float, unit: str) -> str:
    """A number with as many digits as its unit deserves."""
    return f"{value:.2f}" if unit == NATS else f"{value:.4f}"


def lowest(floors: ValueFloors) -> float:
    """What independent values need at least."""
    return floors.zero_order if floors.independent is None else floors.independent


def floors_in_words(floors: ValueFloors, unit: str) -> str:
    """What independent values need."""
    each = "" if floors.independent is None else f"{number(floors.independent, unit)} by a histogram for each value, "
    return f"{each}{number(floors.zero_order, unit)} by one for all"


def in_words(evaluation: Evaluation) -> list[str]:
    """How to read the column of a printed table, in lines; none if codes are those of an encoder."""
    found = evaluation.data_space
    if found is None:
        return []
    lines = []
    if found.needed is not None:
        bound = "; an upper bound" if evaluation.bounded else ""
        error = "" if found.standard_error is None else f"; standard error {number(found.standard_error, found.unit)}"
        lines.append(
            f"{found.unit}: what the prior needs for the {found.values:,} values of a sample of validation data, of "
            f"which fewer codes are a part{bound}{error}"
        )
    return [*lines, f"independent values need {floors_in_words(found.floors, found.unit)}, in {found.unit}"]


def facts(evaluation: Evaluation) -> Iterator[tuple[str, str]]:
    """What the header of the page says of values of data."""
    found = evaluation.data_space
    if found is None:
        return
    if found.needed is not None:
        yield (
            f"{found.unit.capitalize()}{', at most' if evaluation.bounded else ''}",
            number(found.needed, found.unit),
        )
    floors = {"a histogram for each": found.floors.independent, "one for all": found.floors.zero_order}
    for what, floor in floors.items():
        if floor is not None:
            yield f"Independent values, {what}", f"{number(floor, found.unit)} {found.unit}"


def needed_in_words(evaluation: Evaluation) -> str:
    """Whether the prior is better than independent values, as a sentence; empty without a prior of all values."""
    found = evaluation.data_space
    if found is None or found.needed is None:
        return ""
    at_most = "at most " if evaluation.bounded else ""
    needed, floor = (number(value, found.unit) for value in (found.needed, lowest(found.floors)))
    said = f"The prior needs {at_most}{needed} {found.unit}, independent values {floor}"
    if found.needed < lowest(found.floors):
        return f"{said}."
    return (
        f"{said}: it has learned nothing of what values say of each other, so train it for more steps "
        "(training.prior.steps) or at another learning rate."
    )
