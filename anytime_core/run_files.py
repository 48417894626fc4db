"""The files of a run, opened together and checked against each other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from anytime_core.autoencoder import OrderedAutoencoder
from anytime_core.errors import AnytimeError, MissingPluginError, PluginError, RunError
from anytime_core.in_training import in_training
from anytime_core.modality import Modality
from anytime_core.priors.base import Prior
from anytime_core.record import AUTOENCODER_FILE, PRIOR_FILE, RUN_FILE, RunRecord, read_record
from anytime_core.weights import check_recorded, load_autoencoder, load_prior, require_plugin


@dataclass(frozen=True)
class RunFiles:
    """The contents of a run folder, on the CPU.

    Attributes:
        record: `run.json`.
        modality: the configured plugin.
        autoencoder: in evaluation mode.
        prior: in evaluation mode; None if its stage is not finished, or if its plugin does not work.
        absent: why there is no prior although its stage is finished; None if that is not so.
    """

    record: RunRecord
    modality: Modality
    autoencoder: OrderedAutoencoder
    prior: Prior | None
    absent: AnytimeError | None


def open_run_files(folder: Path) -> RunFiles:
    """Open the files of a run. The autoencoder is of use even if the plugin of the prior does not work.

    Raises:
        RunError: the run is missing, has no autoencoder, is damaged, of a newer format, or mixed from two trainings.
        PluginError: its modality does not work.
    """
    record = read_record(folder)
    require_plugin(record.modality, folder / RUN_FILE)
    weights = folder / AUTOENCODER_FILE
    if "autoencoder" not in record.stages or not weights.exists():
        if (training := in_training(folder)) is not None:
            raise RunError(
                f"run {folder} is in training: {training}; wait until stage autoencoder is finished, or open another "
                "run with --run DIR"
            )
        if "autoencoder" in record.stages:
            raise RunError(
                f"{weights} is missing: put it back, or train that stage again with anytime train --run {folder} "
                "--stage autoencoder"
            )
        raise RunError(f"run {folder} has no autoencoder yet: go on with anytime train --resume {folder}")
    autoencoder, modality = load_autoencoder(weights)
    prior, absent = _open_prior(folder, record, autoencoder) if "prior" in record.stages else (None, None)
    _check_same(folder, record, modality, autoencoder, prior)
    check_recorded(folder, record, "autoencoder")
    if prior is not None:
        check_recorded(folder, record, "prior")
    return RunFiles(record, modality, autoencoder, prior, absent)


def _open_prior(
    folder: Path, record: RunRecord, autoencoder: OrderedAutoencoder
) -> tuple[Prior | None, AnytimeError | None]:
    """The prior, or why its plugin does not give it."""
    try:
        return load_prior(folder / PRIOR_FILE, autoencoder.spec), None
    except MissingPluginError as error:
        return None, MissingPluginError(f"{error}; {record.missing_prior}")
    except PluginError as error:
        return None, error


def _check_same(
    folder: Path, record: RunRecord, modality: Modality, autoencoder: OrderedAutoencoder, prior: Prior | None
) -> None:
    """Raise RunError if the files of a run are not of one training: sizes that differ would fail much later."""
    told: dict[str, tuple[object, object]] = {
        "modality": (record.modality, modality.name),
        "code length": (record.code_length, autoencoder.code_length),
        "codebook size": (record.codebook_size, autoencoder.codebook_size),
    }
    if prior is not None:
        told["codebook size of the prior"] = (record.codebook_size, prior.codebook_size)
        told["code length of the prior"] = (min(record.code_length, prior.code_length), prior.code_length)
        told["number of classes"] = (len(record.classes) if prior.classes else 0, prior.classes)
        codes = autoencoder.spec.narrowed(prior.code_length, prior.classes)
        for field, value in codes:
            told[f"{field} of the codes of the prior"] = (value, getattr(prior.spec, field))
    for what, (recorded, held) in told.items():
        if recorded != held:
            raise RunError(
                f"{folder / RUN_FILE} does not fit the weights beside it: {what} {recorded}, but they have {held}; "
                "put back the files that belong together, or train another with anytime train"
            )
