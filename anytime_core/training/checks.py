"""What can be found wrong with a training before its first file is written."""

from __future__ import annotations

import torch

from anytime_core.autoencoder import OrderedAutoencoder
from anytime_core.capture import require_capture
from anytime_core.config import AutoencoderConfig
from anytime_core.devices import resolve_precision
from anytime_core.distributed import launched, world_size
from anytime_core.errors import ConfigError, RunError, UsageError
from anytime_core.record import AUTOENCODER_FILE, STAGES
from anytime_core.spelling import argument
from anytime_core.training.batches import step_samples
from anytime_core.training.codes import check_files
from anytime_core.training.online import needed_views
from anytime_core.training.preparation import Preparation
from anytime_core.training.smallest_batch import check_batch
from anytime_core.weights import check_recorded, load_autoencoder


def check(training: Preparation) -> None:
    """Raise AnytimeError for anything that can be found wrong before the first file is written."""
    core, stages = training.config.core, training.stages
    precision = resolve_precision(core.training.precision, training.device)
    if core.training.capture is True:
        _check_capture(training, precision)
    for key, size in (
        ("autoencoder", core.training.autoencoder.batch_size),
        ("prior", core.training.prior.batch_size),
    ):
        if key in stages and size % world_size():
            raise ConfigError(
                f"training.{key}.batch_size={size} cannot be shared by {world_size()} processes: "
                f"use a multiple of {world_size()}"
            )
    finished = set(training.basis_record.stages) if training.basis_record else set()
    for stage in stages:
        missing = [name for name in STAGES[: STAGES.index(stage)] if name not in finished]
        if missing:
            raise RunError(
                f"stage {stage} of run {training.folder} needs stage {missing[0]} first: "
                f"anytime train --run {training.folder} --stage {missing[0]}"
            )
        finished.add(stage)
    if stages[0] != "autoencoder":
        _check_unchanged(training)
    if training.untrained.codebook_size is None and any(stage != "autoencoder" for stage in stages):
        raise ConfigError(
            "autoencoder.quantizer.kind=none has continuous codes, which no prior learns: "
            f"use vq or fsq, or {argument('stage', 'autoencoder')}"
        )
    if "prior" in stages:
        code_length = training.untrained.code_length
        if (core.prior.code_length or 1) > code_length:
            raise ConfigError(f"prior.code_length={core.prior.code_length} is more than the {code_length} codes")
        core.prior.check(training.untrained.spec.narrowed(core.prior.code_length))
        if core.prior.class_conditional is True and not training.classes:
            raise ConfigError("prior.class_conditional=true needs data with labels: use auto or false")
        _ = training.prior_weights
    if stages[0] == "autoencoder":
        _ = training.modality.metrics()
    _check_views(training)
    if stages[0] == "prior":
        _check_codes(training)
    if stages[0] != "prior" or training.prior_reads_data:
        _ = training.datasets
    if stages[0] != "autoencoder":
        return
    samples = len(training.datasets.train)
    if core.autoencoder.kind == "ordered":
        at_once = step_samples(samples, core.training.autoencoder.batch_size)
        check_batch(training.modality, training.untrained, training.config, at_once)
    if core.autoencoder.kind == "pca" and training.untrained.code_length > samples:
        raise ConfigError(
            f"{training.untrained.code_length} principal components need as many training samples, found "
            f"{samples}: set autoencoder.code_length={samples} or less"
        )


def _check_capture(training: Preparation, precision: torch.dtype) -> None:
    """Raise UsageError if steps cannot be captured as CUDA graphs."""
    what, way_out = "training.capture=true", "use auto or false"
    require_capture(training.device, what=what, way_out=way_out)
    if precision == torch.float16:
        raise UsageError(f"{what} does not go with training.precision=float16: {way_out}, or bfloat16")
    if launched()[1] > 1:
        raise UsageError(f"{what} is for one process, not for {launched()[1]}: {way_out}")


def _check_unchanged(training: Preparation) -> None:
    """Raise ConfigError unless the config describes the autoencoder of an existing run; its data may have moved."""
    trained, _ = load_autoencoder(training.basis / AUTOENCODER_FILE)
    recorded = training.basis_record.config if training.basis_record else {}
    # The config of an earlier version lacks later settings.
    recorded_autoencoder = {**AutoencoderConfig().model_dump(mode="json"), **recorded.get("autoencoder", {})}
    config = training.config.to_dict()
    same_sections = (recorded.get("modality"), recorded_autoencoder) == (config["modality"], config["autoencoder"])
    if not same_sections or _shapes(training.untrained) != _shapes(trained):
        raise ConfigError(
            f"the config describes another autoencoder than that of {training.basis}: leave modality, networks and "
            f"autoencoder as they are, or train from stage autoencoder into another {argument('run')}"
        )
    if training.basis_record is not None:
        check_recorded(training.basis, training.basis_record, "autoencoder")


def _check_codes(training: Preparation) -> None:
    """Raise RunError if the codes are not those of the finished stage, ConfigError if they lack labels."""
    _ = training.codes(training.untrained, "validation")
    assert training.basis_record is not None
    check_files(training.basis / "codes", training.basis_record.stages["codes"].files)
    if not training.prior_reads_data:
        train_codes = training.codes(training.untrained, "train")
        training.check_labels(labelled=train_codes.labels is not None)


def _check_views(training: Preparation) -> None:
    """Raise ConfigError if a file of codes would hold training samples that only `augment` makes what they are."""
    setting = needed_views(training.modality)
    if setting and not training.prior_reads_data and set(training.stages) != {"autoencoder"}:
        raise ConfigError(
            f"{setting} draws training samples anew each time, which a file of codes cannot hold: encode them while "
            "the prior learns, with training.codes.online=true"
        )


def _shapes(autoencoder: OrderedAutoencoder) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in autoencoder.state_dict().items()}
