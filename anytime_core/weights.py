"""Weights files: safetensors that carry their config as metadata, so that one file is enough to load a model.

Nothing in them is a pickle, and what they name is looked up among installed plugins and in core's own registries.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, Field
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from anytime_core.autoencoder import OrderedAutoencoder, build_autoencoder
from anytime_core.config import AutoencoderConfig, Config, PriorConfig
from anytime_core.errors import RunError, UsageError
from anytime_core.files import replacing
from anytime_core.modality import Modality
from anytime_core.plugins import find_plugin, load_modality
from anytime_core.priors import ARDMPrior, Digits, Prior, build_prior
from anytime_core.record import FORMAT_VERSION, validated

AUTOENCODER_FILE = "autoencoder.safetensors"
PRIOR_FILE = "prior.safetensors"

_Metadata = TypeVar("_Metadata", bound=BaseModel)
_SAME_STAGE = "train that stage again with --stage"


class AutoencoderMetadata(BaseModel):
    """What `autoencoder.safetensors` says of itself."""

    format_version: int = FORMAT_VERSION
    modality: str
    modality_config: dict[str, Any]
    autoencoder: AutoencoderConfig


class PriorMetadata(BaseModel):
    """What `prior.safetensors` says of itself."""

    format_version: int = FORMAT_VERSION
    prior: PriorConfig
    code_length: int = Field(ge=1)
    codebook_size: int = Field(ge=2)
    classes: int = Field(ge=0)
    radices: tuple[Annotated[int, Field(ge=1, le=2**24)], ...] | None = Field(None, max_length=64)


def save_weights(path: Path, module: nn.Module, metadata: BaseModel) -> None:
    """Write a module's state as safetensors with `metadata` as JSON, at once."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()}
    with replacing(path) as temporary:
        # Not by save_file, whose files nobody but their owner can read.
        temporary.write_bytes(save(state, {"anytime": metadata.model_dump_json()}))


def read_weights(path: Path, metadata: type[_Metadata]) -> tuple[dict[str, Tensor], _Metadata]:
    """State and metadata of a file that `save_weights` wrote. Raises RunError where it is damaged or too new."""
    try:
        with safe_open(path, framework="pt") as file:
            data = json.loads((file.metadata() or {})["anytime"])
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, ValueError, KeyError, RecursionError) as error:
        raise RunError(f"{path} cannot be read: {error}; {_SAME_STAGE}") from error
    return state, validated(metadata, data, path, _SAME_STAGE)


def save_autoencoder(path: Path, autoencoder: OrderedAutoencoder, config: Config) -> None:
    """Write the autoencoder with its modality's and its own config: the file is enough to load it."""
    save_weights(
        path,
        autoencoder,
        AutoencoderMetadata(
            modality=config.core.modality,
            modality_config=config.modality.model_dump(mode="json"),
            autoencoder=config.core.autoencoder,
        ),
    )


def load_autoencoder(path: Path) -> tuple[OrderedAutoencoder, Modality]:
    """The autoencoder of a file, in evaluation mode, with its modality.

    Raises:
        RunError: the file is damaged, or its modality is not installed.
        PluginError: its modality does not work.
    """
    state, metadata = read_weights(path, AutoencoderMetadata)
    require_plugin(metadata.modality, path)
    cls = load_modality(metadata.modality)
    try:
        modality = cls(cls.Config.model_validate(metadata.modality_config))
        autoencoder = build_autoencoder(modality, metadata.autoencoder)
        autoencoder.load_state_dict(state)
    except (RuntimeError, ValueError) as error:
        raise _damaged(path, error) from error
    return autoencoder.eval(), modality


def require_plugin(modality: str, path: Path) -> None:
    """Raise RunError where the modality that the file `path` names is not installed."""
    try:
        find_plugin(modality)
    except UsageError as error:
        raise RunError(f"{path} needs a plugin: {error}; install it, see anytime plugins list") from error


def save_prior(path: Path, prior: Prior, config: PriorConfig) -> None:
    """Write the prior with its config and sizes: the file is enough to load it."""
    save_weights(
        path,
        prior,
        PriorMetadata(
            prior=config,
            code_length=prior.code_length,
            codebook_size=prior.codebook_size,
            classes=prior.classes,
            radices=prior.digits.radices if isinstance(prior, ARDMPrior) else None,
        ),
    )


def load_prior(path: Path) -> Prior:
    """The prior of a file, in evaluation mode. Raises RunError where the file is damaged."""
    state, metadata = read_weights(path, PriorMetadata)
    try:
        prior = build_prior(
            metadata.prior,
            code_length=metadata.code_length,
            codebook_size=metadata.codebook_size,
            classes=metadata.classes,
            code_vectors=state.get("vectors"),
            digits=Digits(metadata.codebook_size, metadata.radices) if metadata.radices else None,
        )
        prior.load_state_dict(state)
    except (RuntimeError, ValueError, IndexError) as error:
        raise _damaged(path, error) from error
    return prior.eval()


def _damaged(path: Path, error: Exception) -> RunError:
    lines = [line.strip() for line in str(error).splitlines()]
    return RunError(f"{path} does not hold what its metadata say: {' '.join(lines[:2])}; {_SAME_STAGE}")
