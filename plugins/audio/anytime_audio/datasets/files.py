"""Sound files: reading them at any rate and channel count, preparing clips of them, and writing them.

L is the number of audio samples of a clip.
"""

from __future__ import annotations

import errno
import io
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal, NamedTuple

import numpy as np
import soundfile

from anytime_audio.config import Channels, Encoding
from anytime_audio.datasets.reading import OnRemark, ignore_remark, read_blocks
from anytime_audio.datasets.trimming import Extent, Outline
from anytime_core.data.shards import ShardFile
from anytime_core.errors import DataError

_SUBTYPES: dict[Encoding, str] = {"16bit": "PCM_16", "24bit": "PCM_24", "float": "FLOAT"}
_LONGEST = 2**29  # audio samples that are prepared: three hours at 48 kHz
_HELD = 2**22  # audio samples that are held while the ends to trim are found
_SHORTEST = 0.01  # seconds
_TRIM_WINDOW = 0.032  # seconds
_SILENCE = 1e-4  # three steps of 16-bit sound

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ClipForm:
    """The form of clips.

    Attributes:
        rate: audio samples a second.
        length: L.
        cut: `start` makes one clip of a file, `all` as many as it fills (the last one padded if it is half full).
        top_db: both ends are trimmed where they are this many dB below the peak; None trims nothing.
        peak: the largest absolute value of a file after normalisation.
        channels: see `read_blocks`.
    """

    rate: int
    length: int
    cut: Literal["start", "all"] = "start"
    top_db: float | None = 30.0
    peak: float = 0.95
    channels: Channels = "mean"


@dataclass(frozen=True)
class PreparedSound:
    """A sound that is ready to become clips.

    Attributes:
        path, form: the file, and the form of its clips.
        extent: the part of it that is not trimmed, at `form.rate`.
        sound: this part as float32, if it is short enough to be held; None: it is read again.
        whole: audio samples at `form.rate` before anything was trimmed.
    """

    path: Path | ShardFile
    form: ClipForm
    extent: Extent
    sound: np.ndarray | None
    whole: int

    @property
    def length(self) -> int:
        """The number of audio samples of all clips."""
        if self.form.cut == "start":
            return self.form.length
        return max(1, (self.kept + self.form.length // 2) // self.form.length) * self.form.length

    @property
    def kept(self) -> int:
        """The number of audio samples that are not trimmed."""
        return self.extent.stop - self.extent.start

    def clips(self) -> Iterator[np.ndarray]:
        """Clips, float32 [n, L], a few at a time: normalised to the peak, and padded with silence at the end."""
        left, pending = self.length, np.zeros(0, np.float32)
        for block in self._kept():
            pending = np.concatenate([pending, block[: left - len(pending)] * (self.form.peak / self.extent.peak)])
            whole = len(pending) // self.form.length * self.form.length
            if whole:
                yield pending[:whole].reshape(-1, self.form.length)
                pending, left = pending[whole:], left - whole
            if left == 0:
                return
        yield np.pad(pending, (0, left - len(pending))).reshape(-1, self.form.length)

    def _kept(self) -> Iterator[np.ndarray]:
        """The sound without its trimmed ends."""
        if self.sound is not None:
            yield self.sound
            return
        position = 0
        for block in read_blocks(self.path, self.form.rate, self.form.channels):
            start, stop = (max(0, edge - position) for edge in self.extent[:2])
            yield block[start:stop]
            position += len(block)
            if position >= self.extent.stop:
                return


def prepare(path: Path | ShardFile, form: ClipForm, remark: OnRemark = ignore_remark) -> PreparedSound:
    """Find out how a file becomes clips: what is trimmed, and its peak. A long file is not held in memory.

    Raises:
        DataError: as in `read_blocks`, or the file holds only silence.
    """
    window = max(4, round(_TRIM_WINDOW * form.rate))
    blocks: list[np.ndarray] = []
    outline: Outline | None = None
    length = 0
    for block in read_blocks(path, form.rate, form.channels, remark):
        length += len(block)
        if length > _LONGEST:
            raise DataError(f"{path} is longer than {_LONGEST / form.rate / 3600:.1f} hours: cut it into parts")
        blocks.append(block)
        if outline is None and length > _HELD:
            outline = Outline(window, window // 4)
        if outline is not None:
            for held in blocks:
                outline.add(held)
            blocks.clear()
    sound: np.ndarray | None = None
    if outline is not None:
        extent = outline.extent(form.top_db)
    else:
        sound = np.concatenate(blocks)
        if form.top_db is not None and len(sound):
            import librosa

            sound, _ = librosa.effects.trim(sound, top_db=form.top_db, frame_length=window, hop_length=window // 4)
        extent = Extent(0, len(sound), np.abs(sound).max(initial=0))
    check_audible(extent.peak, path)
    if (kept := extent.stop - extent.start) < _SHORTEST * form.rate:
        raise DataError(f"{path} is too short: {kept} audio samples at {form.rate} Hz")
    return PreparedSound(path, form, extent, sound, length)


def read_clips(path: Path | ShardFile, form: ClipForm, remark: OnRemark = ignore_remark) -> np.ndarray:
    """The clips in a file, float32 [n, L]: trimmed, normalised to the peak, cut, and padded with silence at the end.

    Raises:
        DataError: as in `prepare`.
    """
    return np.concatenate(list(prepare(path, form, remark).clips()))


def check_audible(peak: float, path: Path | ShardFile) -> None:
    """Raise DataError if `peak`, the largest absolute value in a file, is so small that the file is silent."""
    if peak < _SILENCE:
        raise DataError(f"{path} is silent: nothing is left of it")


def write_sound(blocks: Iterable[np.ndarray], path: Path, rate: int, encoding: Encoding) -> None:
    """Write mono float32 blocks one after another as WAV, FLAC or any format of soundfile, chosen by the suffix.

    Values outside [-1, 1], which integers cannot hold, are clipped with a warning that says how many and how far.

    Raises:
        DataError: soundfile knows no format of that suffix, or none that holds the encoding.
        OSError: the disk is full, or the folder does not exist.
    """
    form = _form(path.name, encoding)
    with path.open("wb") as file:
        try:
            _write(blocks, file.fileno(), path.name, rate, form)
        except soundfile.LibsndfileError as error:
            raise OSError(errno.EIO, f"the sound cannot be written: {error.error_string}", str(path)) from error


def sound_content(sound: np.ndarray, name: str, rate: int, encoding: Encoding) -> bytes:
    """What `write_sound` would write of a mono float32 sound to a file of that name. Raises DataError as it does."""
    file = io.BytesIO()
    _write([sound], file, name, rate, _form(name, encoding))
    return file.getvalue()


class _Form(NamedTuple):
    """How soundfile calls the format of a file and of the numbers in it."""

    format: str
    subtype: str


def _form(name: str, encoding: Encoding) -> _Form:
    """The form of a file of that name. Raises DataError if there is none that holds the encoding."""
    form = _Form(Path(name).suffix.removeprefix(".").upper(), _SUBTYPES[encoding])
    if form.format not in soundfile.available_formats() or not soundfile.check_format(*form):
        raise DataError(f"cannot write {encoding} sound to {name}: use .wav, or .flac with 16bit or 24bit")
    return form


def _write(blocks: Iterable[np.ndarray], file: int | IO[bytes], name: str, rate: int, form: _Form) -> None:
    """See `write_sound`; `file` is open, or its descriptor, and stays so."""
    clipped, largest, total = 0, 0.0, 0
    with soundfile.SoundFile(file, "w", rate, 1, form.subtype, format=form.format, closefd=False) as writer:
        for block in blocks:
            fits = np.abs(block) <= 1
            if form.subtype != "FLOAT" and not fits.all():
                clipped += int((~fits).sum())
                block = np.nan_to_num(block)
                largest = max(largest, float(np.abs(block).max()))
                block = block.clip(-1, 1)
            total += len(block)
            writer.write(block)
    if clipped:
        logger.warning(
            "%s: %d of %d audio samples were beyond full scale, up to %.2f, and are clipped",
            name,
            clipped,
            total,
            largest,
        )
