"""The folder of an evaluation: an earlier evaluation's files are replaced as a whole, and nobody else's are touched."""

from __future__ import annotations

import json
import os
from pathlib import Path

from anytime_core.data.reading import JSON_LIMIT, read_limited
from anytime_core.display import shown
from anytime_core.errors import RunError, UsageError
from anytime_core.evaluation.classifier import CLASSIFIER_FILE, ClassifierMetadata
from anytime_core.evaluation.result import EVALUATION_FILE, Evaluation
from anytime_core.jobs.output_folder import refuse_as_output
from anytime_core.run import Run
from anytime_core.weights import read_header

CSV_FILE, PLOT_FILE, REPORT_FILE = "evaluation.csv", "quality.png", "report.html"

SHOWING_FILES = (CSV_FILE, PLOT_FILE, REPORT_FILE)
"""Files that show an evaluation, made from `evaluation.json`."""


def check_folder(folder: Path, run: Run) -> None:
    """Refuse to evaluate into a folder of data, or if a file that no evaluation wrote would be replaced.

    Raises:
        UsageError: there are such files; the message names them and the way out.
    """
    refuse_as_output(folder, run)
    foreign = []
    if not _is_evaluation(folder / EVALUATION_FILE):
        foreign = [EVALUATION_FILE, *SHOWING_FILES]
        if not _is_classifier(folder / CLASSIFIER_FILE):
            foreign.append(CLASSIFIER_FILE)
    there = [name for name in foreign if os.path.lexists(folder / name)]
    if there:
        raise UsageError(
            f"{shown(folder)} holds {', '.join(there)}, which no evaluation wrote and this one would replace: "
            "choose another folder with --out"
        )


def remove_shown(folder: Path) -> None:
    """Remove the files that show an earlier evaluation, before a new one that they do not show takes its place."""
    for name in SHOWING_FILES:
        (folder / name).unlink(missing_ok=True)


def _is_evaluation(path: Path) -> bool:
    if path.is_symlink():
        return False
    try:
        told = json.loads(read_limited(path, JSON_LIMIT))
        return bool([Evaluation.model_validate(one) for one in (told if isinstance(told, list) else [told])])
    except (OSError, ValueError, RecursionError):
        return False


def _is_classifier(path: Path) -> bool:
    if path.is_symlink():
        return False
    try:
        read_header(path, ClassifierMetadata)
    except RunError:
        return False
    return True
