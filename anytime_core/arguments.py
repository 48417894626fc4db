"""What callers in Python hand to a run, checked before it is used: numbers, samples, codes and lengths.

Whatever has only one meaning is accepted: NumPy arrays and lists as well as tensors, one sample or one row of codes
in place of a batch, files by their paths. Anything else is refused in one sentence that says what is wanted.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any, TypeGuard

import numpy as np
import torch
from torch import Tensor

from anytime_core.budget import codes_of_share
from anytime_core.data.locations import user_path
from anytime_core.display import shown
from anytime_core.errors import UsageError
from anytime_core.media import open_file
from anytime_core.modality import Modality
from anytime_core.quantities import shown_value, whole_number

Numbers = Tensor | np.ndarray | Sequence[Any]
"""Numbers of any shape."""
Media = Numbers | str | os.PathLike[str]
"""Samples, or a file that holds one; or a list of such files."""

_OVERSHOOT = 2.0
"""The largest absolute value of a sample: decoders without a limit, such as for sounds, go a little beyond [-1, 1]."""
_SCALED = {torch.uint8: "x / 127.5 - 1", torch.int16: "x / 32768"}
"""How to bring the usual integers of pictures and sounds into [-1, 1]."""


def sample_indices(indices: Sequence[int]) -> Sequence[int]:
    """Global indices of samples, as a range or ints. Raises UsageError if one is not a whole number of at least 0."""
    if isinstance(indices, str | bytes) or not isinstance(indices, Iterable):
        raise UsageError(f"indices {shown_value(indices)} are not a sequence of whole numbers, such as range(16)")
    if isinstance(indices, range) and (not indices or min(indices[0], indices[-1]) >= 0):
        return indices  # however many there are
    return [whole_number("index", index, "of at least 0", 0) for index in indices]


def is_sequence(value: object) -> TypeGuard[Tensor | np.ndarray | Sequence[Any]]:
    """Whether a value has an entry for each of several samples; text has not."""
    several = value.ndim > 0 if isinstance(value, Tensor | np.ndarray) else isinstance(value, Sequence)
    return several and not isinstance(value, str | bytes)


def checked_samples(x: Media, modality: Modality) -> Tensor:
    """Samples [B, *sample_shape], float32 in [-1, 1].

    Args:
        x: numbers of that shape, or of `sample_shape` for a single sample, or paths of files that hold one sample each.
        modality: the modality of the samples.

    Raises:
        UsageError: they have another shape, type or range.
        DataError: a file cannot be read.
    """
    if isinstance(x, str | os.PathLike):
        x = [x]
    if isinstance(x, Sequence) and x and all(isinstance(one, str | os.PathLike) for one in x):
        return torch.stack([_only_sample(one, modality) for one in x])
    shape = tuple(modality.sample_shape())
    values = _tensor("samples", x, f"{_listed('B', *shape)} numbers in [-1, 1], or paths of files")
    if tuple(values.shape) == shape:
        values = values.unsqueeze(0)
    faults = []
    if tuple(values.shape[1:]) != shape or not len(values):
        faults.append(f"of shape {_listed(*values.shape)}, not {_listed('B', *shape)}{_way_to_shape(values, shape)}")
    if not values.is_floating_point():
        way = f": give {_SCALED[values.dtype]}" if values.dtype in _SCALED else ""
        faults.append(f"of type {_type(values)}, not float32 in [-1, 1]{way}")
    if faults:
        raise UsageError(f"samples are {'; and '.join(faults)}")
    values = values.float()
    if not values.isfinite().all():
        raise UsageError(f"samples hold {'NaN' if values.isnan().any() else 'infinite values'}: leave them out")
    least, most = (extreme.item() for extreme in values.aminmax())
    if max(-least, most) > _OVERSHOOT:
        way = f"give {_SCALED[torch.uint8]}" if least >= 0 and most <= 255 else "scale them"
        raise UsageError(f"samples reach from {least:.4g} to {most:.4g}, not from -1 to 1: {way}")
    return values


def checked_codes(values: Numbers, most: int, size: int, known: Tensor | None = None) -> Tensor:
    """Codes [B, n], int64.

    Args:
        values: numbers of that shape, or [n] for a single sample.
        most: N, the largest n.
        size: K.
        known: [B, n] bool, which codes are looked at; None: all of them.

    Raises:
        UsageError: they have another shape or type, are more than N, or are not in the codebook.
    """
    given = whole_numbers("codes", values, "[B, n] whole numbers")
    given = given.unsqueeze(0) if given.ndim == 1 else given
    if given.ndim != 2 or not given.numel():
        raise UsageError(f"codes of shape {_listed(*given.shape)} are not [B, n] with 1 <= n <= {most}")
    if given.shape[1] > most:
        raise UsageError(
            f"{given.shape[1]} codes are more than the {most} of the model: give at most {most} for each sample"
        )
    if known is not None:
        if known.shape != given.shape:
            raise UsageError(
                f"known of shape {_listed(*known.shape)} does not have the shape of the codes, {_listed(*given.shape)}"
            )
        given = given.masked_fill(~known, 0)
    least, greatest = (int(extreme) for extreme in given.aminmax())
    if least < 0 or greatest >= size:
        raise UsageError(f"code {least if least < 0 else greatest} is not in 0..{size - 1}, as the codebook has {size}")
    return given


def checked_known(known: Numbers) -> Tensor:
    """Which codes of one or more samples are known, [B, n] bool. Raises UsageError for anything else."""
    given = _tensor("known", known, "[B, n] booleans")
    if given.dtype != torch.bool:
        raise UsageError(f"known is of type {_type(given)}, not [B, n] booleans: give codes >= 0, or the like")
    return given.unsqueeze(0) if given.ndim == 1 else given


def checked_lengths(length: int | Numbers, batch: int, given: int) -> int | Tensor:
    """How many leading codes to use: one number, or [B] int64.

    Args:
        length: a whole number, or one for each sample.
        batch: B.
        given: the number of codes that each sample has.

    Raises:
        UsageError: a length is not in 1..given, or there is not one for each sample.
    """
    wanted = f"in 1..{given}, the number of codes that are given"
    if isinstance(length, float) and 0 < length <= 1:
        wanted = f"in 1..{given}: that share of {given} codes is {codes_of_share(length, given)}"
    if not is_sequence(length):
        return whole_number("length", length, wanted, 1, given)
    lengths = whole_numbers("lengths", length, "[B] whole numbers")
    if lengths.shape != (batch,):
        raise UsageError(f"lengths of shape {_listed(*lengths.shape)} are not one for each of {batch} samples")
    for extreme in lengths.aminmax():
        whole_number("length", extreme.item(), wanted, 1, given)
    return lengths


def whole_numbers(what: str, values: Numbers, wanted: str) -> Tensor:
    """`values` as int64. Raises UsageError if they are no whole numbers: `what` they are, and what is `wanted`."""
    given = _tensor(what, values, wanted)
    if given.dtype == torch.bool or given.is_floating_point() or given.is_complex():
        raise UsageError(f"{what} are of type {_type(given)}, not {wanted}: convert them to int64")
    return given.long()


def _tensor(what: str, values: object, wanted: str) -> Tensor:
    """`values` on the CPU; never a view of an array that the caller can change."""
    try:
        if isinstance(values, Tensor):
            return values.detach().cpu()
        if isinstance(values, Sequence) and values and all(isinstance(one, Tensor) for one in values):
            return torch.stack(list(values)).detach().cpu()
        array = np.asarray(values)
        return torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("=")))
    except (TypeError, ValueError, RuntimeError):
        raise UsageError(f"{what} {shown_value(values)} are not {wanted}") from None


def _only_sample(path: str | os.PathLike[str], modality: Modality) -> Tensor:
    file = open_file(modality, user_path(path))
    if len(file) != 1:
        raise UsageError(
            f"{shown(path)} holds {len(file)} samples, one after the other: use anytime reconstruct, or give what "
            "run.modality.open_file gives, sample by sample"
        )
    return next(iter(file))


def _way_to_shape(values: Tensor, shape: tuple[int, ...]) -> str:
    """How to get from the shape of `values` to [B, *shape] if that is plain; else the other shape that is accepted."""
    given = tuple(values.shape)
    if shape[0] == 1 and given[-len(shape) + 1 :] == shape[1:] and len(given) in (len(shape) - 1, len(shape)):
        return f": add the axis of one channel, {'x[None]' if len(given) < len(shape) else 'x[:, None]'}"
    if given[-len(shape) :] == (*shape[1:], shape[0]) and len(given) in (len(shape), len(shape) + 1):
        return f": channels come first, np.moveaxis(x, -1, {len(given) - len(shape)})"
    return f", nor {_listed(*shape)} for a single one"


def _listed(*sizes: object) -> str:
    return f"[{', '.join(map(str, sizes))}]"


def _type(values: Tensor) -> str:
    return str(values.dtype).removeprefix("torch.")
