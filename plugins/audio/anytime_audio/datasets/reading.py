"""Sound files as mono blocks at any rate, in memory that does not grow with a file's length."""

from __future__ import annotations

import io
import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
import soundfile
import soxr

from anytime_audio.config import Channels
from anytime_audio.datasets.muffling import muffled
from anytime_core.data.reading import open_regular
from anytime_core.data.shards import ShardFile
from anytime_core.display import shown
from anytime_core.errors import DataError, system_reason

SOUND_SUFFIXES = frozenset(
    {".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".au", ".caf", ".rf64", ".w64"}
)
_VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi")
UNREAD_SUFFIXES: Mapping[str, str] = dict.fromkeys(
    (".m4a", ".m4b", ".aac", ".wma", ".amr", ".3gp", ".ape", ".wv", ".mka", ".ac3", ".sph", *_VIDEO_SUFFIXES),
    "convert them to FLAC or WAV, for example with ffmpeg",
)
"""Suffixes of sounds that are not read -> what to do with them."""

Remark = Literal["truncated", "cancelling"]
"""What may be odd about a sound that is used all the same."""

REMARKS: Mapping[Remark, tuple[str, str]] = {
    "truncated": ("ends early and is used as far as it goes", "end early and are used as far as they go"),
    "cancelling": (
        "has channels that cancel each other out; the loudest is taken (data.channels)",
        "have channels that cancel each other out; the loudest is taken (data.channels)",
    ),
}
"""The words for one sound, and for several."""

OnRemark = Callable[[Remark], None]

_BLOCK = 2**16
_FLAC_BLOCK = 2**12  # what was decoded before an error is lost
_LOWEST_RATE, _HIGHEST_RATE = 1000, 2**20
_MOST_CHANNELS = 64
_MOST_FRAMES_PER_BYTE = 2**14  # three times what silence takes in FLAC's largest blocks
_UNKNOWN_FRAMES = 2**63 - 1
_UNKNOWN_BYTES = 2**31 - 2**12  # writers of streams claim this or more
_LARGEST = 1e6  # value in a float file that is not normalised
_CANCELLED = 1e-3  # energy of the mean, as a share of the energy of a channel
_MP3_PADDING = 2 * 1152

# libsndfile logs what a header claims and what is there.
_CLAIMS = re.compile(
    r"^\s*(?:data|SSND|riff|Data Size)\s*: (?P<claimed>\d+) \(should be (?P<there>\d+)\)", re.MULTILINE
)
_CLAIMS_FRAMES = re.compile(r"frame count (?P<there>\d+) does not match value from 'ds64' chunk of (?P<claimed>\d+)")
_NO_END = "Last page lacks an end-of-stream bit"

logger = logging.getLogger(__name__)


def ignore_remark(remark: Remark) -> None:
    """The default of `remark`."""


def warning_of(path: Path | ShardFile) -> OnRemark:
    """Log remarks on a single file as warnings."""
    return lambda remark: logger.warning("%s %s", shown(path), REMARKS[remark][0])


def read_blocks(
    path: Path | ShardFile, rate: int, channels: Channels = "mean", remark: OnRemark = ignore_remark
) -> Iterator[np.ndarray]:
    """A sound file as mono float32 blocks at `rate`, in memory that does not grow with the file's length.

    A file that ends early is used as far as it goes.

    Args:
        path: the file.
        rate: audio samples a second.
        channels: which of them are taken. If their mean is next to nothing, as for channels in antiphase, the channel
            of most energy is taken instead.
        remark: called with what is odd: `cancelling` before the first block, `truncated` after the last.

    Raises:
        DataError: the file is missing, not a sound, empty, or holds values that no sound has.
    """
    with _open(path) as file:
        mixed = _mixer(path, file.channels, channels, remark)
        resampler = soxr.ResampleStream(file.samplerate, rate, 1, dtype="float32")
        for block in _blocks(file, remark):
            if not np.isfinite(block).all():
                raise DataError(f"{path} holds NaN or infinite samples")
            if np.abs(block).max() > _LARGEST:
                raise DataError(f"{path} holds samples of {np.abs(block).max():g}, where full scale is 1")
            yield resampler.resample_chunk(mixed(block))
        yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)


def header_rate(path: Path | ShardFile) -> str:
    """The rate that a sound file's header states, such as `44100 Hz`. Raises DataError as `read_blocks`."""
    return f"{header(path)[0]} Hz"


def header(path: Path | ShardFile) -> tuple[int, int]:
    """The rate and the number of frames that a sound file's header states. Raises DataError as `read_blocks`."""
    with _open(path) as file:
        return file.samplerate, file.frames


def _blocks(file: soundfile.SoundFile, remark: OnRemark = ignore_remark) -> Iterator[np.ndarray]:
    """Yield blocks [n, channels] as far as the file goes."""
    frames, truncated = 0, _claims_more(file)
    step = _FLAC_BLOCK if file.format == "FLAC" else _BLOCK
    ended = False
    while not ended:
        parts: list[np.ndarray] = []
        # Not file.blocks, which invents sound if a file is shorter than it says.
        while not ended and sum(map(len, parts)) < _BLOCK:
            try:
                with muffled(file.format == "MP3"):
                    part = file.read(step, dtype="float32", always_2d=True)
            except soundfile.LibsndfileError:
                if not frames or file.frames >= _UNKNOWN_FRAMES:  # nobody knows how much is missing
                    raise
                truncated = ended = True
                break
            ended = not len(part)
            frames += len(part)
            parts.append(part)
        if sum(map(len, parts)):
            yield np.concatenate(parts) if len(parts) > 1 else parts[0]
    missing = 0 if file.frames >= _UNKNOWN_FRAMES else file.frames - frames
    if truncated or missing > (_MP3_PADDING if file.format == "MP3" else 0):
        remark("truncated")


def _claims_more(file: soundfile.SoundFile) -> bool:
    """Whether the header claims more sound than the file has, or the end of a stream is missing."""
    log = file.extra_info
    claims = [*_CLAIMS.finditer(log), *_CLAIMS_FRAMES.finditer(log)]
    return _NO_END in log or any(int(claim["there"]) < int(claim["claimed"]) < _UNKNOWN_BYTES for claim in claims)


def _mixer(
    path: Path | ShardFile, number: int, channels: Channels, remark: OnRemark
) -> Callable[[np.ndarray], np.ndarray]:
    """A function from blocks [n, number] to mono blocks [n]."""
    if number == 1 or channels == "left":
        return lambda block: np.ascontiguousarray(block[:, 0])
    energy, energy_of_mean = np.zeros(number), 0.0
    with _open(path) as file, np.errstate(all="ignore"):  # values that no sound has are refused when it is read again
        for block in _blocks(file):
            energy += np.square(block, dtype=np.float64).sum(0)
            energy_of_mean += float(np.square(block.mean(1), dtype=np.float64).sum())
    loudest = int(energy.argmax())
    if channels == "mean" and not energy_of_mean < _CANCELLED * energy.mean():
        return lambda block: block.mean(1)
    if channels == "mean":
        remark("cancelling")
    return lambda block: np.ascontiguousarray(block[:, loudest])


@contextmanager
def _open(path: Path | ShardFile) -> Iterator[soundfile.SoundFile]:
    try:
        with open_regular(path) if isinstance(path, Path) else path.open() as opened:
            with muffled(_may_be_mp3(opened)):
                file = soundfile.SoundFile(_readable(opened), closefd=False)
            with file:
                if file.frames == 0:
                    raise DataError(f"{path} holds no sound: it has no audio samples")
                if not _LOWEST_RATE <= file.samplerate <= _HIGHEST_RATE:
                    raise DataError(f"{path} has an impossible rate of {file.samplerate} Hz")
                if file.channels > _MOST_CHANNELS:
                    raise DataError(
                        f"{path} has {file.channels} channels, more than the {_MOST_CHANNELS} that are read"
                    )
                # Not by seeking: libsndfile reads from the same position.
                size = len(opened.getbuffer()) if isinstance(opened, io.BytesIO) else os.fstat(opened.fileno()).st_size
                if _MOST_FRAMES_PER_BYTE * size < file.frames < _UNKNOWN_FRAMES:
                    raise DataError(
                        f"{path} claims {file.frames:,} audio samples, more than its {size:,} bytes can hold"
                    )
                yield file
    except FileNotFoundError:
        raise DataError(f"{path} does not exist") from None
    except soundfile.LibsndfileError as error:
        raise DataError(f"{path} cannot be read as a sound: {error.error_string}") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {system_reason(error)}") from error


def _may_be_mp3(opened: BinaryIO) -> bool:
    if isinstance(opened, io.BytesIO):
        start = bytes(opened.getbuffer()[:3])
    else:  # without the buffer: libsndfile reads from the descriptor's own position
        start = os.read(opened.fileno(), 3)
        os.lseek(opened.fileno(), 0, os.SEEK_SET)
    return start == b"ID3" or (len(start) == 3 and start[0] == 0xFF and start[1] >= 0xE0)


def _readable(opened: BinaryIO) -> BinaryIO | int:
    """The file's descriptor if it has one, from which soundfile reads faster."""
    return opened if isinstance(opened, io.BytesIO) else opened.fileno()
