"""Forward and backward of `vq` in training, EMA on, against vector-quantize-pytorch's VectorQuantize.

Run with `python -m benchmarks.quantizer [--json FILE]`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from vector_quantize_pytorch import VectorQuantize

from anytime_core.quantizers import VectorQuantizer
from benchmarks.report import Row, device, median_seconds, report

_K = 500
_SHAPES = ((128, 64, 49), (512, 100, 16))  # [B, N, D]: MNIST and CIFAR-10 sizes


def measure() -> Sequence[Row]:
    """One row for each shape, in milliseconds."""
    rows = []
    for shape in _SHAPES:
        torch.manual_seed(0)
        _, N, D = shape
        x = torch.randn(shape, device=device(), requires_grad=True)
        kept = torch.ones(shape[:2], dtype=torch.bool, device=device())
        ours = VectorQuantizer(N, D, size=_K).to(device()).train()
        # Both restart dead codes in every step; the peer states its threshold as a number of uses.
        peer = VectorQuantize(dim=D, codebook_size=_K, decay=0.99, threshold_ema_dead_code=2).to(device()).train()

        def run_ours(x: torch.Tensor = x, kept: torch.Tensor = kept, ours: VectorQuantizer = ours) -> None:
            quantized = ours(x, kept)
            (quantized.vectors.sum() + quantized.loss.mean()).backward()

        def run_peer(x: torch.Tensor = x, peer: VectorQuantize = peer) -> None:
            vectors, _, loss = peer(x)
            (vectors.sum() + loss.sum()).backward()

        ours_seconds, peer_seconds = median_seconds([run_ours, run_peer])
        rows.append(
            Row(
                name=f"vq {list(shape)}, K = {_K}",
                ours=ours_seconds * 1e3,
                peer=peer_seconds * 1e3,
                peer_name="vector-quantize-pytorch",
                ratio=peer_seconds / ours_seconds,
                unit="ms",
            )
        )
    return rows


if __name__ == "__main__":
    report("Quantizer, forward and backward", measure)
