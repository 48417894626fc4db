"""The part of a prior's config section that core reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from anytime_core.errors import ConfigError
from anytime_core.section import MOST_CODES, Section

if TYPE_CHECKING:
    from anytime_core.quantizers.base import CodeSpec


class PriorSection(Section):
    """Base of the sections of all priors. Each prior adds its own fields."""

    kind: str
    class_conditional: Literal["auto", True, False] = Field(
        "auto", description="condition on the class label; auto: if the data has labels"
    )
    code_length: int | None = Field(
        None, ge=1, le=MOST_CODES, description="learn only this many leading codes; null: all of them"
    )

    def check(self, spec: CodeSpec) -> None:
        """Raise ConfigError if this prior, with these sizes, cannot model the codes that `spec` describes.

        By default, it refuses continuous codes.
        """
        if spec.size is None:
            raise ConfigError(
                f"prior.kind={self.kind} models discrete codes, but those of autoencoder.quantizer.kind=none are "
                "continuous: use vq or fsq, or train --stage autoencoder alone"
            )

    def derived(self, spec: CodeSpec) -> str:
        """The sizes that follow from the codes that `spec` describes, for people, in a few words; empty if none do."""
        return ""


class SequenceSection(PriorSection):
    """The settings that all priors of the toolkit have in common."""

    dropout: float = Field(0.1, ge=0, lt=1, description="dropout in training")
    code_vectors: bool = Field(True, description="give the prior the code vectors, at input and output")
    label_dropout: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="share of the labels that are hidden in training; guidance needs it, and 0.1 is usual",
    )
