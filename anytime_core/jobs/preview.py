"""The preview of a sampling job: its first samples in one picture."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import torch
from torch import Tensor

from anytime_core.jobs.writing import WrittenBatch
from anytime_core.modality import Modality, PreviewRow

PREVIEW_COLUMNS = 8
MOST_PREVIEWED = 64


class Preview:
    """Collects the first samples and draws them: rows of eight or, if they grow, a row for each number of codes.

    Args:
        modality: it draws them.
        samples: how many samples the job has.
        codes: how many codes the budget allows.
        progressive: whether samples grow.

    Attributes:
        wanted: whether it is still to be drawn.
        number: how many samples it shows.
    """

    def __init__(self, modality: Modality, samples: int, codes: int, *, progressive: bool) -> None:
        self.modality, self.codes, self.progressive = modality, codes, progressive
        self.wanted, self.number = True, min(samples, MOST_PREVIEWED)
        self._shown: dict[int, list[Tensor]] = defaultdict(list)

    def add(self, batch: WrittenBatch) -> None:
        """Take what is still missing."""
        for codes, x in batch.grown.items() if self.progressive else [(self.codes, batch.samples.x)]:
            columns = PREVIEW_COLUMNS if self.progressive else MOST_PREVIEWED
            self._shown[codes] += list(x[: columns - len(self._shown[codes])])

    def write(self, path: Path) -> None:
        """Draw it to a file."""
        rows = [PreviewRow(f"{codes} codes", torch.stack(x)) for codes, x in sorted(self._shown.items())]
        self.modality.preview(rows if self.progressive else _in_rows(rows[0].x), path)
        self._shown.clear()
        self.wanted = False


def _in_rows(x: Tensor) -> list[PreviewRow]:
    """Samples as rows of eight, without captions."""
    return [PreviewRow("", part) for part in x.split(PREVIEW_COLUMNS)]
