"""Baselines: models to compare an ordered model with. Each one changes some values of any recipe."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from anytime_core.errors import UsageError, nearest
from anytime_core.quantizers.config import QuantizerSection, VQConfig

_VQ = ("autoencoder.quantizer.kind=vq", "autoencoder.quantizer.size={size}")
_UNORDERED = "autoencoder.truncation.distribution=none"
_ALL_CODES = "prior.code_length=null"


@dataclass(frozen=True)
class Baseline:
    """A change of a recipe.

    Attributes:
        description: one line.
        changes: overrides, see `apply_overrides`; `{size}` stands for the recipe's codebook size, and `{levels}` for
            the levels of finite scalar quantisation that come closest to it.
    """

    description: str
    changes: tuple[str, ...]

    def overrides(self, quantizer: QuantizerSection) -> list[str]:
        """The changes of a recipe that has `quantizer`."""
        # For continuous codes it is the default size.
        size = quantizer.codebook_size or VQConfig().size
        return [change.format(size=size, levels=list(fsq_levels(size))) for change in self.changes]


def _dedicated(code_length: int | str) -> Baseline:
    return Baseline(
        f"exactly {code_length} codes, never truncated: one of the models that an ordered model replaces",
        (_UNORDERED, f"autoencoder.code_length={code_length}", _ALL_CODES),
    )


BASELINES: Mapping[str, Baseline] = {
    "unordered": Baseline("never truncated, so that codes have no order", (_UNORDERED,)),
    "dedicated-N": _dedicated("N"),
    "spatial": Baseline("a code is a position of the latent map", ("autoencoder.axis=spatial", _ALL_CODES)),
    "pca": Baseline(
        "principal components, each quantised by itself: linear codes, ordered without training",
        (
            "autoencoder.kind=pca",
            *_VQ,
            "autoencoder.quantizer.shared=false",
            "autoencoder.tell_decoder=false",
            "autoencoder.dropped=zeros",
            "autoencoder.order=null",
            "autoencoder.slices=null",
            "autoencoder.missing=null",
        ),
    ),
    "identity": Baseline(
        "no autoencoder: codes are the values of a sample, such as pixels, of 256 levels",
        (
            "autoencoder.kind=identity",
            "autoencoder.quantizer.kind=levels",
            "autoencoder.quantizer.size=256",
            "autoencoder.tell_decoder=false",
            "autoencoder.dropped=zeros",
            "autoencoder.code_length=null",
            _ALL_CODES,
        ),
    ),
    "truncation-uniform": Baseline(
        "every prefix length equally often", ("autoencoder.truncation.distribution=uniform",)
    ),
    "truncation-geometric": Baseline(
        "each prefix length less often than the one before", ("autoencoder.truncation.distribution=geometric",)
    ),
    "truncation-powers-of-two": Baseline(
        "prefix lengths 1, 2, 4, ...", ("autoencoder.truncation.distribution=powers_of_two",)
    ),
    "truncation-always": Baseline(
        "every sample at a prefix length, none at full length",
        ("autoencoder.truncation.decode=share", "autoencoder.truncation.full_share=0"),
    ),
    "truncation-both": Baseline(
        "every sample at full length and at a prefix length", ("autoencoder.truncation.decode=both",)
    ),
    "truncation-share-25": Baseline(
        "a quarter of the samples at full length, the others at a prefix length",
        ("autoencoder.truncation.decode=share", "autoencoder.truncation.full_share=0.25"),
    ),
    "truncation-share-50": Baseline(
        "half of the samples at full length, the others at a prefix length",
        ("autoencoder.truncation.decode=share", "autoencoder.truncation.full_share=0.5"),
    ),
    "quantizer-ema": Baseline("the codebook is a moving average", (*_VQ, "autoencoder.quantizer.update=ema")),
    "quantizer-gradient": Baseline(
        "the codebook is trained by a loss of its own", (*_VQ, "autoencoder.quantizer.update=gradient")
    ),
    "quantizer-shared": Baseline("one codebook for all positions", (*_VQ, "autoencoder.quantizer.shared=true")),
    "quantizer-per-position": Baseline("a codebook for each position", (*_VQ, "autoencoder.quantizer.shared=false")),
    "quantizer-fsq": Baseline(
        "finite scalar quantisation with nearly as many codes",
        ("autoencoder.quantizer.kind=fsq", "autoencoder.quantizer.levels={levels}"),
    ),
}
"""Baselines by name; `dedicated-N` stands for a baseline with any number N of codes."""


def find_baseline(name: str) -> Baseline:
    """The baseline called `name`. Raises UsageError, which names the nearest and all of them, if there is none."""
    dedicated = re.fullmatch(r"dedicated-([1-9][0-9]*)", name)
    if dedicated:
        return _dedicated(int(dedicated[1]))
    if name not in BASELINES or name == "dedicated-N":
        number = ", with a number for N" if name.startswith("dedicated") else nearest(name, BASELINES)
        raise UsageError(f"no baseline '{name}'{number}: choose {', '.join(BASELINES)}")
    return BASELINES[name]


def fsq_levels(size: int) -> tuple[int, ...]:
    """The levels of finite scalar quantisation with the largest product that is not above `size`, the largest first.

    Each is 5 to 8, as in table 1 of Mentzer et al. 2023, who advise against fewer than 5. Under 25 codes there is room
    for only one scalar, with `size` levels.
    """
    candidates = (
        levels
        for scalars in range(2, round(math.log(size, 5)) + 1)
        for levels in itertools.combinations_with_replacement((8, 7, 6, 5), scalars)
        if math.prod(levels) <= size
    )
    return max(candidates, key=math.prod, default=(size,))
