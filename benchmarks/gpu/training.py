"""How fast both stages train: images and code sequences a second, with the step captured and without."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from functools import partial

import torch

from anytime_core.discovery.resolve import resolve
from anytime_core.training.log import Progress
from anytime_core.training.start import train
from benchmarks.gpu import runs
from benchmarks.gpu.measures import Measure
from benchmarks.gpu.setting import Item, Setting

AUTOENCODER_RATE, PRIOR_RATE = "CIFAR-10 recipe, autoencoder", "CIFAR-10 recipe, prior"
_STEPS = 10**7
_WARM_UP = 25
"""Steps before those that count, the captured step's among them."""


class _MeasuredError(Exception):
    """Ends a training whose rate is known."""


class _Clock:
    """Counts the steps of a stage, called after each of them, until enough time has passed."""

    def __init__(self, stage: str, seconds: float) -> None:
        self.stage, self.seconds = stage, seconds
        self.began: tuple[int, float] | None = None
        self.rate = 0.0

    def __call__(self, progress: Progress) -> None:
        if progress.stage != self.stage or progress.activity or progress.step < _WARM_UP:
            return
        if self.began is None:
            self.began = progress.step, self._now()
        elif time.perf_counter() - self.began[1] > self.seconds:
            self.rate = (progress.step - self.began[0]) / (self._now() - self.began[1])
            raise _MeasuredError

    @staticmethod
    def _now() -> float:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter()


def items(setting: Setting) -> Sequence[Item]:
    """The step as it is by default, then the recipe's own batch, then with and without capture."""
    small, large = (8, 16) if setting.tiny else (128, 1024)
    captures = ("false",) if setting.tiny else ("false", "true")  # a CPU captures nothing
    return [
        Item("training, CIFAR-10 networks, batch 128", 12, partial(_images, setting, small, "auto", 128)),
        Item(AUTOENCODER_RATE, 12, partial(_recipe_autoencoder, setting)),
        Item(PRIOR_RATE, 12, partial(_recipe_prior, setting)),
        Item("training, CIFAR-10 networks, batch 1024", 12, partial(_images, setting, large, "auto", 1024)),
        *(
            Item(
                f"training, CIFAR-10 networks, batch {name}, capture {capture}",
                12,
                partial(_images, setting, batch, capture, name),
            )
            for capture in captures
            for batch, name in ((small, 128), (large, 1024))
        ),
    ]


def _images(setting: Setting, batch: int, capture: str, named: int) -> Iterator[Measure]:
    rate = _autoencoder_rate(setting, [f"training.autoencoder.batch_size={batch}", f"training.capture={capture}"])
    name = f"training, CIFAR-10 networks, batch {named}" + ("" if capture == "auto" else f", capture {capture}")
    yield Measure(name, rate * batch, "images/s", note=f"{1e3 / rate:.3g} ms a step")


def _recipe_autoencoder(setting: Setting) -> Iterator[Measure]:
    yield Measure(AUTOENCODER_RATE, _autoencoder_rate(setting, []), "steps/s", note="at the recipe's batch size")


def _recipe_prior(setting: Setting) -> Iterator[Measure]:
    folder = setting.folder / "prior-rate"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(runs.cifar(setting), folder)
    overrides = [f"training.prior.steps={_STEPS}", "training.prior.validations=1"]
    if not setting.tiny:
        overrides.append(f"training.prior.batch_size={resolve('image/cifar10').config.core.training.prior.batch_size}")
    clock = _Clock("prior", 0.5 if setting.tiny else 4.0)
    try:
        train(run=folder, stage="prior", force=True, overrides=overrides, on_progress=clock)
    except _MeasuredError:
        yield Measure(PRIOR_RATE, clock.rate, "steps/s", note="at the recipe's batch size")


def _autoencoder_rate(setting: Setting, how: Sequence[str]) -> float:
    """Steps a second of CIFAR-10's autoencoder on embedded pictures of its form."""
    folder = setting.folder / "rate"
    shutil.rmtree(folder, ignore_errors=True)
    overrides = [
        f"training.device={setting.device}",
        *runs.PICTURES,
        *runs.reduced(setting),
        f"training.autoencoder.steps={_STEPS}",
        "autoencoder.truncation.warmup=0",  # whose steps decode once, and so are faster than most
        "training.autoencoder.validations=1",
        *how,
    ]
    clock = _Clock("autoencoder", 0.5 if setting.tiny else 4.0)
    try:
        train("image/cifar10", run=folder, stage="autoencoder", overrides=overrides, on_progress=clock)
    except _MeasuredError:
        return clock.rate
    raise RuntimeError("the training ended before its rate was known")
