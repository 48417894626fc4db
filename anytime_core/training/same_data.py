"""Whether a resumed training sees the data that it started with."""

from __future__ import annotations

import logging

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
    autoencoder that has not seen it. Stage `autoencoder` takes any data from its start. Stage `prior` needs only codes.

    Args:
        training: the training, whose run may have been started.
        resumed: the checkpoint, None for the start of the stage.
        force: go on with other data, too; stage `codes` then starts again.

    Raises:
        DataError: the data has changed.
    """
    record, stage = training.started, training.stages[0]
    if record is None or stage == "prior" or (stage == "autoencoder" and resumed is None):
        return resumed
    differences = _differences(record, training)
    if not differences:
        return resumed
    changed = f"the data of run {shown(training.folder)} has changed: {'; '.join(differences)}"
    if not force:
        raise DataError(
            f"{changed}. Put it back{_where(training.modality)}, train it into another {argument('run')}, or go on "
            f"with what is there with {argument('force', True)}"
        )
    if rank() == 0:
        logger.warning("%s; going on with what is there", changed)
    return resumed if stage == "autoencoder" else None


def _differences(record: RunRecord, training: Preparation) -> list[str]:
    found = training.datasets.counted()
    classes = class_difference(record.classes, training.datasets.classes)
    listing = record.found.listing_difference(found) if record.found is not None else ""
    place = f" in {shown(found.root)}" if found.root is not None else ""
    return [f"there are {difference}{place}" for difference in (classes, listing) if difference]


def _where(modality: Modality) -> str:
    moved = f", say where it is now with {settings({'data.root': 'DIR'})}"
    return moved if "data.root" in location_keys(modality.Config) else ""
