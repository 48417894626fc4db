"""The configuration of a training, in typed sections; `config_parsing` reads it.

A config has core's own sections (`CoreConfig`) and the sections that the modality plugin declares in its own pydantic
model (for images `data`, `network`, `loss`). In YAML they stand side by side at the top level.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, SerializeAsAny, model_validator

from anytime_core.priors.registry import PRIORS
from anytime_core.priors.section import PriorSection
from anytime_core.priors.transformer.config import TransformerConfig
from anytime_core.quantizers.config import FSQConfig, LevelsConfig, QuantizerSection, VQConfig
from anytime_core.quantizers.registry import QUANTIZERS
from anytime_core.section import MOST_CODES, Section, by_kind

__all__ = ["Config", "CoreConfig", "Device", "Section", "by_kind"]

AnyQuantizer = Annotated[SerializeAsAny[QuantizerSection], BeforeValidator(QUANTIZERS.parse)]
AnyPrior = Annotated[SerializeAsAny[PriorSection], BeforeValidator(PRIORS.parse)]
ValueOrder = Literal["raster", "subscale", "multiscale", "bits"]
_WITH_SLICES = ("subscale", "multiscale")
Precision = Literal["auto", "float32", "bfloat16", "float16"]


def _known_device(name: str) -> str:
    if not re.fullmatch(r"auto|cpu|mps|cuda(:[0-9]{1,3})?", name):
        raise ValueError("use auto, cpu, cuda, cuda:N or mps")
    return name


Device = Annotated[str, AfterValidator(_known_device)]


class TruncationConfig(Section):
    """How many leading codes each training sample keeps."""

    distribution: Literal["uniform", "geometric", "powers_of_two", "none"] = Field(
        "uniform", description="distribution of prefix lengths; none is the unordered baseline"
    )
    ratio: float = Field(0.9, gt=0, lt=1, description="factor from one length to the next, geometric only")
    decode: Literal["share", "both"] = Field(
        "both",
        description="both: each step decodes every sample at full length and at a prefix; share: at one of the two",
    )
    full_share: float = Field(
        0.5, ge=0, le=1, description="if decode is share: share of the samples that stay at full length"
    )
    full_weight: float = Field(
        0.7, gt=0, lt=1, description="if decode is both: weight of the full length's loss; the prefix has the rest"
    )
    warmup: float = Field(0.1, ge=0, lt=1, description="share of the steps that start the training at full length only")
    balance: bool = Field(
        True, description="divide each length's loss by its running mean, so that long and short prefixes count alike"
    )


class AutoencoderConfig(Section):
    """The ordered autoencoder around the modality's networks, or something simpler in place of the networks."""

    kind: Literal["ordered", "pca", "identity"] = Field(
        "ordered",
        description="ordered: the modality's networks; pca: principal components of the training samples; identity: "
        "no networks, codes are the values of a sample",
    )
    axis: Literal["channel", "spatial"] = Field(
        "channel", description="whether a code is a channel or a position of the latent map"
    )
    code_length: int | None = Field(
        None,
        ge=1,
        le=MOST_CODES,
        description="keep only this many channels or principal components as codes; null: all of them",
    )
    quantizer: AnyQuantizer = Field(VQConfig(), description="how vectors become codes")
    truncation: TruncationConfig = Field(TruncationConfig(), description="prefix lengths in training")
    tell_decoder: bool = Field(True, description="append the prefix mask to the decoder's input")
    dropped: Literal["zeros", "learned"] = Field("zeros", description="what stands in for a dropped code")
    order: ValueOrder | None = Field(
        None,
        description="if kind is identity, which values come first. raster: row by row, the channels of a place in "
        "turn; subscale: slice after slice, of which the first is a smaller picture; multiscale: a smaller picture, "
        "then what doubles it, until it is whole; bits: the first bit of all values, then the next; null: raster",
    )
    slices: int | None = Field(
        None,
        ge=2,
        le=1024,
        description="if order is subscale or multiscale, how many times smaller a side of the first picture is; "
        "null: 2",
    )
    missing: Literal["zeros", "neighbours"] | None = Field(
        None,
        description="if kind is identity, what stands in for missing values: 0, or the nearest value above or to the "
        "left; null: neighbours",
    )

    @property
    def value_order(self) -> ValueOrder:
        """The order of values, if `kind` is identity."""
        return self.order or "raster"

    @property
    def scale(self) -> int:
        """How many times smaller a side of the first picture is; 1 if the order has none."""
        return (self.slices or 2) if self.order in _WITH_SLICES else 1

    @property
    def fills_in(self) -> bool:
        """Whether missing values are taken from their neighbours."""
        return self.missing != "zeros"

    @model_validator(mode="after")
    def _code_length_is_one_of_channels(self) -> AutoencoderConfig:
        if self.kind == "ordered" and self.axis == "spatial" and self.code_length is not None:
            raise ValueError(
                f"autoencoder.code_length={self.code_length} keeps channels, and with autoencoder.axis=spatial codes "
                "are positions: leave it out, or use autoencoder.axis=channel"
            )
        return self

    @model_validator(mode="after")
    def _levels_are_of_values(self) -> AutoencoderConfig:
        levels = isinstance(self.quantizer, LevelsConfig)
        unchanged = self.code_length is None and self.dropped == "zeros" and not self.tell_decoder
        if self.kind == "identity" and not (levels and unchanged):
            raise ValueError(
                "autoencoder.kind=identity has no networks: it needs autoencoder.quantizer of kind=levels, "
                "tell_decoder=false, dropped=zeros and code_length=null, as --baseline identity sets them"
            )
        if self.kind != "identity" and levels:
            raise ValueError(
                "autoencoder.quantizer.kind=levels rounds the values of samples: it needs autoencoder.kind=identity, "
                "as --baseline identity sets it"
            )
        return self

    @model_validator(mode="after")
    def _order_is_of_values(self) -> AutoencoderConfig:
        given = [name for name in ("order", "slices", "missing") if getattr(self, name) is not None]
        if self.kind != "identity" and given:
            raise ValueError(
                f"autoencoder.{given[0]}={getattr(self, given[0])} is for autoencoder.kind=identity: codes of "
                f"kind={self.kind} have an order of their own, so leave it out"
            )
        if self.slices is not None and self.order not in _WITH_SLICES:
            raise ValueError(
                f"autoencoder.slices={self.slices} means nothing with autoencoder.order={self.value_order}: leave it "
                f"out, or use order={' or '.join(_WITH_SLICES)}"
            )
        size = self.quantizer.codebook_size or 0
        if self.order == "bits" and size & (size - 1):
            below = 2 ** (size.bit_length() - 1)
            raise ValueError(
                f"autoencoder.order=bits needs a power of two as autoencoder.quantizer.size, found {size}: use {below} "
                f"or {2 * below}"
            )
        return self

    @model_validator(mode="after")
    def _principal_components_are_numbers(self) -> AutoencoderConfig:
        fsq = isinstance(self.quantizer, FSQConfig)
        shared = isinstance(self.quantizer, VQConfig) and self.quantizer.shared
        if self.kind == "pca" and (fsq or shared or self.tell_decoder or self.dropped != "zeros"):
            raise ValueError(
                "autoencoder.kind=pca is linear, with a codebook for each component: it needs autoencoder.quantizer "
                "of kind=vq and shared=false, tell_decoder=false and dropped=zeros, as --baseline pca sets them"
            )
        return self


class AutoencoderTraining(Section):
    """Stage `autoencoder`."""

    steps: int = Field(5000, ge=1, description="optimiser steps")
    batch_size: int = Field(128, ge=1, description="samples per step")
    learning_rate: float = Field(2e-3, gt=0, description="peak learning rate")
    weight_decay: float = Field(0.0, ge=0, description="AdamW's weight decay")
    gradient_clip: float = Field(1.0, gt=0, description="largest gradient norm")
    validations: int = Field(10, ge=1, description="how often the model is validated, previewed and kept if best")
    validation_samples: int = Field(2000, ge=1, description="validation samples used while training")
    final_samples: int | None = Field(
        None, ge=1, description="validation samples on which the result is measured at every budget; null: all"
    )


class CodesTraining(Section):
    """Stage `codes`."""

    batch_size: int = Field(512, ge=1, description="samples per batch")
    copies: int = Field(1, ge=1, le=1000, description="augmented views of the training set that are encoded")
    samples: int | None = Field(
        None, ge=1, description="samples that are encoded of each part of the data, evenly spread; null: all"
    )
    online: bool = Field(
        False,
        description="encode training samples while the prior learns, each time in a new view, instead of into a file; "
        "the prior then needs the data",
    )

    @model_validator(mode="after")
    def _copies_are_in_a_file(self) -> CodesTraining:
        if self.online and self.copies > 1:
            raise ValueError(
                f"copies={self.copies} are written to a file, and online=true writes none, as it draws a new view each "
                "time: leave copies=1"
            )
        return self


class PriorTraining(Section):
    """Stage `prior`."""

    steps: int = Field(5000, ge=1, description="optimiser steps")
    batch_size: int = Field(128, ge=1, description="code sequences per step")
    learning_rate: float = Field(1e-3, gt=0, description="peak learning rate")
    weight_decay: float = Field(0.1, ge=0, description="AdamW's weight decay")
    gradient_clip: float = Field(1.0, gt=0, description="largest gradient norm")
    validations: int = Field(10, ge=1, description="how often the model is validated and kept if best")
    validation_samples: int = Field(5000, ge=1, description="validation sequences used while training")


class TrainingConfig(Section):
    """The three stages and what they run on."""

    device: Device = Field("auto", description="auto, cpu, cuda, cuda:N or mps")
    precision: Precision = Field("auto", description="auto: bfloat16 if the hardware multiplies it, else float32")
    workers: int = Field(2, ge=0, le=256, description="worker processes for data that does not fit into memory")
    deterministic: bool = Field(
        False, description="train to the same weights every time on a GPU too, slower; on the CPU they always are"
    )
    capture: Literal["auto", True, False] = Field(
        "auto",
        description="capture training steps as CUDA graphs, which saves the starts of kernels; auto: on one GPU, if "
        "they can be captured",
    )
    checkpoint_minutes: float = Field(10.0, ge=0, description="time between checkpoints")
    autoencoder: AutoencoderTraining = Field(AutoencoderTraining(), description="stage autoencoder")
    codes: CodesTraining = Field(CodesTraining(), description="stage codes")
    prior: PriorTraining = Field(PriorTraining(), description="stage prior")


class CoreConfig(Section):
    """The sections that core owns; the modality's own stand beside them."""

    modality: str = Field("image", description="name of the modality plugin")
    seed: int = Field(0, ge=0, lt=2**63, description="seed of weights, data order and truncation")
    autoencoder: AutoencoderConfig = Field(AutoencoderConfig(), description="the ordered autoencoder")
    prior: AnyPrior = Field(TransformerConfig(), description="the model of the codes")
    training: TrainingConfig = Field(TrainingConfig(), description="the three training stages")


@dataclass(frozen=True)
class Config:
    """A complete, checked configuration: core's sections and the modality's."""

    core: CoreConfig
    modality: BaseModel

    def to_dict(self) -> dict[str, Any]:
        """Plain values in the layout of a YAML config."""
        return {**self.core.model_dump(mode="json"), **self.modality.model_dump(mode="json")}

    def to_yaml(self) -> str:
        """YAML that `parse_config` reads back to an equal config."""
        return yaml.safe_dump(self.to_dict(), sort_keys=False)
