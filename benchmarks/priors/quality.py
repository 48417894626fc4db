"""What the contenders draw, under one judge: the same as `anytime evaluate --against`."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from anytime_core.budget import Budget
from anytime_core.evaluation.evaluate import evaluate
from anytime_core.evaluation.options import EvaluationOptions
from anytime_core.evaluation.result import EVALUATION_FILE, Evaluation
from anytime_core.evaluation.showing import show_evaluation
from anytime_core.run import Run
from benchmarks.priors.contenders import Way


def evaluated(folder: Path) -> dict[str, Evaluation]:
    """Name of a way -> its evaluation in `folder`, if there is one."""
    path = folder / EVALUATION_FILE
    told = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    evaluations = [Evaluation.model_validate(one) for one in (told if isinstance(told, list) else [told])]
    return {Way(Path(one.run).name, one.calls).name: one for one in evaluations}


def evaluate_all(
    runs: Sequence[Run],
    folder: Path,
    options: EvaluationOptions,
    tell: Callable[[str], None],
) -> None:
    """Evaluate the runs into `folder`; a killed evaluation goes on.

    Args:
        runs: they share one autoencoder.
        folder: of the evaluation.
        options: its options.
        tell: is given each activity.
    """
    told = ""

    def on_progress(activity: str, done: int, total: int) -> None:
        nonlocal told
        if activity != told:
            told = activity
            tell(activity)

    evaluations = evaluate(runs[0], folder, options, against=runs[1:], on_progress=on_progress)
    show_evaluation(runs[0], evaluations, folder, against=runs[1:])


def options(codes: Sequence[int], num: int, calls: Sequence[int | None]) -> EvaluationOptions:
    """Samples at temperature 1, unguided."""
    return EvaluationOptions(budgets=tuple(Budget(number, "codes") for number in codes), num=num, calls=tuple(calls))
