"""What the configuration of a training may say, in typed sections; `config_parsing` reads it.

A config has core's own sections (`Config`) and the sections that the modality plugin declares in its own pydantic model
(for images `data`, `network`, `loss`); in YAML they stand side by side at the top level.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    field_validator,
    model_validator,
)

MOST_CODES = 2**24
"""The largest codebook, and the longest code."""

Precision = Literal["auto", "float32", "bfloat16", "float16"]


def _known_device(name: str) -> str:
    if not re.fullmatch(r"auto|cpu|mps|cuda(:[0-9]{1,3})?", name):
        raise ValueError("use auto, cpu, cuda, cuda:N or mps")
    return name


Device = Annotated[str, AfterValidator(_known_device)]


class Section(BaseModel):
    """Base of every config section: unknown keys are mistakes, values cannot change after parsing."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class VQConfig(Section):
    """Vector quantisation with a learned codebook."""

    kind: Literal["vq"] = Field("vq", description="vector quantisation")
    size: int = Field(512, ge=2, le=MOST_CODES, description="codebook size K")
    shared: bool = Field(True, description="one codebook for all positions, or one per position")
    update: Literal["ema", "gradient"] = Field("ema", description="moving average, or the paper's codebook loss")
    decay: float = Field(0.99, ge=0, lt=1, description="decay of the moving average")
    commitment: float = Field(
        0.25, ge=0, description="weight of the commitment loss beside the relative one of reconstruction"
    )
    dead_threshold: float = Field(
        0.1, ge=0, lt=1, description="share of uniform use under which a code restarts; 0 never restarts one"
    )


class FSQConfig(Section):
    """Finite scalar quantisation."""

    kind: Literal["fsq"] = Field("fsq", description="finite scalar quantisation")
    levels: tuple[Annotated[int, Field(ge=2, le=2**16)], ...] = Field(
        (8, 8, 8), min_length=1, max_length=16, description="levels of each scalar; K is their product"
    )
    shared: bool = Field(True, description="one projection for all positions, or one per position")

    @field_validator("levels")
    @classmethod
    def _not_too_many_codes(cls, levels: tuple[int, ...]) -> tuple[int, ...]:
        if math.prod(levels) > MOST_CODES:
            raise ValueError(f"the product of the levels is more than {MOST_CODES} codes")
        return levels


class ContinuousConfig(Section):
    """No quantisation: continuous codes, for analysis; no prior can be trained on them."""

    kind: Literal["none"] = Field("none", description="continuous codes")


def by_kind(default: str) -> Discriminator:
    """Choose a section's type among those of a union by its `kind`, which may be left out."""

    def kind(value: Any) -> str:
        return str(value.get("kind", default) if isinstance(value, Mapping) else getattr(value, "kind", default))

    return Discriminator(kind)


QuantizerConfig = Annotated[
    Annotated[VQConfig, Tag("vq")] | Annotated[FSQConfig, Tag("fsq")] | Annotated[ContinuousConfig, Tag("none")],
    by_kind("vq"),
]


class TruncationConfig(Section):
    """How many leading codes each training sample keeps."""

    distribution: Literal["uniform", "geometric", "powers_of_two", "none"] = Field(
        "uniform", description="distribution of prefix lengths; none is the unordered baseline"
    )
    ratio: float = Field(0.9, gt=0, lt=1, description="factor from one length to the next, geometric only")
    decode: Literal["share", "both"] = Field(
        "both", description="both: each step decodes the full length and a prefix; share: one of them per sample"
    )
    full_share: float = Field(0.5, ge=0, le=1, description="share: how many samples stay at full length")
    full_weight: float = Field(
        0.7, gt=0, lt=1, description="both: weight of the full length's loss, the prefix has the rest"
    )
    warmup: float = Field(0.1, ge=0, lt=1, description="share of the steps, at the start, at full length only")
    balance: bool = Field(
        True, description="divide each length's loss by its running mean, so that lengths count by relative error"
    )


class AutoencoderConfig(Section):
    """The ordered autoencoder around the modality's networks, or something simpler in place of the networks."""

    kind: Literal["ordered", "pca", "identity"] = Field(
        "ordered",
        description="ordered: the modality's networks; pca: principal components of the training samples; identity: "
        "none, codes are the values of a sample, rounded",
    )
    axis: Literal["channel", "spatial"] = Field(
        "channel", description="a code is a channel of the latent map, or a position of it"
    )
    code_length: int | None = Field(
        None,
        ge=1,
        le=MOST_CODES,
        description="keep only this many channels or principal components as codes; null: all of them",
    )
    quantizer: QuantizerConfig = Field(VQConfig(), description="how vectors become codes")
    truncation: TruncationConfig = Field(TruncationConfig(), description="prefix lengths in training")
    tell_decoder: bool = Field(True, description="append the prefix mask to the decoder's input")
    dropped: Literal["zeros", "learned"] = Field("zeros", description="what stands in for a dropped code")

    @model_validator(mode="after")
    def _code_length_is_one_of_channels(self) -> AutoencoderConfig:
        if self.kind == "ordered" and self.axis == "spatial" and self.code_length is not None:
            raise ValueError(
                f"autoencoder.code_length={self.code_length} keeps channels, and with autoencoder.axis=spatial codes "
                "are positions: leave it out, or use autoencoder.axis=channel"
            )
        return self

    @model_validator(mode="after")
    def _values_share_their_levels(self) -> AutoencoderConfig:
        shared = isinstance(self.quantizer, VQConfig) and self.quantizer.shared
        unchanged = self.code_length is None and self.dropped == "zeros" and not self.tell_decoder
        if self.kind == "identity" and not (shared and unchanged):
            raise ValueError(
                "autoencoder.kind=identity has no networks: it needs autoencoder.quantizer of kind=vq and shared=true, "
                "tell_decoder=false, dropped=zeros and code_length=null, as --baseline identity sets them"
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


class _PriorSection(Section):
    """What all priors, which are transformers, have in common."""

    kind: str
    layers: int = Field(4, ge=1, le=256, description="number of blocks")
    width: int = Field(256, ge=1, le=2**16, description="width of the residual stream, a multiple of heads")
    heads: int = Field(4, ge=1, le=2**16, description="attention heads")
    feedforward: int = Field(4, ge=1, le=2**10, description="width of the feed-forward layer, in multiples of width")
    dropout: float = Field(0.1, ge=0, lt=1, description="dropout in training")
    code_vectors: bool = Field(True, description="give the prior the code vectors, at input and output")
    class_conditional: Literal["auto", True, False] = Field(
        "auto", description="condition on the class label; auto: where the data has labels"
    )
    label_dropout: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="share of the labels that are hidden in training, which guidance needs; 0.1 is usual",
    )
    code_length: int | None = Field(
        None, ge=1, le=MOST_CODES, description="learn only this many leading codes; null: all of them"
    )


class TransformerConfig(_PriorSection):
    """The decoder-only transformer prior: codes from first to last."""

    kind: Literal["transformer"] = Field("transformer", description="codes from first to last, one a network call")


class ARDMConfig(_PriorSection):
    """The order-agnostic prior: codes in any order, any number of them a network call."""

    kind: Literal["ardm"] = Field("ardm", description="codes in any order, any number of them a network call")
    base: int | Literal["levels"] | None = Field(
        None,
        description="draw codes digit by digit in this base, most significant first; levels: digits are the levels of "
        "fsq codes; null: each code at once",
    )
    cross_entropy: float = Field(1e-3, ge=0, description="weight of the plain cross-entropy beside the bound")
    time_input: bool = Field(False, description="tell the network what share of the codes is known")
    prefix_share: float = Field(
        0.2, ge=0, lt=1, description="share of the training sequences that are cut to a random prefix"
    )

    @field_validator("base")
    @classmethod
    def _at_least_two(cls, base: int | str | None) -> int | str | None:
        if isinstance(base, int) and not 2 <= base <= MOST_CODES:
            raise ValueError(f"a base is at least 2 and at most {MOST_CODES}")
        return base


PriorConfig = Annotated[
    Annotated[TransformerConfig, Tag("transformer")] | Annotated[ARDMConfig, Tag("ardm")], by_kind("transformer")
]


class AutoencoderTraining(Section):
    """Stage `autoencoder`."""

    steps: int = Field(5000, ge=1, description="optimiser steps")
    batch_size: int = Field(128, ge=1, description="samples a step")
    learning_rate: float = Field(2e-3, gt=0, description="peak learning rate")
    weight_decay: float = Field(0.0, ge=0, description="AdamW's weight decay")
    gradient_clip: float = Field(1.0, gt=0, description="largest gradient norm")
    validations: int = Field(10, ge=1, description="how often the model is validated, previewed and kept if best")
    validation_samples: int = Field(2000, ge=1, description="validation samples used while training")
    final_samples: int | None = Field(
        None, ge=1, description="validation samples that the result is measured on at every budget; null: all"
    )


class CodesTraining(Section):
    """Stage `codes`."""

    batch_size: int = Field(512, ge=1, description="samples a batch")
    copies: int = Field(1, ge=1, le=1000, description="augmented views of the training set that are encoded")
    samples: int | None = Field(
        None, ge=1, description="samples of each part that are encoded, evenly spread over it; null: all"
    )


class PriorTraining(Section):
    """Stage `prior`."""

    steps: int = Field(5000, ge=1, description="optimiser steps")
    batch_size: int = Field(128, ge=1, description="code sequences a step")
    learning_rate: float = Field(1e-3, gt=0, description="peak learning rate")
    weight_decay: float = Field(0.1, ge=0, description="AdamW's weight decay")
    gradient_clip: float = Field(1.0, gt=0, description="largest gradient norm")
    validations: int = Field(10, ge=1, description="how often the model is validated and kept if best")
    validation_samples: int = Field(5000, ge=1, description="validation sequences used while training")


class TrainingConfig(Section):
    """The three stages and what they run on."""

    device: Device = Field("auto", description="auto, cpu, cuda, cuda:N or mps")
    precision: Precision = Field("auto", description="auto: bfloat16 where the hardware multiplies it, else float32")
    workers: int = Field(2, ge=0, le=256, description="worker processes for data that does not fit into memory")
    deterministic: bool = Field(
        False, description="give the same weights at every training on a GPU too, slower; on the CPU they always are"
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
    prior: PriorConfig = Field(TransformerConfig(), description="the model of the codes")
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
