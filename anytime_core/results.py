"""The results of a training's stages, as `run.json` keeps them: a type for each stage."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
    with_config,
)
from typing_extensions import TypedDict  # pydantic takes that of typing from Python 3.12 on

from anytime_core.data_space import BITS, NATS
from anytime_core.display import shown
from anytime_core.section import MOST_CODES

Finite = Annotated[float, Field(allow_inf_nan=False)]
Text = Annotated[str, Field(max_length=1000)]
Codes = Annotated[int, Field(ge=1, le=MOST_CODES)]
_Share = Annotated[float, Field(ge=0, le=1)]


class Recorded(BaseModel):
    """Base of everything in `run.json`. Fields that later versions add are kept."""

    model_config = ConfigDict(extra="allow")


class _Validation(Recorded):
    """Results on held-out samples. Earlier versions recorded fewer fields; writing adds none to these."""

    @model_serializer(mode="wrap")
    def _only_what_was_said(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in serialize(self).items() if name in self.model_fields_set}


class AutoencoderValidation(_Validation):
    """How well the autoencoder reconstructs held-out samples.

    Attributes:
        codes: the numbers of leading codes that were measured, ascending.
        reconstruction: measure -> its mean at each of `codes`.
        shuffled: `loss` -> the same if each sample is compared with the reconstruction of another one.
        mean_sample: `loss` -> its mean if every sample is reconstructed as the mean of the training samples.
        codebook_use: the share of the codebook's entries that occur; None for continuous codes.
        samples: the number of samples.
    """

    codes: tuple[Codes, ...] = ()
    reconstruction: dict[Text, tuple[Finite, ...]] = {}
    shuffled: dict[Text, tuple[Finite, ...]] = {}
    mean_sample: dict[Text, Finite] = {}
    codebook_use: _Share | None = None
    samples: int | None = Field(None, ge=0)

    @model_validator(mode="after")
    def _check_lengths(self) -> Self:
        if list(self.codes) != sorted(set(self.codes)):
            raise ValueError("codes are not ascending")
        for measure, values in (*self.reconstruction.items(), *self.shuffled.items()):
            if len(values) != len(self.codes):
                raise ValueError(f"{shown(measure)} has {len(values)} values for {len(self.codes)} numbers of codes")
        return self


class PriorValidation(_Validation):
    """How well the prior predicts the codes of held-out samples.

    Attributes:
        bits_per_code: the mean negative log-likelihood of a code, or an upper bound of it.
        standard_error: the standard error of `bits_per_code`.
        bits_per_position: the mean bits of each code, [N].
        bits_per_step: for an order-agnostic prior: digit -> number of known codes -> bits.
        nats_per_sample: of all codes, if they are binary values of data, see `anytime_core.data_space`.
        bits_per_dimension: of all codes, if they are other values of data, or digits of these.
        bound: whether all these are upper bounds.
        samples: the number of samples.
    """

    bits_per_code: Finite | None = None
    standard_error: Finite | None = None
    bits_per_position: tuple[Finite, ...] = ()
    bits_per_step: tuple[tuple[Finite, ...], ...] = ()
    nats_per_sample: Finite | None = None
    bits_per_dimension: Finite | None = None
    bound: bool = False
    samples: int | None = Field(None, ge=0)

    @property
    def bounded(self) -> bool:
        """Whether these are upper bounds; earlier versions only said the bits by steps of order-agnostic priors."""
        return self.bound or bool(self.bits_per_step)

    @property
    def in_words(self) -> str:
        """What the prior needs, such as `at most 3.912 bits per code`; empty if nobody measured it."""
        at_most = "at most " if self.bounded else ""
        for value, form, unit in (
            (self.nats_per_sample, ".2f", NATS),
            (self.bits_per_dimension, ".4f", BITS),
            (self.bits_per_code, ".3f", "bits per code"),
        ):
            if value is not None:
                return f"{at_most}{value:{form}} {unit}"
        return ""


class StageResult(Recorded):
    """A finished stage.

    Attributes:
        steps: the number of steps in all.
        seconds: what they took, interruptions left out.
        digest: of the weights that it kept, by which they are known; None if it has none, or is of an earlier version.
    """

    steps: int = Field(ge=0)
    seconds: Finite = Field(ge=0)
    digest: Text | None = None


class AutoencoderResult(StageResult):
    """Stage `autoencoder`: the weights that were kept, measured at every budget."""

    validation: AutoencoderValidation = AutoencoderValidation()


class CodesFile(Recorded):
    """A file of codes or labels as it was written.

    Attributes:
        rows: the number of samples, copies counted.
        digest: of the whole file.
    """

    rows: int = Field(ge=1)
    digest: Text


class CodesResult(StageResult):
    """Stage `codes`: the codes of the data, which are in files.

    Attributes:
        files: name in `codes/` -> the file; empty in records of earlier versions, and for data without labels there is
            no file of them.
    """

    files: dict[Text, CodesFile] = {}


class PluginRecord(Recorded):
    """A plugin that a run was trained with."""

    distribution: Text
    version: Text

    def __str__(self) -> str:
        return f"{self.distribution} {self.version}"


class PriorResult(StageResult):
    """Stage `prior`: the weights that were kept, measured on all held-out samples.

    Attributes:
        plugin: the plugin that the prior comes from; None if core has it.
    """

    validation: PriorValidation = PriorValidation()
    plugin: PluginRecord | None = None


@with_config(ConfigDict(extra="forbid"))
class Stages(TypedDict, total=False):
    """The stages that are finished."""

    autoencoder: AutoencoderResult
    codes: CodesResult
    prior: PriorResult
