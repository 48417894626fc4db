"""Sound files: reading them at any rate and channel count, preparing clips of them, and writing them.

Letters: L audio samples of a clip.
"""

from __future__ import annotations

import errno
import io
import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import librosa
import numpy as np
import soundfile
import soxr

from anytime_audio.config import Encoding
from anytime_core.errors import DataError, system_reason
from anytime_core.shards import ShardFile

SOUND_SUFFIXES = frozenset(
    {".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".au", ".caf", ".rf64", ".w64"}
)

_SUBTYPES: dict[Encoding, str] = {"16bit": "PCM_16", "24bit": "PCM_24", "float": "FLOAT"}
_BLOCK = 2**16
_LOWEST_RATE, _HIGHEST_RATE = 1000, 2**20
_MOST_CHANNELS = 64
_MOST_FRAMES_PER_BYTE = 2**14  # three times what silence takes in FLAC's largest blocks
_UNKNOWN_FRAMES = 2**63 - 1
_LONGEST = 2**29  # audio samples that are held in memory: three hours at 48 kHz
_SHORTEST = 0.01  # seconds
_TRIM_WINDOW = 0.032  # seconds
_LARGEST = 1e6  # of a float file that is not normalised
_SILENCE = 1e-4  # three steps of 16-bit sound

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ClipForm:
    """What clips are like.

    Attributes:
        rate: audio samples a second.
        length: L.
        cut: `start` makes one clip of a file, `all` as many as it fills (the last one padded if it is half full).
        top_db: what is this much below the peak is trimmed at both ends; None trims nothing.
        peak: largest absolute value of a file.
    """

    rate: int
    length: int
    cut: Literal["start", "all"] = "start"
    top_db: float | None = 30.0
    peak: float = 0.95


def read_blocks(path: Path | ShardFile, rate: int) -> Iterator[np.ndarray]:
    """A sound file as mono float32 blocks at `rate`, in memory that does not grow with the file's length.

    A file that ends early is used as far as it goes, unless its format does not allow that (FLAC).

    Raises:
        DataError: the file is missing, no sound, empty, or holds values that no sound has.
    """
    with _open(path) as file:
        resampler = soxr.ResampleStream(file.samplerate, rate, 1, dtype="float32")
        # Not file.blocks, which makes up sound where a file is shorter than it says.
        while len(block := file.read(_BLOCK, dtype="float32", always_2d=True)):
            if not np.isfinite(block).all():
                raise DataError(f"{path} holds NaN or infinite samples")
            if np.abs(block).max() > _LARGEST:
                raise DataError(f"{path} holds samples of {np.abs(block).max():g}, where full scale is 1")
            yield resampler.resample_chunk(block.mean(1))
        yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)


@contextmanager
def _open(path: Path | ShardFile) -> Iterator[soundfile.SoundFile]:
    try:
        with path.open("rb") as opened, soundfile.SoundFile(_readable(opened), closefd=False) as file:
            if file.frames == 0:
                raise DataError(f"{path} holds no sound: it has no audio samples")
            if not _LOWEST_RATE <= file.samplerate <= _HIGHEST_RATE:
                raise DataError(f"{path} has an impossible rate of {file.samplerate} Hz")
            if file.channels > _MOST_CHANNELS:
                raise DataError(f"{path} has {file.channels} channels, more than the {_MOST_CHANNELS} that are read")
            # Not by seeking: libsndfile reads from the same position.
            size = len(opened.getbuffer()) if isinstance(opened, io.BytesIO) else os.fstat(opened.fileno()).st_size
            if _MOST_FRAMES_PER_BYTE * size < file.frames < _UNKNOWN_FRAMES:
                raise DataError(f"{path} claims {file.frames:,} audio samples, more than its {size:,} bytes can hold")
            yield file
    except FileNotFoundError:
        raise DataError(f"{path} does not exist") from None
    except soundfile.LibsndfileError as error:
        raise DataError(f"{path} cannot be read as a sound: {error.error_string}") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {system_reason(error)}") from error


def _readable(opened: BinaryIO) -> BinaryIO | int:
    """What soundfile reads faster: the file's descriptor where it has one."""
    return opened if isinstance(opened, io.BytesIO) else opened.fileno()


def read_clips(path: Path | ShardFile, form: ClipForm) -> np.ndarray:
    """The clips in a file, float32 [n, L]: trimmed, normalised to the peak, cut, and padded with silence at the end.

    Raises:
        DataError: as `read_blocks` does, or where nothing but silence is in it.
    """
    blocks: list[np.ndarray] = []
    length = 0
    for block in read_blocks(path, form.rate):
        blocks.append(block)
        length += len(block)
        if length > _LONGEST:
            raise DataError(f"{path} is longer than {_LONGEST / form.rate / 3600:.1f} hours: cut it into parts")
    sound = np.concatenate(blocks)
    if form.top_db is not None and len(sound):
        window = max(4, round(_TRIM_WINDOW * form.rate))
        sound, _ = librosa.effects.trim(sound, top_db=form.top_db, frame_length=window, hop_length=window // 4)
    peak = np.abs(sound).max(initial=0)
    check_audible(peak, path)
    if len(sound) < _SHORTEST * form.rate:
        raise DataError(f"{path} is too short: {len(sound)} audio samples at {form.rate} Hz")
    number = 1
    if form.cut == "all":
        number = max(1, (len(sound) + form.length // 2) // form.length)
    clips = np.zeros(number * form.length, np.float32)
    sound = sound[: len(clips)] * (form.peak / peak)
    clips[: len(sound)] = sound
    return clips.reshape(number, form.length)


def check_audible(peak: float, path: Path | ShardFile) -> None:
    """Raise DataError if `peak`, the largest absolute value in a file, is that of silence."""
    if peak < _SILENCE:
        raise DataError(f"{path} is silent: nothing is left of it")


def write_sound(blocks: Iterable[np.ndarray], path: Path, rate: int, encoding: Encoding) -> None:
    """Write mono float32 blocks one after another as WAV, FLAC or any format of soundfile, chosen by the suffix.

    Values outside [-1, 1], which integers cannot hold, are clipped with a warning that says how many and how far.

    Raises:
        DataError: soundfile knows no format of that suffix, or none that holds the encoding.
        OSError: the disk is full, or the folder not there.
    """
    subtype = _SUBTYPES[encoding]
    container = path.suffix.removeprefix(".").upper()
    if container not in soundfile.available_formats() or not soundfile.check_format(container, subtype):
        raise DataError(f"cannot write {encoding} sound to {path.name}: use .wav, or .flac with 16bit or 24bit")
    clipped, largest, total = 0, 0.0, 0
    try:
        with (
            path.open("wb") as opened,
            soundfile.SoundFile(opened.fileno(), "w", rate, 1, subtype, format=container, closefd=False) as file,
        ):
            for block in blocks:
                fits = np.abs(block) <= 1
                if encoding != "float" and not fits.all():
                    clipped += int((~fits).sum())
                    block = np.nan_to_num(block)
                    largest = max(largest, float(np.abs(block).max()))
                    block = block.clip(-1, 1)
                total += len(block)
                file.write(block)
    except soundfile.LibsndfileError as error:
        raise OSError(errno.EIO, f"the sound cannot be written: {error.error_string}", str(path)) from error
    if clipped:
        logger.warning(
            "%s: %d of %d audio samples were beyond full scale, up to %.2f, and are clipped",
            path.name,
            clipped,
            total,
            largest,
        )
