"""What people wait for at the prompt, against the import of torch alone.

python -m benchmarks.startup RUN [--repeats 5] [--json FILE]

Seconds are those of the processor, user and system, which other jobs on the machine change less than the time that
passes. Median of several, each in a new process, the commands taking turns. Nothing on models can be faster than its
peer but by importing torch faster.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.report import Row, result_file, show

_SAMPLES = 64


def processor_seconds(command: list[str]) -> float:
    """What a command that must succeed takes of the processor."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(run: Path, repeats: int) -> list[Row]:
    """One row for each command."""
    anytime = [sys.executable, "-m", "anytime_cli.main"]
    with tempfile.TemporaryDirectory() as folder:
        sampling = ["sample", "--run", str(run), "--num", str(_SAMPLES)]
        commands = {
            "anytime --help": [*anytime, "--help"],
            "anytime recipes list": [*anytime, "recipes", "list"],
            "anytime plugins list": [*anytime, "plugins", "list"],
            "anytime runs list": [*anytime, "runs", "list"],
            f"anytime sample --num {_SAMPLES}": [*anytime, *sampling],
            "import torch": [sys.executable, "-c", "import torch"],
        }
        taken: dict[str, list[float]] = {name: [] for name in commands}
        for repeat in range(repeats):
            for name, command in commands.items():
                out = ["--out", f"{folder}/{repeat}"] if "sample" in command else []
                taken[name].append(processor_seconds([*command, *out]))
    medians = {name: statistics.median(seconds) for name, seconds in taken.items()}
    peer = medians.pop("import torch")
    return [Row(name, ours, peer, "import torch", peer / ours, "s") for name, ours in medians.items()]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Measure what people wait for at the prompt.")
    parser.add_argument("run", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=result_file, help="file for the results")
    arguments = parser.parse_args()
    show("From the prompt", measure(arguments.run, arguments.repeats), arguments.json)


if __name__ == "__main__":
    main()
