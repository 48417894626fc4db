"""`anytime evaluate`: what each further code buys, in quality and in time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from anytime_cli import knobs, option_types, output, progress, startup
from anytime_core.display import shown
from anytime_core.errors import writing_to

if TYPE_CHECKING:
    from anytime_core.evaluation.result import Evaluation
    from anytime_core.run import Run

EXAMPLES = """Examples:

anytime evaluate

anytime evaluate --budgets 0.25,0.5,1 --num 10000

anytime evaluate --run runs/ordered --against runs/unordered --against runs/dedicated-8

anytime evaluate --set data.root=MOVED

anytime evaluate --calls all,20,10,5

anytime evaluate --guidance 1.5

anytime evaluate --floors

anytime evaluate --extractor classifier --extractor inception=pt_inception-2015-12-05.pth
"""


@knobs.with_knobs("calls", "engine", "precision", "batch_size", seed="Seed of the samples and of the classifier.")
def evaluate(
    run: option_types.RunOption = None,
    budgets: Annotated[
        str, typer.Option(help="Shares (0.6 or 60%) or numbers (12codes) of codes, comma-separated.")
    ] = "0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.9,1",
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Say where the data is if it has moved, as in data.root=DIR. May be repeated.",
            show_default=False,
        ),
    ] = None,
    against: Annotated[
        list[Path] | None,
        typer.Option(
            parser=option_types.path, metavar="RUN", help="Run to compare with. May be repeated.", show_default=False
        ),
    ] = None,
    num: Annotated[
        int, typer.Option(min=2, max=output.MOST_SAMPLES, help="New samples at each budget, the classes in turn.")
    ] = 2000,
    calls: Annotated[
        str,
        typer.Option(
            help="Numbers of network calls to compare for an order-agnostic prior, comma-separated; all: one for each "
            "code."
        ),
    ] = "all,10",
    sampling: Any = None,
    extractor: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[=FILE]",
            help="Features to compare samples by: classifier, or one of the modality's own, such as inception or mel. "
            "=FILE names its weights. May be repeated. Default: all that need neither weights nor extra packages.",
            show_default=False,
        ),
    ] = None,
    floors: Annotated[
        bool,
        typer.Option(
            "--floors",
            help="Only say what independent values of the data need, which every prior of them must be below. No prior "
            "is needed, but codes have to be values of data, as with the baseline identity.",
        ),
    ] = False,
    download: Annotated[bool, typer.Option("--download", help="Let extractors download their weights.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            parser=option_types.path,
            metavar="<path>",
            help="Output folder. Default: <run>/evaluation.",
            show_default=False,
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="Device: auto, cpu, cuda, cuda:N or mps.")] = "auto",
    json: output.JsonOption = False,
) -> None:
    """Measure quality and cost at each budget: a table, a plot, and a page to look at and listen to.

    The same command continues an evaluation that was killed, unless another one has finished in its folder since.
    """
    startup.import_torch()
    from anytime_core.budget import SHARE_OR_CODES, Budget, Spending
    from anytime_core.evaluation.evaluate import evaluate as measure
    from anytime_core.evaluation.extractors import ExtractorRequest
    from anytime_core.evaluation.folder import REPORT_FILE
    from anytime_core.evaluation.options import EvaluationOptions
    from anytime_core.evaluation.result import EVALUATION_FILE
    from anytime_core.evaluation.showing import show_evaluation
    from anytime_core.run import load

    with output.chatter_to_stderr():
        opened = load(run, device=device, settings=settings or ())
    if floors:
        _show_floors(opened, json=json)
        return
    with output.chatter_to_stderr():
        others = [load(folder, device=device) for folder in against or ()]
    spending = Spending(opened.drawn_length, SHARE_OR_CODES)
    options = EvaluationOptions(
        budgets=tuple(Budget.parse(budget, spending) for budget in budgets.split(",")),
        num=num,
        extractors=tuple(ExtractorRequest.parse(text) for text in extractor or ()),
        download=download,
        calls=tuple(_calls(text) for text in calls.split(",")),
        sampling=sampling,
    )
    folder = out or opened.folder / "evaluation"
    with progress.bar("evaluating") as advance, writing_to(folder, "--out"), output.chatter_to_stderr():

        def on_progress(activity: str, done: int, total: int) -> None:
            advance(done, total, activity)

        evaluations = measure(opened, folder, options, against=others, on_progress=on_progress)
        if not evaluations:  # of several processes, the first one prints
            return
        show_evaluation(opened, evaluations, folder, against=others, on_progress=on_progress)
    if json:
        output.print_file(folder / EVALUATION_FILE)
        return
    said: list[str] = []
    several = len({evaluation.prior for evaluation in evaluations if evaluation.prior is not None}) > 1
    for number, evaluation in enumerate(evaluations):
        if number:
            output.print_text()
        kinds = ", ".join(filter(None, (evaluation.baseline, evaluation.prior if several else None)))
        kind = f" ({kinds})" if kinds else ""
        limit = f", at most {evaluation.calls} calls" if evaluation.calls else ""
        said = _print(evaluation, f"{evaluation.run}{kind}{limit}", said)
    output.say(f"look at {shown(folder / REPORT_FILE)}")


def _show_floors(run: Run, *, json: bool) -> None:
    """Print what independent values of a run's data need."""
    from anytime_core.evaluation.floors import data_space_of, floors_of
    from anytime_core.evaluation.values import number

    with progress.bar("counting values") as advance:
        found = floors_of(run, lambda activity, done, total: advance(done, total, activity))
    space = data_space_of(run)
    assert space is not None  # as there are floors
    if json:
        about = {"run": str(run.folder), "values": space.values, "levels": space.levels, "unit": space.unit}
        output.print_json({**about, "floors": found.model_dump()})
        return
    rows = {"zero-order: one histogram for all values": found.zero_order}
    if found.independent is not None:
        rows["independent: a histogram for each value"] = found.independent
    output.print_table(
        (f"{space.values:,} values of {space.levels}", space.unit),
        [(name, number(value, space.unit)) for name, value in rows.items()],
        "",
    )


def _calls(text: str) -> int | None:
    """The number of calls in `text`, None for `all`."""
    from anytime_core.errors import UsageError

    if text.strip() == "all":
        return None
    if not text.strip().isdecimal() or int(text) < 1:
        raise UsageError(f"calls '{text}' is not a number of network calls: use numbers such as 10, or all")
    return int(text)


def _print(evaluation: Evaluation, title: str, said: list[str]) -> list[str]:
    """Print the verdict, a table with one line for each budget, and what was not `said` before of how to read it.

    Returns:
        All that was said by now of how to read tables.
    """
    from anytime_core.evaluation.tables import legend, printed_table

    output.print_text(title)
    for sentence in evaluation.verdict:
        output.print_text(sentence)
    titles, rows = printed_table(evaluation)
    output.print_table(titles, rows, "nothing to evaluate")
    explained = [line for line in legend(evaluation) if line not in said]
    for line in explained:
        output.print_text(line)
    for caution in evaluation.cautions:
        output.print_text(f"caution: {caution}")
    return [*said, *explained]
