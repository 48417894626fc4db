"""How fast both stages train: images and code sequences a second, with the step captured and without."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from functools import partial

from anytime_core.discovery.resolve import resolve
from benchmarks.clock import ENDLESS, steps_a_second
from benchmarks.gpu import runs
from benchmarks.gpu.measures import Measure
from benchmarks.gpu.setting import Item, Setting

AUTOENCODER_RATE, PRIOR_RATE = "CIFAR-10 recipe, autoencoder", "CIFAR-10 recipe, prior"


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
    overrides = [f"training.prior.steps={ENDLESS}", "training.prior.validations=1"]
    if not setting.tiny:
        overrides.append(f"training.prior.batch_size={resolve('image/cifar10').config.core.training.prior.batch_size}")
    rate = steps_a_second("prior", _seconds(setting), run=folder, force=True, overrides=overrides)
    yield Measure(PRIOR_RATE, rate, "steps/s", note="at the recipe's batch size")


def _autoencoder_rate(setting: Setting, how: Sequence[str]) -> float:
    """Steps a second of CIFAR-10's autoencoder on embedded pictures of its form."""
    folder = setting.folder / "rate"
    shutil.rmtree(folder, ignore_errors=True)
    overrides = [
        f"training.device={setting.device}",
        *runs.PICTURES,
        *runs.reduced(setting),
        f"training.autoencoder.steps={ENDLESS}",
        "autoencoder.truncation.warmup=0",  # whose steps decode once, and so are faster than most
        "training.autoencoder.validations=1",
        *how,
    ]
    return steps_a_second("autoencoder", _seconds(setting), "image/cifar10", run=folder, overrides=overrides)


def _seconds(setting: Setting) -> float:
    """For how long steps are counted."""
    return 0.5 if setting.tiny else 4.0
