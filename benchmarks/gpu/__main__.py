"""Checks and measures all that a GPU is for, and says what falls short of the goals.

python -m benchmarks.gpu [--minutes 9.5] [--data DIR] [--json FILE] [--folder DIR] [--parts codes,training]

In turn: whether every engine draws what the plain one draws; codes a second against peers; the whole command; training
steps; and CIFAR-10's recipe for the time that is left, with a preview of its samples. Each part has a share of the
time; what does not fit is skipped, and said. A failure becomes a row of its own, and the rest goes on. Rows are printed
and written to the file as they are measured, so that a run that is stopped loses nothing. Exit status 0 says that it
ran through, whatever the rows say; 2 that there is no GPU here.

`--device cpu` tries out all of it on the CPU, in tiny sizes, whose numbers mean nothing.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import torch

from benchmarks.gpu.measures import Journal, Measure, surroundings
from benchmarks.gpu.schedule import Schedule
from benchmarks.gpu.setting import Setting
from benchmarks.gpu.worker import work_through
from benchmarks.report import result_file

_PARTS = {"equality": 20.0, "codes": 25.0, "command": 15.0, "training": 15.0, "recipe": 25.0}
"""Part -> its weight in the time."""


def main() -> int:
    """Run all parts; returns the exit status."""
    arguments = _arguments()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        print(
            f"no GPU here: torch {torch.__version__} sees no CUDA device; --device cpu tries this out on the CPU",
            file=sys.stderr,
        )
        return 2
    folder = (arguments.folder or Path(tempfile.mkdtemp(prefix="anytime-gpu-"))).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    file = arguments.json or folder / "gpu.json"
    about = surroundings(arguments.device)
    about |= {"minutes": arguments.minutes, "data": None if arguments.data is None else str(arguments.data)}
    print(f"{about['device']}, torch {about['torch']}, {arguments.minutes:g} minutes; in {folder}", flush=True)
    if arguments.data is None:
        print("no --data: embedded digits of 32x32 pixels stand in for CIFAR-10's pictures", flush=True)
    if arguments.device == "cpu":
        print("on the CPU, in tiny sizes: this tries out that all of it runs, and the numbers mean nothing", flush=True)
    journal, parts = Journal(file, about, judges=arguments.device == "cuda"), arguments.parts.split(",")
    schedule = Schedule(60 * arguments.minutes, {part: _PARTS[part] for part in parts})
    setting = Setting(arguments.device, folder, arguments.data and arguments.data.resolve())
    try:
        for part in parts:
            told = Setting(setting.device, folder, setting.data, schedule.end_of(part), dict(journal.found))
            try:
                work_through(f"benchmarks.gpu.{part}", told, journal.add)
            except Exception as error:
                journal.add(Measure.failed(f"part {part}", error))
    except KeyboardInterrupt:
        print(f"stopped; what was measured is in {file}", file=sys.stderr)
        return 130
    journal.finish(whole=len(parts) == len(_PARTS))
    print(f"All numbers: {file}", flush=True)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=_positive, default=9.5, help="for all of it; default: 9.5, at least about 3")
    parser.add_argument("--data", type=Path, help="CIFAR-10 as pictures, in folders train|test/CLASS")
    parser.add_argument("--json", type=result_file, help="file for the results; default: gpu.json in the folder")
    parser.add_argument("--folder", type=Path, help="for runs, samples and logs; default: a new temporary one")
    parser.add_argument("--parts", default=",".join(_PARTS), help=f"default: {','.join(_PARTS)}")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda", help="default: cuda")
    arguments = parser.parse_args()
    if unknown := [part for part in arguments.parts.split(",") if part not in _PARTS]:
        parser.error(f"no part '{unknown[0]}': use {','.join(_PARTS)}")
    if arguments.data is not None and not arguments.data.is_dir():
        parser.error(f"no folder '{arguments.data}' for --data: unpack CIFAR-10 there, or leave it out")
    return arguments


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} minutes are none: give a number above 0, such as 3")
    return value


if __name__ == "__main__":
    raise SystemExit(main())
