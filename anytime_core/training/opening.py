"""The run folder and its record, which a training opens before its first step."""

from __future__ import annotations

import contextlib
import datetime
import importlib.metadata
import platform

import anytime_core
from anytime_core.config_differences import changed_values
from anytime_core.config_parsing import parse_config
from anytime_core.data.files import remove_partial_files, write_text
from anytime_core.discovery.plugins import find_modality
from anytime_core.distributed import rank
from anytime_core.errors import ConfigError
from anytime_core.record import CONFIG_FILE, AutoencoderOrigin, Change, RunRecord
from anytime_core.results import PluginRecord
from anytime_core.training.checkpoints import FOLDER as CHECKPOINTS
from anytime_core.training.frozen import beginning, share_files
from anytime_core.training.preparation import Preparation

_LIBRARIES = ("torch", "torchvision", "torchaudio", "accelerate", "numpy", "safetensors")


def opened(training: Preparation, recipe: str | None, baseline: str | None, *, quick: bool) -> RunRecord:
    """Create the run folder and write the files that describe the run.

    Args:
        training: found good.
        recipe, baseline, quick: what the config came from. An existing run keeps its own if neither recipe nor
            baseline is given.
    """
    core, started, basis = training.config.core, training.started, training.basis_record
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    if started and recipe is None and baseline is None:
        recipe, baseline, quick = started.recipe, started.baseline, started.quick
    plugin = find_modality(core.modality)
    record = RunRecord(
        created=started.created if started else now,
        modality=core.modality,
        plugin=PluginRecord(distribution=plugin.distribution, version=plugin.version),
        recipe=recipe,
        baseline=baseline,
        quick=quick,
        seed=core.seed,
        code_length=training.untrained.code_length,
        codebook_size=training.untrained.codebook_size,
        classes=training.classes,
        found=training.found,
        last_stage=training.stages[-1],
        autoencoder_of=_origin(training),
        stages=started.stages if started else basis.before("prior").stages if basis else {},
        libraries=library_versions(),
        config=training.config.to_dict(),
        changes=_changes(training, started, now) if started else (),
    )
    if rank() == 0:
        _write(training, record)
    if training.basis != training.folder:
        training.accelerator.wait_for_everyone()  # the others read the files that the first process has shared
        training.basis = training.folder
    return record


def _write(training: Preparation, record: RunRecord) -> None:
    """Write the files that describe the run; a new one gets the files of the run that it is based on, too."""
    for written in (training.folder, training.folder / CHECKPOINTS, training.previews):
        remove_partial_files(written)
    with beginning(training.folder) if training.started is None else contextlib.nullcontext():
        if training.basis != training.folder:
            assert training.basis_record is not None
            share_files(training.basis, training.folder, training.basis_record)
        write_text(training.folder / CONFIG_FILE, training.config.to_yaml())
        training.save(record)


def _origin(training: Preparation) -> AutoencoderOrigin | None:
    """Whose the autoencoder of the run is, if it is another run's."""
    basis = training.basis_record
    if basis is None or basis is training.started or basis.autoencoder_of is not None:
        return basis.autoencoder_of if basis is not None else None
    return AutoencoderOrigin(run=str(training.basis.resolve()), created=basis.created)


def _changes(training: Preparation, started: RunRecord, now: str) -> tuple[Change, ...]:
    """What was changed since the run was started, with what is changed now."""
    before = started.config
    with contextlib.suppress(ConfigError):
        # It is read as by this version, since a config of an earlier version lacks later settings.
        before = parse_config(before, type(training.config.modality)).to_dict()
    if not (values := changed_values(before, training.config.to_dict())):
        return started.changes
    return (*started.changes, Change(at=now, stages=tuple(training.stages), values=values))


def library_versions() -> dict[str, str]:
    """The versions of Python and of the libraries that results depend on."""
    versions = {name: importlib.metadata.version(name) for name in _LIBRARIES}
    return {"python": platform.python_version(), "anytime-toolkit": anytime_core.__version__, **versions}
