"""Properties of a set of picture files, found before the first is used: sizes, frames, and the value of white."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from anytime_core.data.shards import ShardFile
from anytime_core.display import counted, shown
from anytime_core.errors import DataError
from anytime_image.fitting import fitting_note
from anytime_image.reading import Description, Rendering, describe, full_scale

_FORMS = 8


Place = tuple[int, int]
"""A part of the data, 0 for training and 1 for validation, and a file's position in it."""


@dataclass(frozen=True)
class Survey:
    """What was seen.

    Attributes:
        parts: the files of each part.
        looked_at: how many files were looked at.
        described: the properties of those that can be read.
    """

    parts: Sequence[Sequence[Path | ShardFile]]
    looked_at: int
    described: dict[Place, Description]

    def white(self, kind: str) -> float | None:
        """The value of white in greys of `kind`, the same for all; None if there are none."""
        largest = [seen.largest for seen in self.described.values() if seen.kind == kind]
        return full_scale(max(largest), kind) if largest else None

    def frames(self, part: int) -> list[int]:
        """How many pictures each file of a part holds, 1 if that is not known."""
        places = ((part, position) for position in range(len(self.parts[part])))
        return [self.described[place].frames if place in self.described else 1 for place in places]

    @property
    def forms(self) -> dict[str, int]:
        """The most frequent sizes, such as `640x480`, and how many files have them."""
        counts = Counter("{}x{}".format(*seen.size) for seen in self.described.values())
        forms = dict(counts.most_common(_FORMS))
        others = counts.total() - sum(forms.values())
        return {**forms, **({"other sizes": others} if others else {})}

    def notes(self, side: int, rendering: Rendering, *, every_frame: bool) -> tuple[str, ...]:
        """Sentences that tell users how the pictures become squares of `side` pixels."""
        notes: list[str] = []
        files = sum(map(len, self.parts))
        if self.looked_at < files:
            notes.append(f"{self.looked_at:,} of {counted(files, 'files')} were looked at for sizes, pages and white")
        notes += fitting_note(Counter(seen.size for seen in self.described.values()), side, rendering.fit)
        animated = [place for place, seen in self.described.items() if seen.frames > 1]
        if animated and every_frame:
            pictures = sum(self.described[place].frames for place in animated)
            notes.append(
                f"{pictures:,} pictures come from {counted(len(animated), 'files')} of several frames or pages"
            )
        elif animated:
            notes.append(
                f"of {counted(len(animated), 'files')} of several frames or pages, such as {self._name(animated[0])}, "
                "the first picture is taken; data.frames=all takes all"
            )
        for kind, noun, key, white in (
            ("integer", "greys of 16 and 32 bits", "data.white", rendering.white),
            ("float", "floating-point greys", "data.float_white", rendering.float_white),
        ):
            deep = {place: seen for place, seen in self.described.items() if seen.kind == kind}
            if not deep or white is None:
                continue
            largest = max(seen.largest for seen in deep.values())
            notes.append(f"in {counted(len(deep), noun)}, of at most {largest:g}, {white:g} is white ({key})")
            if negative := [place for place, seen in deep.items() if seen.smallest < 0]:
                example = self._name(negative[0])
                notes.append(f"values below 0 are black in {counted(len(negative), noun)}, such as {example}")
        return tuple(notes)

    def _name(self, place: Place) -> str:
        part, position = place
        return shown(self.parts[part][position])


def survey(parts: Sequence[Sequence[Path | ShardFile]], *, every_frame: bool, most: int | None = None) -> Survey:
    """Look at all files, or at `most` of them spread evenly; unreadable ones are reported when they are used."""
    places = [(part, position) for part, files in enumerate(parts) for position in range(len(files))]
    if most is not None and len(places) > most:
        places = [places[index * len(places) // most] for index in range(most)]
    described: dict[Place, Description] = {}
    for part, position in places:
        try:
            described[part, position] = describe(parts[part][position], count_frames=every_frame)
        except DataError:
            continue
    return Survey(parts, len(places), described)
