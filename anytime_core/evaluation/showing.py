"""The files that show an evaluation: `evaluation.csv`, `quality.png` and `report.html`."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from anytime_core.data.files import write_text
from anytime_core.data.reading import YAML_LIMIT, read_limited
from anytime_core.errors import RunError
from anytime_core.evaluation.extractors import requested
from anytime_core.evaluation.folder import CSV_FILE, PLOT_FILE, REPORT_FILE
from anytime_core.evaluation.judge import OnProgress
from anytime_core.evaluation.measures import names
from anytime_core.evaluation.page.pictures import priority_codes, real_samples, real_sheet, shown_samples
from anytime_core.evaluation.page.report import Origin, render_report
from anytime_core.evaluation.plot import plot_evaluations
from anytime_core.evaluation.result import Evaluation, write_csv
from anytime_core.evaluation.same_data import data_of
from anytime_core.record import CONFIG_FILE, Change
from anytime_core.run import Run
from anytime_core.sampling.options import SamplingOptions

_AGAIN = "runs/again"
"""The folder in which the page's commands train the run again."""


def show_evaluation(
    run: Run,
    evaluations: Sequence[Evaluation],
    folder: Path,
    *,
    against: Sequence[Run] = (),
    on_progress: OnProgress = lambda activity, done, total: None,
) -> None:
    """Write the files for what `evaluate` returned, each in one piece.

    Args:
        run: the first evaluation is about it.
        evaluations: of the run, then of its baselines.
        folder: where the files go.
        against: the baselines.
        on_progress: called with a description of the work, how much is done, and how much there is in all.
    """
    write_csv(evaluations, folder / CSV_FILE)
    on_progress("drawing the plot", 0, 2)
    plot_evaluations(evaluations, folder / PLOT_FILE)
    on_progress("making the page", 1, 2)
    own = evaluations[0]
    sampling = SamplingOptions(**_sampling(own))
    real = real_samples(run, data_of(run)[0])
    others = {
        name: other
        for name, one in zip(names(evaluations), evaluations, strict=True)
        for other in against
        if one.run == str(other.folder) and one.calls is None
    }
    origin = Origin(
        _config_text(run),
        _commands(run, evaluations),
        [_in_words(change) for change in run.record.changes],
        quick=(run.record.recipe or "a config") if run.record.quick else "",
    )
    page = render_report(
        evaluations,
        shown_samples(run, [row.codes for row in own.rows], sampling, real, others),
        priority_codes(run, sampling) if run.prior is not None else [],
        origin,
        real_sheet(run, real),
    )
    write_text(folder / REPORT_FILE, page)
    on_progress("making the page", 2, 2)


def _config_text(run: Run) -> str:
    path = run.folder / CONFIG_FILE
    try:
        return read_limited(path, YAML_LIMIT).decode()
    except (OSError, ValueError) as error:
        raise RunError(
            f"{path} cannot be read: {error}; train the run again, or remove it if it is no config"
        ) from error


def _in_words(change: Change) -> str:
    """The changes of a config during training, and what was trained with each."""
    values = " ".join(f"{key}={json.dumps(value)}" for key, value in change.values.items())
    stages = "stage" if len(change.stages) == 1 else "stages"
    return f"{change.at}: {values} ({stages} {', '.join(change.stages)})"


def _sampling(evaluation: Evaluation) -> dict[str, Any]:
    """What of `SamplingOptions` an evaluation changed; those of earlier versions say their seed and guidance only."""
    seed = {"seed": evaluation.seed} if evaluation.seed else {}
    return {**({"guidance": evaluation.guidance} if evaluation.guidance != 1 else {}), **seed, **evaluation.sampling}


def _commands(run: Run, evaluations: Sequence[Evaluation]) -> list[str]:
    """The commands that train such a run and evaluate it."""
    own, *others = evaluations
    budgets = ",".join(f"{row.codes}codes" for row in own.rows)
    evaluate = ["anytime", "evaluate", "--run", _AGAIN, "--budgets", budgets, "--num", str(own.num)]
    for name, value in _sampling(own).items():
        evaluate += [f"--{name.replace('_', '-')}", str(value)]
    agnostic = [one for one in evaluations if one.bits_per_calls]
    if agnostic:
        numbers = dict.fromkeys("all" if one.calls is None else str(one.calls) for one in agnostic)
        evaluate += ["--calls", ",".join(numbers)]
        evaluate += ["--plan", str(agnostic[0].plan)] if agnostic[0].plan != "optimal" else []
    compared = dict.fromkeys(other.run for other in others if other.run != own.run)
    evaluate += [part for folder in compared for part in ("--against", folder)]
    by_default = requested(run.modality, [], labelled=own.label_judge is not None)
    if list(own.extractors) != [request.name for request in by_default]:
        evaluate += [part for name in own.extractors for part in ("--extractor", name)]
    origin = run.record.autoencoder_of
    train = ["anytime", "train", *(["--autoencoder", origin.run] if origin is not None else [])]
    train += ["--config", str(run.folder / CONFIG_FILE), "--run", _AGAIN]
    return [shlex.join(train), shlex.join(evaluate)]
