"""Runs to measure with: trained for a moment, each when a part first needs it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from anytime_core.training.start import train
from benchmarks.contenders import Sizes
from benchmarks.gpu.setting import Setting

PICTURES = ("data.name=digits", "data.size=32", "data.color=rgb", "data.flip=false")
"""Overrides that put embedded digits, in CIFAR-10's form, in the place of its pictures."""
_MOMENT = (
    "training.autoencoder.steps=2",
    "training.autoencoder.batch_size=8",
    "training.autoencoder.validations=1",
    "training.autoencoder.validation_samples=64",
    "training.autoencoder.final_samples=64",
    "training.codes.samples=256",
    "training.codes.copies=1",
    "training.prior.steps=2",
    "training.prior.batch_size=8",
    "training.prior.validations=1",
    "training.prior.validation_samples=64",
)


def settled(setting: Setting, steps: int) -> tuple[str, ...]:
    """Overrides of a training that learns a little from the embedded digits."""
    return (
        f"training.device={setting.device}",
        f"training.autoencoder.steps={steps}",
        "training.autoencoder.validations=1",
        "training.autoencoder.final_samples=128",
        f"training.prior.steps={steps}",
        "training.prior.validations=1",
    )


def reduced(setting: Setting) -> tuple[str, ...]:
    """Overrides that let a CPU try out CIFAR-10's recipe; none on a GPU."""
    if not setting.tiny:
        return ()
    prior = (f"prior.{name}={value}" for name, value in setting.sizes().prior.items())
    return ("network.channels=12", "network.widths=[8,16]", "autoencoder.quantizer.size=32", *prior)


def small(setting: Setting, *overrides: str) -> Path:
    """A run of the digits' recipe that has learnt a little, so that its codes depend on each other."""
    steps = 40 if setting.tiny else 120
    name = "-".join(["small", *(override.rpartition("=")[0].rpartition(".")[2] for override in overrides)])
    return _made(setting, name, "image/digits", (*settled(setting, steps), *overrides))


def with_prior(setting: Setting, run: Path, name: str, *overrides: str) -> Path:
    """The same run with another prior, trained as long."""
    return _once(
        setting.folder / name,
        lambda folder: (shutil.copytree(run, folder), _train(folder, None, overrides, stage="prior")),
    )


def of_codes(setting: Setting, sizes: Sizes) -> Path:
    """A run whose prior has these sizes and random weights, and whose decoder is nearly nothing."""
    prior = tuple(f"prior.{name}={value}" for name, value in sizes.prior.items())
    overrides = (
        *_MOMENT,
        f"training.device={setting.device}",
        f"network.channels={sizes.length}",
        "network.widths=[8]",
        f"autoencoder.quantizer.size={sizes.codebook}",
        *prior,
    )
    return _made(setting, f"codes-{sizes.kv_heads or sizes.heads}", "image/digits", overrides)


def cifar(setting: Setting) -> Path:
    """A run of CIFAR-10's recipe after two steps."""
    overrides = (*_MOMENT, f"training.device={setting.device}", *PICTURES, *reduced(setting))
    return _made(setting, "cifar", "image/cifar10", overrides)


def _made(setting: Setting, name: str, recipe: str, overrides: Sequence[str]) -> Path:
    return _once(setting.folder / name, lambda folder: _train(folder, recipe, overrides))


def _train(folder: Path, recipe: str | None, overrides: Sequence[str], stage: str | None = None) -> None:
    train(recipe, run=folder, overrides=list(overrides), stage=stage, force=True)  # type: ignore[arg-type]


def _once(folder: Path, make: Callable[[Path], object]) -> Path:
    """The folder, made as a whole if it is not there."""
    if not folder.exists():
        partial = folder.with_name(f"{folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        make(partial)
        os.rename(partial, folder)
    return folder
