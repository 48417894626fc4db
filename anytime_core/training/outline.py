"""What a training will do, known before its first step."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from anytime_core.found import Found
from anytime_core.record import RunRecord, Stage
from anytime_core.training.batches import spread
from anytime_core.training.checkpoints import Checkpoint
from anytime_core.training.preparation import Preparation


@dataclass(frozen=True)
class Outline:
    """What a training will do.

    Attributes:
        run: its folder.
        modality: its plugin.
        steps: stages in order -> steps of each in all.
        done: steps of the first stage that a checkpoint holds.
        found: the data. None: only its codes are needed, and the run is of a version that did not record it.
        code_length: number of codes of a sample.
        codebook_size: of each; None for continuous codes.
        weights: stage -> how many its model has.
        device: what it is trained on.
        name: what is trained, such as `image/mnist-quick`; empty if that is not known.
        has_quick: whether the config has a quick variant and is not that variant.
        autoencoder: the run whose autoencoder and codes are taken, or were when the run was begun; None: its own.
        prior_sizes: the sizes of the prior that follow from the codes, for people; empty if there are none.
    """

    run: Path
    modality: str
    steps: dict[Stage, int]
    done: int
    found: Found | None
    code_length: int
    codebook_size: int | None
    weights: dict[Stage, int]
    device: str
    name: str = ""
    has_quick: bool = False
    autoencoder: Path | None = None
    prior_sizes: str = ""


def outlined(training: Preparation, resumed: Checkpoint | None) -> Outline:
    """The outline of a checked training that is resumed from `resumed`; None: from the start."""
    autoencoder = training.untrained
    weights: dict[Stage, int] = {}
    sizes = ""
    if "autoencoder" in training.stages:
        weights["autoencoder"] = sum(weight.numel() for weight in autoencoder.parameters())
    if "prior" in training.stages:
        config = training.config.core.prior
        weights["prior"] = training.prior_weights
        sizes = config.derived(autoencoder.spec.narrowed(config.code_length))
    return Outline(
        run=training.folder,
        modality=training.config.core.modality,
        steps={stage: _steps(training, stage) for stage in training.stages},
        done=resumed.position.step if resumed is not None else 0,
        found=training.found,
        code_length=autoencoder.code_length,
        codebook_size=autoencoder.codebook_size,
        weights=weights,
        device=str(training.device),
        autoencoder=_shared_from(training),
        prior_sizes=sizes,
    )


def finished_outline(run: Path, record: RunRecord, device: str) -> Outline:
    """The outline of a run that is finished: no stage is left to train."""
    return Outline(
        run=run,
        modality=record.modality,
        steps={},
        done=0,
        found=record.found,
        code_length=record.code_length,
        codebook_size=record.codebook_size,
        weights={},
        device=device,
        autoencoder=None if record.autoencoder_of is None else Path(record.autoencoder_of.run),
    )


def _shared_from(training: Preparation) -> Path | None:
    """The run whose autoencoder and codes are taken, or were; None if the run has its own, or makes them."""
    if training.basis != training.folder:
        return training.basis
    origin = training.started.autoencoder_of if training.started is not None else None
    return None if origin is None or "autoencoder" in training.stages else Path(origin.run)


def _steps(training: Preparation, stage: Stage) -> int:
    core, settings = training.config.core, training.config.core.training
    if stage == "prior":
        return settings.prior.steps
    if stage == "autoencoder":
        return settings.autoencoder.steps if core.autoencoder.kind == "ordered" else 1
    train, validation = (
        -(-len(spread(len(part), settings.codes.samples)) // settings.codes.batch_size)
        for part in (training.datasets.train, training.datasets.validation)
    )
    return (0 if settings.codes.online else settings.codes.copies * train) + validation
