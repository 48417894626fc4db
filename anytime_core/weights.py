"""Weights files: safetensors that carry their config as metadata, so that one file is enough to load a model.

Nothing in them is a pickle, and what they name is looked up among installed plugins and in core's own registries.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, TypeVar

import torch
from pydantic import BaseModel, Field, model_validator
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from anytime_core.autoencoder import OrderedAutoencoder, build_autoencoder
from anytime_core.config import AnyPrior, AutoencoderConfig, Config
from anytime_core.data.allocation import LimitedElements
from anytime_core.data.files import replacing
from anytime_core.data.reading import open_regular
from anytime_core.digest import digest
from anytime_core.discovery.plugins import find_modality, load_modality
from anytime_core.display import shown
from anytime_core.errors import ConfigError, RunError, UsageError
from anytime_core.modality import Modality
from anytime_core.priors.base import Prior
from anytime_core.priors.blame import blaming
from anytime_core.priors.registry import PRIORS
from anytime_core.quantizers.base import CodeSpec
from anytime_core.record import AUTOENCODER_FILE, FORMAT_VERSION, PRIOR_FILE, RunRecord, validated
from anytime_core.section import MOST_CODES

_Metadata = TypeVar("_Metadata", bound=BaseModel)
_MOST_METADATA = 2**22
_LARGEST_HEADER = 2**23
_MOST_TENSORS = 2**16
_SPARE_ELEMENTS = 2**26
"""Elements that building a model may take in addition to those of its file: a sample, tables of codes."""

Shapes = dict[str, torch.Size]


class _WeightsFile(Protocol):
    """What `safe_open` gives."""

    def keys(self) -> list[str]: ...

    def metadata(self) -> dict[str, str] | None: ...

    def get_tensor(self, name: str) -> Tensor: ...

    def get_slice(self, name: str) -> Any: ...


class AutoencoderMetadata(BaseModel):
    """What `autoencoder.safetensors` says of itself."""

    format_version: int = FORMAT_VERSION
    modality: str
    modality_config: dict[str, Any]
    autoencoder: AutoencoderConfig
    spec: CodeSpec | None = None
    """What its codes are; None in files of format 1, where it follows from the rest."""


class PriorMetadata(BaseModel):
    """What `prior.safetensors` says of itself.

    Attributes:
        prior: the prior's section.
        spec: what the codes are that it models.
        vectors: shape of the table of code vectors that it was given; None if there was none.
    """

    format_version: int = FORMAT_VERSION
    prior: AnyPrior
    spec: CodeSpec
    vectors: tuple[Annotated[int, Field(ge=1, le=MOST_CODES)], ...] | None = Field(None, max_length=3)

    @model_validator(mode="before")
    @classmethod
    def _of_format_1(cls, data: Any) -> Any:
        """Convert format 1, which has sizes only; the rest follows from the run's autoencoder."""
        if not isinstance(data, dict) or data.get("format_version") != 1 or "spec" in data:
            return data
        length, size = data.get("code_length"), data.get("codebook_size")
        spec = {"length": length, "size": size, "dim": 1, "grid": [length], "classes": data.get("classes")}
        return {"format_version": 1, "prior": data.get("prior"), "spec": {**spec, "radices": data.get("radices")}}


def save_weights(path: Path, module: nn.Module, metadata: BaseModel) -> None:
    """Write a module's state as safetensors with `metadata` as JSON, whole or not at all."""
    write_weights(path, module.state_dict(), metadata)


def write_weights(path: Path, state: Mapping[str, Tensor], metadata: BaseModel) -> None:
    """Write tensors as safetensors with `metadata` as JSON and a digest of the tensors, whole or not at all."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    # It is one entry of the file's metadata, because safetensors writes several entries in any order.
    said = metadata.model_dump(mode="json")
    # A model without tensors, such as one whose codes are pixels, is known by what its metadata say.
    described = json.dumps({**said, "digest": digest(state or said)})
    with replacing(path) as temporary:
        # Not with save_file, whose files only their owner can read.
        temporary.write_bytes(save(state, {"anytime": described}))


def read_weights(path: Path, metadata: type[_Metadata]) -> tuple[dict[str, Tensor], _Metadata]:
    """State and metadata of a file that `save_weights` wrote. Raises RunError if it is damaged or too new."""
    with _opened(path) as file:
        return _state(file), _metadata(file, path, metadata)


def read_header(path: Path, metadata: type[_Metadata]) -> tuple[Shapes, _Metadata]:
    """Like `read_weights`, but with the shape of each tensor only: no tensor is loaded."""
    with _opened(path) as file:
        return _shapes(file), _metadata(file, path, metadata)


def weights_digest(path: Path) -> str | None:
    """The digest of the tensors that a file records, which identifies the model; None in files of earlier versions.

    Raises:
        RunError: the file cannot be read.
    """
    with _opened(path) as file:
        return _written_digest(file)


def check_recorded(run: Path, record: RunRecord, stage: Literal["autoencoder", "prior"]) -> None:
    """Raise RunError if the weights of a finished stage are not those that the record tells of, if it tells of any."""
    path, told = run / f"{stage}.safetensors", record.stages[stage].digest
    if told is not None and told != weights_digest(path):
        raise RunError(
            f"{shown(path)} is not the {stage} that the run's record tells of: put back the files that belong "
            "together, or train another with anytime train"
        )


def autoencoder_digest(run: Path, record: RunRecord) -> str:
    """The digest of the autoencoder of a run with this record, computed if an earlier version did not record it.

    Raises:
        RunError: its file cannot be read, or is not the one that the record tells of.
    """
    check_recorded(run, record, "autoencoder")
    with _opened(run / AUTOENCODER_FILE) as file:
        return _written_digest(file) or digest(_state(file))


def load_state(path: Path, module: nn.Module) -> None:
    """Load a file's tensors into a module. Raises RunError before any is loaded if the file holds other tensors."""
    own = module.state_dict()
    with _opened(path) as file:
        held, needed = _shapes(file), {name: tensor.shape for name, tensor in own.items()}
        for name in {**needed, **held}:
            if held.get(name) != needed.get(name):
                kept, wanted = _shown(held.get(name)), _shown(needed.get(name))
                raise _damaged(path, f"{name} is {kept}, but should be {wanted}")
        state = _state(file)
    for name, tensor in state.items():
        if tensor.dtype != own[name].dtype:
            raise _damaged(path, f"{name} is of {tensor.dtype}, but should be of {own[name].dtype}")
    module.load_state_dict(state)


@contextmanager
def _opened(path: Path) -> Iterator[_WeightsFile]:
    try:
        _check_header(path)
        with safe_open(path, framework="pt") as file:
            yield file
    except (OSError, SafetensorError, ValueError, KeyError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RunError(f"{shown(path)} cannot be read: {shown(reason)}{_way_out(path)}") from error


def _check_header(path: Path) -> None:
    """Raise ValueError if a header is larger than any real one, or OSError if there is no file."""
    with open_regular(path) as file:
        size = int.from_bytes(file.read(8), "little")
        if size > _LARGEST_HEADER:
            raise ValueError(f"its header has {size:,} bytes, more than {_LARGEST_HEADER:,}")
        if (tensors := file.read(size).count(b'"data_offsets"')) > _MOST_TENSORS:
            raise ValueError(f"its header tells of {tensors:,} tensors, more than {_MOST_TENSORS:,}")


def _way_out(path: Path) -> str:
    """What to do about a damaged file of a run; empty for other weights files, whose readers say it themselves."""
    if path.name in (AUTOENCODER_FILE, PRIOR_FILE):
        return f"; train that stage again with anytime train --run {shown(path.parent)} --stage {path.stem} --force"
    return ""


def _metadata(file: _WeightsFile, path: Path, metadata: type[_Metadata]) -> _Metadata:
    return validated(metadata, _described(file), path, _way_out(path))


def _described(file: _WeightsFile) -> Any:
    """The metadata of the file, from JSON."""
    text = (file.metadata() or {}).get("anytime")
    if text is None:
        raise ValueError("it comes from another program, as it has no config in its metadata")
    if len(text) > _MOST_METADATA:
        raise ValueError(f"its metadata are longer than {_MOST_METADATA:,} characters")
    return json.loads(text)


def _state(file: _WeightsFile) -> dict[str, Tensor]:
    """All tensors. Raises ValueError if they do not have the recorded digest; earlier versions recorded none."""
    state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    written = _written_digest(file)
    if state and written is not None and written != digest(state):
        raise ValueError("it is damaged, as its tensors are not those that were written")
    return state


def _written_digest(file: _WeightsFile) -> str | None:
    described = _described(file)
    return str(described["digest"]) if isinstance(described, dict) and "digest" in described else None


def _shapes(file: _WeightsFile) -> Shapes:
    return {name: torch.Size(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118


def _shown(shape: torch.Size | None) -> str:
    return "missing" if shape is None else f"{list(shape)}"


def _justified(shapes: Shapes) -> LimitedElements:
    """Limit memory to what a model with tensors of these shapes needs; some networks take it a few times over."""
    return LimitedElements(4 * sum(shape.numel() for shape in shapes.values()) + _SPARE_ELEMENTS)


def save_autoencoder(path: Path, autoencoder: OrderedAutoencoder, config: Config) -> None:
    """Write the autoencoder with its modality's config and its own: the file is enough to load it."""
    save_weights(
        path,
        autoencoder,
        AutoencoderMetadata(
            modality=config.core.modality,
            modality_config=config.modality.model_dump(mode="json"),
            autoencoder=config.core.autoencoder,
            spec=autoencoder.spec,
        ),
    )


def load_autoencoder(path: Path) -> tuple[OrderedAutoencoder, Modality]:
    """The autoencoder of a file, in evaluation mode, with its modality.

    Raises:
        RunError: the file is damaged, or its modality is not installed.
        PluginError: its modality does not work.
    """
    shapes, metadata = read_header(path, AutoencoderMetadata)
    require_plugin(metadata.modality, path)
    cls = load_modality(metadata.modality)
    try:
        modality = cls(cls.Config.model_validate(metadata.modality_config))
        with _justified(shapes):
            autoencoder = build_autoencoder(modality, metadata.autoencoder)
        if metadata.spec not in (None, autoencoder.spec):
            raise ValueError("its codes are not those that its networks have")
    except (RuntimeError, ValueError, ArithmeticError, MemoryError, ConfigError) as error:
        raise _damaged(path, error) from error
    load_state(path, autoencoder)
    return autoencoder.eval(), modality


def require_plugin(modality: str, path: Path) -> None:
    """Raise RunError if the modality that the file `path` names is not installed."""
    try:
        find_modality(modality)
    except UsageError as error:
        raise RunError(f"{shown(path)} needs a plugin: {error}; install it, see anytime plugins list") from error


def save_prior(path: Path, prior: Prior, code_vectors: Tensor | None) -> None:
    """Write the prior with its config and what its codes are: the file is enough to load it.

    Args:
        path: path of the file.
        prior: the prior to write.
        code_vectors: the table that it was made with. If the prior uses the table, its weights hold it.
    """
    vectors = None if code_vectors is None else tuple(code_vectors.shape)
    save_weights(path, prior, PriorMetadata(prior=prior.config, spec=prior.spec, vectors=vectors))


def load_prior(path: Path, codes: CodeSpec | None = None) -> Prior:
    """The prior of a file, in evaluation mode.

    Args:
        path: path of the file.
        codes: what the autoencoder's codes are, which files of format 1 do not say; None: use what they do say.

    Raises:
        RunError: the file is damaged.
    """
    shapes, metadata = read_header(path, PriorMetadata)
    config, spec, vectors = metadata.prior, metadata.spec, metadata.vectors
    if metadata.format_version == 1:
        vectors = tuple(shapes["vectors"]) if "vectors" in shapes else None
        if codes is not None and (spec.size, min(spec.length, codes.length)) == (codes.size, spec.length):
            spec = codes.narrowed(spec.length, spec.classes)
    try:
        config.check(spec)
        if vectors is not None and vectors[:-1] not in ((spec.size,), (spec.length, spec.size)):
            raise ValueError(f"vectors of {list(vectors)} are not one for each of {spec.size} codes")
        with blaming(config.kind), _justified(shapes):
            prior = PRIORS[config.kind](config, spec, None if vectors is None else torch.zeros(vectors))
    except (RuntimeError, ValueError, LookupError, ArithmeticError, MemoryError, ConfigError) as error:
        raise _damaged(path, error) from error
    load_state(path, prior)
    return prior.eval()


def _damaged(path: Path, error: Exception | str) -> RunError:
    lines = [line.strip() for line in str(error).splitlines()]
    said = shown(" ".join(lines[:2]))
    return RunError(f"{shown(path)} does not hold what its metadata say: {said}{_way_out(path)}")
