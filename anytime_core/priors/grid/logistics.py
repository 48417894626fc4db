"""Mixtures of logistic distributions that are cut into the values of a code.

Salimans et al., "PixelCNN++: Improving the PixelCNN with Discretized Logistic Mixture Likelihood and Other
Modifications", ICLR 2017, section 2.1 and equations 1 to 3. With sigma for the logistic function, the value k whose
level lies between the edges a and b has the probability

    sum_m pi_m (sigma((b - mu_m) / s_m) - sigma((a - mu_m) / s_m)),

where edges are half-way between levels, the first value has a = -infinity and the last one b = infinity.

F is the number of features, K the number of values, C the number of values in a cell of the grid, M the number of
logistics in the mixture, and P how many numbers describe it.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from anytime_core.priors.grid.heads import ValueHead

_LEAST_SCALE = math.exp(-7) * 255 / 2
"""Of s, in the smallest distance between two levels: of 256 levels from -1 to 1, log s >= -7 as in the paper."""

_RANGE = 40.0
"""How much larger than at least log s may be: far beyond any use, and widths are not rounded to zero yet."""


class LogisticsHead(ValueHead):
    """A mixture of M logistic distributions over the line on which levels lie, cut half-way between them.

    Means shift by tanh(coefficient) times each earlier number in the same cell, so that green may follow red. Unlike in
    the paper, the three colours of a pixel do not share the weights pi of the mixture: each has weights of its own,
    which its network may make of earlier colours.

    Its P = M (3 + C - 1) numbers are, of each logistic, the logit of pi, mu, log s and C - 1 coefficients: 3 M where a
    cell has one value.

    Args:
        features: F.
        levels: [K], ascending, K >= 2.
        mixtures: M.
        channels: C.
    """

    edges: Tensor
    gaps: Tensor

    def __init__(self, features: int, levels: tuple[float, ...], mixtures: int, channels: int) -> None:
        super().__init__()
        self.mixtures, self.shifts = mixtures, channels - 1
        numbers = torch.tensor(levels, dtype=torch.float64)
        distances = numbers.diff()
        edges = numbers[:-1] + distances / 2
        self.least_log_scale = math.log(_LEAST_SCALE * distances.min().item())
        self.register_buffer("edges", edges.float(), persistent=False)  # [K - 1]
        # The first and the last value are open, so their widths are never used; 1 keeps the arithmetic finite.
        self.register_buffer("gaps", nnf.pad(edges.diff(), (1, 1), value=1).float(), persistent=False)  # [K]
        self.linear = nn.Linear(features, mixtures * (3 + self.shifts))
        nn.init.normal_(self.linear.weight, std=0.02)
        nn.init.zeros_(self.linear.bias)
        # At first, logistics stand side by side over the whole line.
        reach = levels[-1] - levels[0]
        means = torch.linspace(levels[0] + reach / (2 * mixtures), levels[-1] - reach / (2 * mixtures), mixtures)
        with torch.no_grad():
            bias = self.linear.bias.view(mixtures, -1)
            bias[:, 1] = means
            bias[:, 2] = math.log(reach / (2 * mixtures))

    def logits(self, features: Tensor, earlier: Tensor) -> Tensor:
        """See `ValueHead`; they are log probabilities."""
        log_weights, mean, precision = (part.unsqueeze(-1) for part in self._mixture(features, earlier))
        z = (self.edges - mean) * precision  # [..., M, K - 1]
        below = nnf.logsigmoid(z)
        above = below - z  # log(1 - sigma(z))
        values = nnf.pad(below, (0, 1)) + nnf.pad(above, (1, 0)) + self._log_width(self.gaps * precision)
        return (log_weights + values).logsumexp(-2)

    def log_prob(self, features: Tensor, earlier: Tensor, codes: Tensor) -> Tensor:
        """See `ValueHead`. Only the codes' own values are computed, so it takes no memory for all K of them."""
        log_weights, mean, precision = self._mixture(features, earlier)  # [..., M]
        codes = codes.unsqueeze(-1)
        last = len(self.gaps) - 1
        upper = (self.edges[codes.clamp(max=last - 1)] - mean) * precision
        lower = (self.edges[(codes - 1).clamp(min=0)] - mean) * precision
        below = nnf.logsigmoid(upper).masked_fill(codes == last, 0)
        above = nnf.logsigmoid(-lower).masked_fill(codes == 0, 0)
        width = self._log_width(self.gaps[codes] * precision, codes)
        return (log_weights + below + above + width).logsumexp(-1)

    def _log_width(self, widths: Tensor, codes: Tensor | None = None) -> Tensor:
        """The last part of log(sigma(b) - sigma(a)) = log sigma(b) + log sigma(-a) + log(1 - exp(a - b)).

        This form keeps its precision, and gradients, however far from a mean a value is. Values that are open at an end
        have no such part. `widths` are b - a; `codes` are the values, None if they are all values in the last axis.
        """
        if codes is None:
            codes = torch.arange(len(self.gaps), device=widths.device)
        is_open = (codes == 0) | (codes == len(self.gaps) - 1)
        return (-(-widths).expm1()).log().masked_fill(is_open, 0)

    def _mixture(self, features: Tensor, earlier: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Log weights, means and 1 / s of the logistics, each [..., M], not in a lower precision than the weights."""
        with torch.autocast(features.device.type, enabled=False):  # bfloat16 is coarser than half a level of 256
            numbers = self.linear(features.to(self.linear.weight))
        numbers = numbers.unflatten(-1, (self.mixtures, -1))  # [..., M, 3 + C - 1]
        weights, mean, log_scale, *_ = numbers.unbind(-1)
        if self.shifts:
            coefficients = numbers[..., 3:].tanh()  # [..., M, C - 1]
            mean = mean + (coefficients * earlier[..., None, : self.shifts].float()).sum(-1)
        least = self.least_log_scale
        return weights.log_softmax(-1), mean, (-log_scale.clamp(least, least + _RANGE)).exp()
