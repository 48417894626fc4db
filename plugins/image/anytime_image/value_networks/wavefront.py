"""Recurrence over two dimensions, diagonal after diagonal: all cells whose left and upper neighbours are known at once.

R is the number of rows, W that of columns, B the batch, G how many numbers the input of a cell has, S those of its
state, and A how many independent passes there are.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

Step = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Inputs [A, n, B, G], states of the cells to their left and of those above them, [A, n, B, S] -> states [A, n, B, S].
The states of cells that are not in the picture are zeros."""


def scan(inputs: Tensor, size: int, step: Step) -> Tensor:
    """The states of all cells, by R + W - 1 steps.

    Args:
        inputs: [A, R, W, B, G].
        size: S.
        step: what is computed of one diagonal.

    Returns:
        [A, R, W, B, S].
    """
    rows, columns = inputs.shape[1:3]
    order, back, spans = _diagonals(rows, columns, inputs.device)
    state = inputs.new_zeros(inputs.shape[0], 0, inputs.shape[3], size)
    first, states = 0, []
    diagonals = inputs.flatten(1, 2)[:, order].split([stop - start for start, stop in spans], 1)
    for (start, stop), given in zip(spans, diagonals, strict=True):
        around = F.pad(state, (0, 0, 0, 0, 1, 1))  # its row r is at r - first + 1
        left = around[:, start - first + 1 : stop - first + 1]
        above = around[:, start - first : stop - first]
        first, state = start, step(given, left, above)
        states.append(state)
    return torch.cat(states, 1)[:, back].unflatten(1, (rows, columns))


@lru_cache(maxsize=256)
@torch.inference_mode(False)
def _diagonals(rows: int, columns: int, device: torch.device) -> tuple[Tensor, Tensor, list[tuple[int, int]]]:
    """The cells in the order of diagonals, where each is in that order, and the rows that each diagonal goes over.

    They are kept, as a step that is captured as a CUDA graph may not bring anything to the device.
    """
    spans = [(max(0, number - columns + 1), min(rows, number + 1)) for number in range(rows + columns - 1)]
    order = torch.tensor([row * columns + number - row for number, span in enumerate(spans) for row in range(*span)])
    return order.to(device), order.argsort().to(device), spans
