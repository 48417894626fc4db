"""Whether a resumed training sees the data that it started with."""

from __future__ import annotations

import json
import logging

from anytime_core.config_differences import changed_values, flattened
from anytime_core.display import shown
from anytime_core.distributed import rank
from anytime_core.errors import DataError
from anytime_core.found import class_difference
from anytime_core.modality import Modality
from anytime_core.record import RunRecord
from anytime_core.relocation import location_keys
from anytime_core.spelling import argument, settings
from anytime_core.training.checkpoints import Checkpoint
from anytime_core.training.preparation import Preparation

logger = logging.getLogger(__name__)


def checked_against_data(training: Preparation, resumed: Checkpoint | None, *, force: bool) -> Checkpoint | None:
    """`resumed`, the checkpoint from which the training is resumed, if the data is still the data of the run.

    A stage that is resumed with other data would be a training on neither, and codes of other data would come from an
    autoencoder that has not seen it. Stage `autoencoder` takes any data from its start. Stage `prior` needs only codes,
    unless it makes them itself: then the settings of the data are the same, too.

    Args:
        training: the training, whose run may have been started.
        resumed: the checkpoint, None for the start of the stage.
        force: go on with other data, too; stage `codes` then starts again.

    Raises:
        DataError: the data has changed.
    """
    stage = training.stages[0]
    record = training.basis_record if stage == "prior" else training.started
    if record is None or (stage == "autoencoder" and resumed is None):
        return resumed
    if stage == "prior" and not training.prior_reads_data:
        return resumed
    differences = _differences(record, training)
    other_classes = stage == "prior" and record.classes != training.datasets.classes
    if stage == "prior":
        differences += _other_settings(record, training)
    if not differences:
        return resumed
    changed = f"the data of run {shown(training.basis)} has changed: {'; '.join(differences)}"
    if other_classes:
        raise DataError(
            f"{changed}. Put it back{_where(training.modality)}, or train it into another {argument('run')}"
        )
    if not force:
        raise DataError(
            f"{changed}. Put it back{_where(training.modality)}, train it into another {argument('run')}, or go on "
            f"with what is there with {argument('force', True)}"
        )
    if rank() == 0:
        logger.warning("%s; going on with what is there", changed)
    return None if stage == "codes" else resumed


def _differences(record: RunRecord, training: Preparation) -> list[str]:
    found = training.datasets.counted()
    classes = class_difference(record.classes, training.datasets.classes)
    listing = record.found.listing_difference(found) if record.found is not None else ""
    place = f" in {shown(found.root)}" if found.root is not None else ""
    return [f"there are {difference}{place}" for difference in (classes, listing) if difference]


def _other_settings(record: RunRecord, training: Preparation) -> list[str]:
    """What the config says of the data and the record does not, but for where it lies; null may stand for anything."""
    told, asked = ({"data": config.get("data", {})} for config in (record.config, training.config.to_dict()))
    changes = changed_values(told, asked)
    known = flattened(told)
    return [
        f"{key}={json.dumps(value)} instead of {json.dumps(known[key])}"
        for key, value in changes.items()
        if value is not None and key in known and key not in location_keys(training.modality.Config)
    ]


def _where(modality: Modality) -> str:
    moved = f", say where it is now with {settings({'data.root': 'DIR'})}"
    return moved if "data.root" in location_keys(modality.Config) else ""
