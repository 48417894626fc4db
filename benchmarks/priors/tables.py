"""The results as tables in Markdown: quality and training, then seconds a sample."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from benchmarks.priors.findings import Timing
from benchmarks.priors.results import Result


def tables(results: Sequence[Result], codes: Sequence[int], batches: Sequence[int]) -> str:
    """Both tables, one below the other."""
    return f"{_quality(results, codes)}\n\n{_times(results, codes[-1], batches)}\n"


def _quality(results: Sequence[Result], codes: Sequence[int]) -> str:
    at = " / ".join(map(str, codes))
    header = ["prior", "parameters", "steps", "training", "bits a code"]
    return _table(
        [*header, f"Fréchet distance at {at} codes", f"recognised at {at}"],
        (
            [
                result.way.name,
                f"{result.parameters / 1e6:.2f} M",
                f"{result.trained.steps:,}",
                f"{result.processor_seconds:.0f} s",
                _with_error(*result.bits),
                " / ".join(_shown(result.frechet(number)) for number in codes),
                _recognised(result, codes),
            ]
            for result in results
        ),
    )


def _times(results: Sequence[Result], codes: int, batches: Sequence[int]) -> str:
    header = ["prior", *(f"batch {batch}, ms a sample" for batch in batches)]
    by_plain = [batch for batch in batches if any(result.plain(batch, codes) for result in results)]
    header += [f"plain, batch {batch}" for batch in by_plain]

    def cells(result: Result) -> list[str]:
        best = [result.fastest(batch, codes) for batch in batches]
        plain = [result.plain(batch, codes) for batch in by_plain]
        return [*(_milliseconds(one, named=True) for one in best), *map(_milliseconds, plain)]

    return _table(header, ([result.way.name, *cells(result)] for result in results))


def _milliseconds(found: Timing | None, *, named: bool = False) -> str:
    if found is None:
        return ""
    return _shown(found.milliseconds) + (f" ({found.engine})" if named else "")


def _recognised(result: Result, codes: Sequence[int]) -> str:
    shares = [quality.label_accuracy if (quality := result.quality(number)) else None for number in codes]
    return " / ".join("" if share is None else f"{share:.1%}".replace("%", " %") for share in shares)


def _with_error(value: float | None, error: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if error is None else f"{value:.3f} ± {error:.3f}"


def _shown(value: float | None) -> str:
    """Three digits that say something."""
    return "" if value is None else f"{value:#.3g}".rstrip(".")


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
