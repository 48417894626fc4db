"""The matrix products of a transformer's blocks, plain or with weights packed for the CPU."""

from __future__ import annotations

from dataclasses import dataclass

from anytime_core.priors.sequence.products import PackedProduct, PlainProduct, Product
from anytime_core.priors.transformer.weights import FoldedWeights, LayerWeights


@dataclass(frozen=True)
class LayerProducts:
    """The products of one block."""

    to_queries_keys_values: Product
    project: Product
    expand: Product
    shrink: Product


def products(weights: FoldedWeights, *, packed: bool) -> tuple[LayerProducts, ...]:
    """The products of every block, plain or packed; made once for given weights."""
    make = PackedProduct if packed else PlainProduct

    def layer(block: LayerWeights) -> LayerProducts:
        return LayerProducts(
            make(*block.to_queries_keys_values), make(*block.project), make(*block.expand), make(*block.shrink)
        )

    return weights.once(make, lambda: tuple(map(layer, weights.layers)))
