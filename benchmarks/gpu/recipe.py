"""CIFAR-10's recipe, with as many steps as fit into the time that is left, and samples of what it has learnt."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from PIL import Image

from anytime_core.discovery.resolve import resolve
from anytime_core.training.log import Progress
from anytime_core.training.start import train
from benchmarks.gpu import runs
from benchmarks.gpu.command import sample
from benchmarks.gpu.measures import Measure
from benchmarks.gpu.setting import Item, Setting
from benchmarks.gpu.training import AUTOENCODER_RATE, PRIOR_RATE

_AROUND, _AFTER = 25.0, 18.0
"""Seconds for the stage between the two, validation, and samples in the end; and those after the first stage."""
_LEAST = 20
"""Steps of a stage, however short the time is."""
_CAREFUL = 0.75
"""Share of the time left that steps are planned for."""
_TRIED = 200
"""Pictures whose reading is timed beforehand."""
_SLOW = 20.0
"""Steps a second where none were measured."""


def items(setting: Setting) -> Sequence[Item]:
    """One item."""
    return [Item("CIFAR-10 recipe", 40, partial(_trained, setting), all_left=True)]


def _reading(folder: Path) -> float:
    """About how many seconds reading all pictures of a folder takes; they are looked at first, and then decoded."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    tried = files[:: max(1, len(files) // _TRIED)]
    started = time.perf_counter()
    for path in tried:
        with Image.open(path) as image:
            image.load()
    return 3 * (time.perf_counter() - started) * len(files) / max(1, len(tried))


def _trained(setting: Setting) -> Iterator[Measure]:
    """Train in two calls, so that the prior gets as many steps as fit after the autoencoder has taken what it took."""
    recipe = resolve("image/cifar10").config.core.training
    rates = [setting.found.get(name, _SLOW) for name in (AUTOENCODER_RATE, PRIOR_RATE)]
    stepping = [recipe.autoencoder.steps / rates[0], recipe.prior.steps / rates[1]]
    pictures, reading = runs.PICTURES, 1.0
    if setting.data is not None:
        pictures = ("data.name=folder", f"data.root={setting.data}", "data.size=32", "data.color=rgb")
        reading = _reading(setting.data)
    around = _AROUND + 2 * reading
    share = min(1.0, max(0.0, setting.left - around) * _CAREFUL / sum(stepping))
    folder, previewed = setting.folder / "cifar10-recipe", setting.folder / "cifar10-samples"
    shutil.rmtree(folder, ignore_errors=True)
    started = time.perf_counter()

    def say(progress: Progress) -> None:
        """Into the log, which is shown if time runs out."""
        if progress.step % max(1, progress.steps // 10) == 0:
            print(f"{time.perf_counter() - started:.0f} s: {progress}", flush=True)

    steps = max(_LEAST, int(recipe.autoencoder.steps * share))
    overrides = [
        f"training.device={setting.device}",
        *pictures,
        *runs.reduced(setting),
        *_validated("autoencoder", steps, share),
        "training.autoencoder.final_samples=2000",
    ]
    train("image/cifar10", run=folder, overrides=overrides, stage="autoencoder", force=True, on_progress=say)
    took = time.perf_counter() - started
    slower = max(1.0, (took - reading) / (steps / rates[0]))
    share = min(1.0, max(0.0, setting.left - _AFTER - reading) * _CAREFUL / stepping[1] / slower)
    prior_steps = max(_LEAST, int(recipe.prior.steps * share))
    run = train(run=folder, overrides=_validated("prior", prior_steps, share), force=True, on_progress=say)
    took = time.perf_counter() - started
    data = "its own pictures" if setting.data is not None else "embedded digits, as no --data was given"
    said = f"{steps:,} and {prior_steps:,} of {recipe.autoencoder.steps:,} and {recipe.prior.steps:,} steps"
    yield Measure("CIFAR-10 recipe, trained", took, "s", note=f"{said}, on {data}")
    beside = max(0.0, took - steps / rates[0] - prior_steps / rates[1])
    yield Measure("whole CIFAR-10 recipe, forecast", (sum(stepping) + beside) / 60, "minutes", note=f"from {said}")
    autoencoder, prior = run.record.stages["autoencoder"].validation, run.record.stages["prior"].validation
    losses = autoencoder.reconstruction["loss"]
    quarter = f"a quarter of the codes: {losses[len(losses) // 4]:.4g}"
    note = f"{quarter}; the mean sample: {autoencoder.mean_sample['loss']:.4g}"
    yield Measure("CIFAR-10 recipe, validation loss at all codes", losses[-1], note=note)
    yield Measure("CIFAR-10 recipe, bits per code", prior.bits_per_code)
    called = sample(setting, folder, previewed, "--num", "64", "--precision", "auto")
    yield Measure("CIFAR-10 recipe, 64 samples", called.wall, "s", note=f"look at {previewed / 'preview.png'}")


def _validated(stage: str, steps: int, share: float) -> list[str]:
    """Overrides for so many steps; a part of the recipe's is validated less often."""
    fewer = [] if share == 1 else [f"training.{stage}.validations=4"]
    return [f"training.{stage}.steps={steps}", *fewer]
