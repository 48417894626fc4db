"""How sounds change when they become clips: how many are trimmed, cut and padded, and by how much."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from anytime_audio.datasets.files import ClipForm, PreparedSound
from anytime_core.display import counted


@dataclass
class Change:
    """One way in which sounds change.

    Attributes:
        sounds: how many change.
        shares: the sum over these of the share of each that is removed or added.
    """

    sounds: int = 0
    shares: float = 0.0

    def add(self, changed: int, whole: int) -> None:
        """Count a sound of which `changed` of `whole` audio samples are removed or added."""
        if changed > 0:
            self.sounds += 1
            self.shares += changed / whole


class Fitting:
    """How sounds changed when they became clips.

    Attributes:
        sounds: how many there are.
        trimmed: silence removed at both ends, as a share of the whole sound.
        cut: what is in no clip, as a share of what is left after trimming.
        padded: silence added at the end, as a share of the clips.
    """

    def __init__(self) -> None:
        self.sounds = 0
        self.trimmed, self.cut, self.padded = Change(), Change(), Change()

    def add(self, sound: PreparedSound) -> None:
        """Count one more sound."""
        self.sounds += 1
        self.trimmed.add(sound.whole - sound.kept, sound.whole)
        self.cut.add(sound.kept - sound.length, sound.kept)
        self.padded.add(sound.length - sound.kept, sound.length)

    def numbers(self) -> list[float]:
        """All counts as plain numbers, for `fitting_note`."""
        changes = (self.trimmed, self.cut, self.padded)
        return [self.sounds, *(value for change in changes for value in (change.sounds, change.shares))]


NUMBERS = len(Fitting().numbers())


def fitting_note(parts: Sequence[Sequence[float]], form: ClipForm) -> tuple[str, ...]:
    """A sentence on how the sounds of all parts changed, from the `numbers` of each; none if they did not.

    Args:
        parts: `Fitting.numbers()` of each part.
        form: of the clips.
    """
    sounds, *changes = map(sum, zip(*parts, strict=True))
    told = [
        text.format(number=int(number), share=100 * shares / number)
        for text, number, shares in zip(_CHANGES, changes[::2], changes[1::2], strict=True)
        if number
    ]
    if not told:
        return ()
    clips = f"clips of {form.length / form.rate:.3g} s (data.length={form.length}, data.rate={form.rate})"
    return (f"{counted(int(sounds), 'sounds')} made {clips}; {'; '.join(told)}",)


_CHANGES = (
    "silence trimmed off {number:,} (data.top_db), {share:.0f} % of the sound on average",
    "{number:,} cut (data.cut), {share:.0f} % of what is left on average",
    "{number:,} padded with silence, {share:.0f} % of the clips on average",
)
