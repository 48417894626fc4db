"""Stage `codes`: the data set goes through the encoder into memory-mapped integer files.

`codes/train.npy` and `codes/validation.npy` hold [samples, N] uint16 (uint32 where K needs it);
`codes/train-labels.npy` and `codes/validation-labels.npy` hold [samples] int64 where the data has labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from anytime_core.autoencoder import OrderedAutoencoder
from anytime_core.config import CodesTraining
from anytime_core.errors import RunError
from anytime_core.files import replacing
from anytime_core.modality import Datasets, Modality
from anytime_core.training.batches import ordered_batches
from anytime_core.training.log import OnProgress, Progress


class CodesDataset:
    """Code sequences of a run, memory-mapped: items `{"codes": [N] int64}` with `"label"` where known."""

    def __init__(self, folder: Path, part: str) -> None:
        self.codes = _open(folder / f"{part}.npy", ndim=2)
        labels = folder / f"{part}-labels.npy"
        self.labels = _open(labels, ndim=1) if labels.exists() else None

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {key: value[0] for key, value in self.batch([index]).items()}

    def batch(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """Items `indices` as one batch."""
        batch = {"codes": torch.from_numpy(self.codes[indices].astype(np.int64))}
        return batch if self.labels is None else {**batch, "label": torch.from_numpy(self.labels[indices])}


def _open(path: Path, *, ndim: int) -> np.ndarray:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise RunError(f"codes cannot be read from {path}: {error}; write them with --stage codes") from error
    if array.ndim != ndim or array.dtype.kind not in "iu":
        raise RunError(f"{path} holds no codes; write them again with --stage codes")
    return array


def write_codes(
    autoencoder: OrderedAutoencoder,
    modality: Modality,
    datasets: Datasets,
    settings: CodesTraining,
    folder: Path,
    *,
    seed: int,
    workers: int,
    on_progress: OnProgress,
) -> int:
    """Encode training and validation data into `folder`; returns the number of batches encoded.

    The training set is encoded `settings.copies` times, the first time as it is, then each time augmented anew.
    """
    assert autoencoder.codebook_size is not None
    folder.mkdir(parents=True, exist_ok=True)
    batches = [-(-len(part) // settings.batch_size) for part in (datasets.train, datasets.validation)]
    steps = settings.copies * batches[0] + batches[1]
    done = 0
    device = autoencoder.device
    augmentation = torch.Generator().manual_seed(seed + 2)
    for name, dataset, copies in (("train", datasets.train, settings.copies), ("validation", datasets.validation, 1)):
        with replacing(folder / f"{name}.npy") as path:
            codes = np.lib.format.open_memmap(
                path,
                mode="w+",
                dtype=np.uint16 if autoencoder.codebook_size <= 2**16 else np.uint32,
                shape=(copies * len(dataset), autoencoder.code_length),
            )
            labels: list[Tensor] = []
            row = 0
            for copy in range(copies):
                for batch in ordered_batches(dataset, settings.batch_size, workers=workers):
                    x = modality.augment(batch["x"], augmentation) if copy else batch["x"]
                    with torch.inference_mode():
                        encoded = autoencoder.encode(x.to(device)).cpu()
                    codes[row : row + len(encoded)] = encoded.numpy()
                    row += len(encoded)
                    labels += [batch["label"]] if "label" in batch else []
                    done += 1
                    on_progress(Progress("codes", done, steps))
            codes.flush()
            del codes
        label_file = folder / f"{name}-labels.npy"
        if labels:
            with replacing(label_file) as path, path.open("wb") as file:
                np.save(file, torch.cat(labels).numpy(), allow_pickle=False)
        else:
            label_file.unlink(missing_ok=True)
    return steps
