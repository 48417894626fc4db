"""Checks of what a quantizer and its section say about it."""

from __future__ import annotations

import math
from pathlib import Path

from anytime_core.quantizers.base import CodeSpec, Quantizer
from anytime_core.quantizers.config import QuantizerSection
from anytime_core.testing.configs import check_fields, check_round_trip
from anytime_core.testing.quantizers.subject import DIM, Subject, check, length_of


@check()
def section_is_described(subject: Subject, folder: Path) -> None:
    """The section is a QuantizerSection that refuses unknown keys; every field has a default and a description."""
    section = subject.section
    assert issubclass(subject.quantizer, Quantizer), f"{subject.quantizer!r} is not a Quantizer"
    assert issubclass(section, QuantizerSection), f"its section is {section!r}, not a QuantizerSection"
    check_fields(section)
    check_round_trip(section, subject.config)


@check()
def codebook_size_is_known_beforehand(subject: Subject, folder: Path) -> None:
    """The section says the codebook size that the quantizer has."""
    said, size = subject.section.model_validate(subject.config).codebook_size, subject.make().size
    assert said == size, f"the section's codebook_size is {said}, the quantizer's size {size}"


@check()
def codes_can_be_described(subject: Subject, folder: Path) -> None:
    """Size and digits make a CodeSpec; the digits number every code once."""
    quantizer = subject.make()
    length = length_of(quantizer)
    spec = CodeSpec(length=length, size=quantizer.size, dim=DIM, grid=(length,), radices=quantizer.radices)
    if spec.radices is not None:
        product = math.prod(spec.radices)
        assert product == spec.size, (
            f"digits of {spec.radices} values number {product} codes, but there are {spec.size}"
        )
