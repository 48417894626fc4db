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

_AROUND = 25.0
"""Seconds for the stage between the two, validation, and samples in the end."""
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
    recipe = resolve("image/cifar10").config.core.training
    rates = [setting.found.get(name, _SLOW) for name in (AUTOENCODER_RATE, PRIOR_RATE)]
    whole = recipe.autoencoder.steps / rates[0] + recipe.prior.steps / rates[1]
    around = 10.0 if setting.tiny else _AROUND
    pictures = runs.PICTURES
    if setting.data is not None:
        around += _reading(setting.data)
        pictures = ("data.name=folder", f"data.root={setting.data}", "data.size=32", "data.color=rgb")
    share = min(1.0, max(0.0, setting.left - around) * _CAREFUL / whole)
    steps = [max(20, int(stage.steps * share)) for stage in (recipe.autoencoder, recipe.prior)]
    folder, previewed = setting.folder / "cifar10-recipe", setting.folder / "cifar10-samples"
    shutil.rmtree(folder, ignore_errors=True)

    def say(progress: Progress) -> None:
        """Into the log, which is shown if time runs out."""
        if progress.step % max(1, progress.steps // 10) == 0:
            print(f"{time.perf_counter() - started:.0f} s: {progress}", flush=True)

    overrides = [
        f"training.device={setting.device}",
        *pictures,
        *runs.reduced(setting),
        f"training.autoencoder.steps={steps[0]}",
        "training.autoencoder.final_samples=2000",
        f"training.prior.steps={steps[1]}",
    ]
    if share < 1:
        overrides += ["training.autoencoder.validations=4", "training.prior.validations=4"]
    started = time.perf_counter()
    run = train("image/cifar10", run=folder, overrides=overrides, force=True, on_progress=say)
    took = time.perf_counter() - started
    data = "its own pictures" if setting.data is not None else "embedded digits, as no --data was given"
    steps_said = f"{steps[0]:,} and {steps[1]:,} of {recipe.autoencoder.steps:,} and {recipe.prior.steps:,} steps"
    yield Measure("CIFAR-10 recipe, trained", took, "s", note=f"{steps_said}, on {data}")
    stepping = steps[0] / rates[0] + steps[1] / rates[1]
    forecast = whole + max(0.0, took - stepping)
    yield Measure("whole CIFAR-10 recipe, forecast", forecast / 60, "minutes", note=steps_said)
    autoencoder, prior = run.record.stages["autoencoder"].validation, run.record.stages["prior"].validation
    losses = autoencoder.reconstruction["loss"]
    note_of_loss = f"a quarter of the codes: {losses[len(losses) // 4]:.4g}; the mean sample: "
    note_of_loss += f"{autoencoder.mean_sample['loss']:.4g}"
    yield Measure("CIFAR-10 recipe, validation loss at all codes", losses[-1], note=note_of_loss)
    yield Measure("CIFAR-10 recipe, bits per code", prior.bits_per_code)
    called = sample(setting, folder, previewed, "--num", "64", "--precision", "auto")
    yield Measure("CIFAR-10 recipe, 64 samples", called.wall, "s", note=f"look at {previewed / 'preview.png'}")
