"""The three stages of a training: each builds its model, trains it, and measures the result."""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from anytime_core.autoencoder import OrderedAutoencoder, build_autoencoder
from anytime_core.curve import reconstruction_curve, validated_lengths
from anytime_core.data_space import data_space
from anytime_core.distributed import rank
from anytime_core.plotting import plot_curve
from anytime_core.priors.any_order.base import AnyOrderPrior
from anytime_core.priors.registry import PRIORS
from anytime_core.record import PRIOR_FILE, Stage
from anytime_core.results import (
    AutoencoderResult,
    AutoencoderValidation,
    CodesResult,
    PluginRecord,
    PriorResult,
    PriorValidation,
    StageResult,
)
from anytime_core.training.autoencoder import fit_principal_components, keep_autoencoder, train_autoencoder
from anytime_core.training.batches import ordered_batches
from anytime_core.training.codes import CodesDataset, written_files
from anytime_core.training.collapse import TELLING_STEPS, worthless_prefixes
from anytime_core.training.encoding import write_codes
from anytime_core.training.log import Progress
from anytime_core.training.online import OnlineCodes
from anytime_core.training.preparation import Preparation, prior_vectors
from anytime_core.training.prior import train_prior, validate_prior
from anytime_core.training.surroundings import Surroundings
from anytime_core.training.validation import Validator
from anytime_core.weights import load_autoencoder, load_prior, save_autoencoder, save_prior, weights_digest

logger = logging.getLogger(__name__)


def run_stage(stage: Stage, training: Preparation, surroundings: Surroundings) -> StageResult:
    """Run one stage. It leaves its files in the run folder."""
    stages = {"autoencoder": _autoencoder_stage, "codes": _codes_stage, "prior": _prior_stage}
    return stages[stage](training, surroundings)


def _autoencoder_stage(training: Preparation, surroundings: Surroundings) -> AutoencoderResult:
    core = training.config.core
    torch.manual_seed(core.seed)
    autoencoder = build_autoencoder(training.modality, core.autoencoder)
    if core.autoencoder.kind == "pca":
        fit_principal_components(autoencoder, training.datasets.train, core.training.workers)
    validate = Validator(autoencoder, training.modality, training.datasets, core, training.previews)

    def keep() -> None:
        save_autoencoder(training.weights, autoencoder, training.config)

    if core.autoencoder.kind == "ordered":
        steps = train_autoencoder(
            autoencoder, training.modality, training.datasets.train, core, surroundings, validate=validate, keep=keep
        )
    else:
        steps = keep_autoencoder(autoencoder, surroundings, validate=validate, keep=keep)
    surroundings.accelerator.wait_for_everyone()
    surroundings.on_progress(Progress("autoencoder", steps, steps, activity="measuring the result"))
    best = load_autoencoder(training.weights)[0].to(surroundings.accelerator.device)
    curve = reconstruction_curve(
        best,
        {"loss": training.modality.reconstruction_loss, **training.modality.metrics()},
        ordered_batches(
            training.datasets.validation,
            core.training.codes.batch_size,
            limit=core.training.autoencoder.final_samples,
            workers=core.training.workers,
        ),
        validated_lengths(best.code_length),
        validate.mean_sample,
    )
    if rank() == 0:
        ordered = core.autoencoder.truncation.distribution != "none"
        if ordered and steps >= TELLING_STEPS and (worthless := worthless_prefixes(curve)):
            logger.warning("%s", worthless)
        plot_curve(curve, training.previews / "quality.png")
    validation = AutoencoderValidation(
        codes=curve.lengths,
        reconstruction=_rounded(curve.values),
        shuffled=_rounded(curve.shuffled),
        mean_sample={name: _significant(value) for name, value in curve.mean_sample.items()},
        codebook_use=curve.codebook_use,
        samples=curve.samples,
    )
    return AutoencoderResult(
        steps=steps, seconds=surroundings.seconds, digest=weights_digest(training.weights), validation=validation
    )


def _rounded(values: Mapping[str, Sequence[float]]) -> dict[str, tuple[float, ...]]:
    return {name: tuple(map(_significant, of_lengths)) for name, of_lengths in values.items()}


def _significant(value: float) -> float:
    return float(f"{value:.6g}")  # losses of quiet data are small numbers


def _codes_stage(training: Preparation, surroundings: Surroundings) -> CodesResult:
    core = training.config.core
    steps = write_codes(
        load_autoencoder(training.weights)[0].to(surroundings.accelerator.device),
        training.modality,
        training.datasets,
        core.training.codes,
        training.folder / "codes",
        surroundings,
        seed=core.seed,
        workers=core.training.workers,
    )
    files = written_files(training.folder / "codes") if rank() == 0 else {}  # the first process wrote them
    return CodesResult(steps=steps, seconds=surroundings.seconds, files=files)


def _prior_stage(training: Preparation, surroundings: Surroundings) -> PriorResult:
    core = training.config.core
    autoencoder = load_autoencoder(training.weights)[0]
    train_codes, labelled = _training_codes(training, autoencoder, surroundings.accelerator.device)
    validation_codes = training.codes(autoencoder, "validation")
    torch.manual_seed(core.seed)
    prior = training.prior(autoencoder, labelled=labelled)
    path = training.folder / PRIOR_FILE
    train_prior(
        prior,
        train_codes,
        validation_codes,
        core.training.prior,
        surroundings,
        seed=core.seed,
        keep=lambda: save_prior(path, prior, prior_vectors(autoencoder, prior.spec)),
    )
    surroundings.accelerator.wait_for_everyone()
    settings = core.training.prior
    surroundings.on_progress(Progress("prior", settings.steps, settings.steps, activity="measuring the result"))
    best = load_prior(path).to(surroundings.accelerator.device)
    likelihood = validate_prior(best, validation_codes, limit=None, batch_size=core.training.prior.batch_size)
    validation = PriorValidation(
        bits_per_code=round(likelihood.bits_per_code, 6),
        standard_error=round(likelihood.standard_error, 6),
        bits_per_position=_bits(likelihood.bits_per_position),
        samples=likelihood.samples,
        bound=not best.exact,
    )
    space = data_space(core.autoencoder.kind, training.modality.sample_shape(), autoencoder.spec)
    if space is not None and best.code_length == autoencoder.code_length:
        needed = round(space.of_bits(likelihood.bits_per_code * best.code_length), 6)
        validation = validation.model_copy(update={space.field: needed})
    if isinstance(best, AnyOrderPrior):
        steps = tuple(map(_bits, best.losses() / math.log(2)))
        validation = validation.model_copy(update={"bits_per_step": steps})
    plugin = PRIORS.plugin(best.kind)
    return PriorResult(
        steps=settings.steps,
        seconds=surroundings.seconds,
        digest=weights_digest(path),
        validation=validation,
        plugin=None if plugin is None else PluginRecord(distribution=plugin.distribution, version=plugin.version),
    )


def _training_codes(
    training: Preparation, autoencoder: OrderedAutoencoder, device: torch.device
) -> tuple[CodesDataset | OnlineCodes, bool]:
    """What the prior learns, and whether labels come with it."""
    core = training.config.core
    if not training.prior_reads_data:
        stored = training.codes(autoencoder, "train")
        return stored, stored.labels is not None
    frozen = copy.deepcopy(autoencoder).to(device).eval()
    online = OnlineCodes(
        frozen,
        training.modality,
        training.datasets.train,
        core.training.codes.samples,
        core.seed,
        core.training.workers,
    )
    return online, bool(training.classes)


def _bits(values: Tensor) -> tuple[float, ...]:
    return tuple(round(value, 6) for value in values.tolist())
