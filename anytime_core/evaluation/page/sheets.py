"""Samples as an evaluation's page shows them: pictures of many, and some to play."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sheet:
    """A picture of samples, with some of them as files if they can be played.

    Attributes:
        caption: what they are.
        picture: a PNG of all samples; for sounds, of their spectrograms.
        media: the first samples as files of type `media_type`; empty if the picture says it all.
        media_type: such as `audio/wav`.
        labels: the label of each of `media`; empty if the data has no labels.
    """

    caption: str
    picture: bytes
    media: tuple[bytes, ...] = ()
    media_type: str = ""
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Shown:
    """What the page shows at one budget.

    Attributes:
        budget: share of the codes.
        codes: their number.
        sheets: new samples, which are the same at every budget, reconstructions, and new samples of other runs.
    """

    budget: float
    codes: int
    sheets: tuple[Sheet, ...]


@dataclass(frozen=True)
class PriorityCodes:
    """Samples that share their first codes; each row of the picture shares others.

    Attributes:
        shared: number of codes that the samples of a row share.
        picture: a PNG.
    """

    shared: int
    picture: bytes
