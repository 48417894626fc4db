"""Compare all kinds of priors on the codes of one frozen autoencoder.

OMP_NUM_THREADS=1 python -m benchmarks.priors RUN --folder DIR [--contenders transformer,made] [--seconds 450]
    [--jobs 2] [--num 5000] [--codes 4,8,16,32] [--calls all,10,5] [--batches 1,64,512] [--drawn 64]
    [--parts rates,train]

RUN has finished the stages autoencoder and codes. The parts, in turn: `rates`, the training speed of each contender,
from which follow the steps of each that take equally many seconds of the processor; `train`, each in a run of its own
in DIR; `evaluate`, under one judge, of samples at temperature 1, unguided; `time`, seconds a sample, for which nothing
else should run; `show`, DIR/priors.md and DIR/priors.png. What is measured is kept in DIR as it comes: the same command
goes on with what is missing.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from anytime_core.data.files import write_text
from anytime_core.run import Run, load
from benchmarks.priors.contenders import CONTENDERS, ways
from benchmarks.priors.findings import read
from benchmarks.priors.plot import plot
from benchmarks.priors.quality import evaluate_all, evaluated, options
from benchmarks.priors.results import Result
from benchmarks.priors.tables import tables
from benchmarks.priors.timing import timed
from benchmarks.priors.training import measured_rates, steps_within, train_all
from benchmarks.report import device_name, whole_numbers

_PARTS = ("rates", "train", "evaluate", "time", "show")


class Comparison:
    """All parts, on one set of contenders.

    Args:
        arguments: of the command.
    """

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.run, self.folder = arguments.run, arguments.folder
        self.asked = arguments
        self.contenders = {name: CONTENDERS[name] for name in arguments.contenders}
        self.ways = ways(arguments.contenders, arguments.calls)
        about = {"device": device_name(), "torch": torch.__version__, "seconds": arguments.seconds}
        self.findings = read(self.folder, about)
        self.started = time.perf_counter()

    def tell(self, text: str) -> None:
        """Print what happens, with the time."""
        print(f"[{time.perf_counter() - self.started:5.0f} s] {text}", flush=True)

    def rates(self) -> None:
        """Measure how fast contenders train."""
        for name, rate in measured_rates(self.run, self.contenders, self.findings.rates):
            self.findings.rates.setdefault(name, []).append(rate)
            self.findings.write(self.folder)
            self.tell(f"{name}: {rate:.3g} steps/s")

    def train(self) -> None:
        """Train them equally long."""
        waiting = {name: values for name, values in self.contenders.items() if name not in self.findings.trainings}
        steps = {name: steps_within(self.findings.rates[name], self.asked.seconds) for name in waiting}
        for name, seconds in train_all(self.run, self.folder, waiting, steps, self.asked.jobs):
            self.findings.trainings[name] = seconds
            self.findings.write(self.folder)
            self.tell(f"{name}: {steps[name]:,} steps in {seconds:.0f} s of the processor")

    def evaluate(self) -> None:
        """Judge what those draw that were not judged before."""
        known = evaluated(self._evaluations)
        missing = dict.fromkeys(way.contender for way in self.ways if way.name not in known)
        if missing:
            asked = options(self.asked.codes, self.asked.num, self.asked.calls)
            evaluate_all([load(self.folder / name) for name in missing], self._evaluations, asked, self.tell)

    def time(self) -> None:
        """Time the drawing."""
        asked, known = self.asked, self.findings.timings
        for found in timed(self.ways, self._trained(), asked.batches, asked.codes, asked.drawn, known):
            self.findings.timings += found
            self.findings.write(self.folder)
            for one in found:
                self.tell(f"{one.way}: batch {one.batch}, {one.codes} codes, {one.engine}: {one.seconds:.4g} s")

    def show(self) -> None:
        """Write the tables and the plot."""
        results = self._results()
        write_text(self.folder / "priors.md", tables(results, self.asked.codes, self.asked.batches))
        plot(results, self.asked.codes, self.asked.drawn, self.folder / "priors.png")
        self.tell(f"in {self.folder}: priors.md, priors.png")

    @property
    def _evaluations(self) -> Path:
        return self.folder / "evaluations"

    def _trained(self) -> dict[str, Run]:
        return {name: load(self.folder / name) for name in self.contenders}

    def _results(self) -> list[Result]:
        runs, evaluations = self._trained(), evaluated(self._evaluations)
        return [
            Result(
                way=way,
                trained=runs[way.contender].record.stages["prior"],
                parameters=sum(weights.numel() for weights in runs[way.contender].require_prior().parameters()),
                evaluation=evaluations.get(way.name),
                processor_seconds=self.findings.trainings[way.contender],
                timings=[one for one in self.findings.timings if one.way == way.name],
            )
            for way in self.ways
        ]


def main() -> int:
    """Run the parts that are asked for."""
    arguments = _arguments()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    warnings.simplefilter("ignore")
    comparison = Comparison(arguments)
    for part in arguments.parts:
        getattr(comparison, part)()
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.priors", description=__doc__.partition("\n")[0])
    parser.add_argument("run", type=Path, help="a run with the stages autoencoder and codes")
    parser.add_argument("--folder", type=Path, required=True, help="for the trained runs and all that is measured")
    _add_names(parser, "--contenders", CONTENDERS)
    _add_names(parser, "--parts", _PARTS)
    parser.add_argument("--seconds", type=float, default=450.0, help="of training, for each; default: 450")
    parser.add_argument("--num", type=int, default=5000, help="new samples for each number of codes; default: 5000")
    parser.add_argument("--codes", type=whole_numbers, default=(4, 8, 16, 32), help="default: 4,8,16,32")
    parser.add_argument("--calls", type=_calls, default=(None, 10, 5), help="of ardm; default: all,10,5")
    parser.add_argument("--batches", type=whole_numbers, default=(1, 64, 512), help="default: 1,64,512")
    parser.add_argument("--drawn", type=int, default=64, help="batch of the plot, one of --batches; default: 64")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time; default: 1")
    return parser.parse_args()


def _add_names(parser: argparse.ArgumentParser, option: str, known: Sequence[str] | Mapping[str, object]) -> None:
    """An option that takes some of the names that are known, by default all."""

    def names(text: str) -> list[str]:
        if unknown := [name for name in text.split(",") if name not in known]:
            raise argparse.ArgumentTypeError(f"no '{unknown[0]}': use {','.join(known)}")
        return text.split(",")

    parser.add_argument(option, type=names, default=list(known), help=f"default: {','.join(known)}")


def _calls(text: str) -> tuple[int | None, ...]:
    """The numbers in `all,10,5`; None stands for all."""
    return tuple(None if one == "all" else whole_numbers(one)[0] for one in text.split(","))


if __name__ == "__main__":
    raise SystemExit(main())
