"""Samples as an evaluation's page shows them: pictures of many, and some of them to play."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sheet:
    """A picture of some samples, with some of them as files where one plays them.

    Attributes:
        caption: what they are.
        picture: a PNG of all samples, for sounds their spectrograms.
        media: the first samples as files of type `media_type`, empty where the picture says it all.
        media_type: such as `audio/wav`.
        labels: what each of `media` is or is meant to be, empty where the data has no labels.
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
        codes: number of them.
        sheets: new samples, the same ones at every budget, reconstructions, and new samples of other runs.
    """

    budget: float
    codes: int
    sheets: tuple[Sheet, ...]


@dataclass(frozen=True)
class PriorityCodes:
    """Samples that share their first codes; each row of the picture shares others.

    Attributes:
        shared: number of codes that those of a row share.
        picture: a PNG.
    """

    shared: int
    picture: bytes
