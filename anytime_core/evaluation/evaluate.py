"""Quality against budget: what each further code buys, in a run and in its baselines, under one judge."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from anytime_core.data.files import locked, remove_partial_files, write_json
from anytime_core.distributed import launched
from anytime_core.errors import UsageError
from anytime_core.evaluation.drawn import CODES_PREFIX, Draws
from anytime_core.evaluation.folder import check_folder, remove_shown
from anytime_core.evaluation.job import ROWS_PREFIX, Job, Reconstructed
from anytime_core.evaluation.judge import Judge, OnProgress
from anytime_core.evaluation.measures import names
from anytime_core.evaluation.options import EvaluationOptions
from anytime_core.evaluation.paired import compare_bits
from anytime_core.evaluation.result import EVALUATION_FILE, Evaluation
from anytime_core.evaluation.trainings import trainings_beside
from anytime_core.evaluation.versus import bits_beside, same_codes, versus
from anytime_core.run import Run


def evaluate(
    run: Run,
    folder: Path,
    options: EvaluationOptions | None = None,
    *,
    against: Sequence[Run] = (),
    on_progress: OnProgress = lambda activity, done, total: None,
) -> list[Evaluation]:
    """Evaluate a run and, at the same numbers of codes, its baselines, with one judge.

    What is done is kept in `folder`, so that the same call goes on where one was killed. At the end `evaluation.json`
    replaces it, and also an earlier evaluation and whatever killed calls with other options left. New samples are
    judged a batch at a time, and only their codes are kept, on the disk: memory does not grow with their number.

    Args:
        run: the evaluation is about it.
        folder: made if it is missing; the classifier stays there.
        options: how runs are evaluated.
        against: runs of the same data.
        on_progress: called with a description of the work, how much is done, and how much there is in all.

    Returns:
        One evaluation for each run, `run` first; if its prior is order-agnostic, one for each number of calls. If
        torchrun or accelerate started several processes, the first returns them; the others only draw their shares
        of the samples and return none.

    Raises:
        UsageError: this run cannot follow an option, a run has other data, another process evaluates into the folder,
            or a file there that no evaluation wrote would be replaced.
        PluginError: the plugin of a prior does not work.
        DataError: the data is gone, or has other classes than the run.
    """
    options = options or EvaluationOptions()
    for opened in (run, *against):
        if opened.absent is not None:
            raise opened.absent
    codes = sorted({budget.codes(run.drawn_length) for budget in options.budgets})
    for other in against:
        _check_comparable(run, other)
    draws = [Draws(one, folder, options, codes) for one in (run, *against)]
    if launched()[0] > 0:
        folder.mkdir(parents=True, exist_ok=True)
        for one in draws:
            one.share()
        return []
    with locked(folder, "evaluation", f"evaluating into {folder}"):
        check_folder(folder, run)
        judge = Judge(
            run,
            options.extractors,
            folder,
            seed=options.sampling.seed,
            download=options.download,
            on_progress=on_progress,
        )
        floor = judge.floor(options.num, on_progress)
        reconstructed = Reconstructed()
        jobs = [Job(one, judge, floor, folder, reconstructed, on_progress) for one in draws]
        evaluations = [
            evaluation if not number else evaluation.model_copy(update={"baseline_of": str(run.folder)})
            for number, evaluation in enumerate(evaluation for job in jobs for evaluation in job.run_it())
        ]
        evaluations[0] = _beside_others((run, *against), evaluations, on_progress)
        dumped = [evaluation.model_dump(mode="json") for evaluation in evaluations]
        remove_shown(folder)
        write_json(folder / EVALUATION_FILE, dumped if len(dumped) > 1 else dumped[0])
        for pattern in (f"{ROWS_PREFIX}*", f"{CODES_PREFIX}*"):
            for left in list(folder.glob(pattern)):
                left.unlink()
        remove_partial_files(folder)
    return evaluations


def _beside_others(runs: Sequence[Run], evaluations: Sequence[Evaluation], on_progress: OnProgress) -> Evaluation:
    """The first evaluation; its verdict also compares it with the other runs."""
    beside = compare_bits(runs, evaluations, on_progress)
    own, others = evaluations[0].model_copy(update={"bits_beside": beside}), evaluations[1:]
    named = [(name, other) for name, other in zip(names(evaluations)[1:], others, strict=True) if other.run != own.run]
    sentences = [versus(own, other, name) for name, other in named]
    sentences += bits_beside(own, named)
    records = {str(run.folder): run.record for run in runs}
    each_once = {other.run: (name, other) for name, other in reversed(named)}
    trained = [(name, records[other.run], same_codes(own, other)) for name, other in reversed(each_once.values())]
    sentences += trainings_beside(records[own.run], trained)
    return own.model_copy(update={"verdict": (*own.verdict, *filter(None, sentences))})


def _check_comparable(run: Run, other: Run) -> None:
    """Raise UsageError if a baseline is of other data."""
    for what, own, theirs in (
        ("modality", run.record.modality, other.record.modality),
        ("sample shape", run.modality.sample_shape(), other.modality.sample_shape()),
        ("classes", sorted(run.record.classes), sorted(other.record.classes)),
    ):
        if own != theirs:
            raise UsageError(
                f"run {other.folder} cannot be compared with {run.folder}: its {what} is {theirs}, not {own}"
            )
