"""What the contenders draw, under one judge: the same as `anytime evaluate --against`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from anytime_core.budget import Budget
from anytime_core.evaluation.classifier import CLASSIFIER_FILE
from anytime_core.evaluation.evaluate import evaluate
from anytime_core.evaluation.options import EvaluationOptions
from anytime_core.evaluation.result import EVALUATION_FILE, Evaluation
from anytime_core.evaluation.showing import show_evaluation
from anytime_core.run import Run
from benchmarks.priors.contenders import Way


def evaluated(folder: Path) -> dict[str, Evaluation]:
    """Name of a way -> its evaluation in some folder below `folder`."""
    found = {}
    for path in sorted(folder.glob(f"*/{EVALUATION_FILE}")):
        told = json.loads(path.read_text(encoding="utf-8"))
        for one in map(Evaluation.model_validate, told if isinstance(told, list) else [told]):
            found[Way(Path(one.run).name, one.calls).name] = one
    return found


def evaluate_all(runs: Sequence[Run], folder: Path, options: EvaluationOptions, tell: Callable[[str], None]) -> None:
    """Evaluate runs into a folder below `folder`; an evaluation that was killed goes on.

    Args:
        runs: they share one autoencoder.
        folder: of all evaluations, which have one classifier.
        options: its options.
        tell: is given each activity.
    """
    own, told = folder / runs[0].folder.name, ""
    own.mkdir(parents=True, exist_ok=True)
    for classifier in [*folder.glob(f"*/{CLASSIFIER_FILE}")][:1]:
        if classifier.parent != own:
            shutil.copy(classifier, own)

    def on_progress(activity: str, done: int, total: int) -> None:
        nonlocal told
        if activity != told:
            told = activity
            tell(activity)

    evaluations = evaluate(runs[0], own, options, against=runs[1:], on_progress=on_progress)
    show_evaluation(runs[0], evaluations, own, against=runs[1:])


def options(codes: Sequence[int], num: int, calls: Sequence[int | None]) -> EvaluationOptions:
    """Samples at temperature 1, unguided."""
    return EvaluationOptions(budgets=tuple(Budget(number, "codes") for number in codes), num=num, calls=tuple(calls))
