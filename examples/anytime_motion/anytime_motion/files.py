"""Motion files: tables of one row a time step and one column a channel, in degrees and metres.

`.npy` holds float32 and gives a sample back within 1e-6; `.csv`, whose first line names the channels, has four decimals
and gives it back within 2e-4, because of the height. Nothing is ever unpickled.
"""

from __future__ import annotations

import csv
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from anytime_core.errors import DataError, system_reason
from anytime_motion.skeleton import CHANNELS, from_units, to_units

_DECIMALS = 4


def read_motion(path: Path, steps: int) -> Tensor:
    """The first `steps` time steps in a file, float32 [12, steps] in [-1, 1].

    Raises:
        DataError: the file is missing, not a motion, too short, or holds NaN or infinite values.
    """
    try:
        table = _read_csv(path, steps) if path.suffix.lower() == ".csv" else _read_npy(path, steps)
    except FileNotFoundError:
        raise DataError(f"{path} does not exist") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {system_reason(error)}") from error
    except (ValueError, EOFError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as motion: {' '.join(str(error).split())}") from error
    if len(table) < steps:
        raise DataError(f"{path} is too short: it has {len(table)} time steps, data.steps={steps}")
    if not np.isfinite(table).all():
        raise DataError(f"{path} holds NaN or infinite values")
    return from_units(torch.from_numpy(table.T.copy()))


def write_motion(x: Tensor, path: Path) -> None:
    """Write a sample [12, S] in the format of the suffix; values outside [-1, 1] are clipped. S is the number of steps.

    Raises:
        DataError: no format has that suffix.
    """
    table = to_units(x.detach().cpu().float().clip(-1, 1)).T.contiguous().numpy()
    match path.suffix.lower():
        case ".npy":
            np.save(path, table, allow_pickle=False)
        case ".csv":
            header = ",".join(CHANNELS)
            np.savetxt(path, table, fmt=f"%.{_DECIMALS}f", delimiter=",", header=header, comments="", encoding="utf-8")
        case _:
            raise DataError(f"cannot write motion to {path.name}: use .npy or .csv")


def _read_npy(path: Path, steps: int) -> np.ndarray:
    # Mapped, so that a file that claims to be larger than it is cannot fill the memory.
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        raise ValueError("expected one array of numbers")
    if array.ndim != 2 or array.shape[1] != len(CHANNELS):
        raise ValueError(f"expected an array [steps, {len(CHANNELS)}], found {list(array.shape)}")
    return np.array(array[:steps], dtype=np.float32)


def _read_csv(path: Path, steps: int) -> np.ndarray:
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(file)
        if tuple(next(rows, ())) != CHANNELS:
            raise ValueError(f"expected a first line {','.join(CHANNELS)}")
        table = [[float(cell) for cell in row] for row in islice(rows, steps)]
    if any(len(row) != len(CHANNELS) for row in table):
        raise ValueError(f"expected {len(CHANNELS)} numbers in each line")
    return np.array(table, dtype=np.float32)
