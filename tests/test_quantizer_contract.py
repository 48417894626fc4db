"""The contract of quantizers: every kind keeps it, and each check finds the fault that it is there for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from residual import ResidualConfig, ResidualQuantizer
from torch import Tensor, nn

from anytime_core.autoencoder import build_autoencoder
from anytime_core.config import AutoencoderConfig
from anytime_core.quantizers.base import Quantized
from anytime_core.quantizers.config import QuantizerSection, VQConfig
from anytime_core.quantizers.continuous import ContinuousCodes
from anytime_core.quantizers.registry import QUANTIZERS
from anytime_core.quantizers.vq import VectorQuantizer
from anytime_core.registry import Kind
from anytime_core.testing import CheckSkipped, QuantizerContract, check_quantizer, iter_quantizer_checks
from anytime_core.testing.quantizers import CHECKS
from anytime_core.testing.runner import Check
from anytime_image.modality import ImageConfig, ImageModality

VARIANTS: dict[str, list[dict[str, Any]]] = {
    "vq": [
        {"size": 2},
        {"size": 8, "shared": False},
        {"size": 8, "update": "gradient"},
        {"size": 8, "update": "gradient", "shared": False},
    ],
    "fsq": [{"levels": [2]}, {"levels": [2, 3, 5]}, {"levels": [2, 3, 5], "shared": False}],
}
"""Sections that are held to the contract too, beside the defaults of every kind."""


def checks_of_all_kinds() -> list[Any]:
    return [
        pytest.param(check, id=f"{kind}-{number}-{check.name}")
        for kind in QUANTIZERS
        for number, config in enumerate([{}, *VARIANTS.get(kind, [])])
        for check in iter_quantizer_checks(QUANTIZERS[kind], QUANTIZERS.section_of(kind), config)
    ]


@pytest.mark.parametrize("check", checks_of_all_kinds())
def test_every_kind_keeps_the_contract(check: Check):
    try:
        check.run()
    except CheckSkipped as skipped:
        pytest.skip(str(skipped))


class TestResidual(QuantizerContract):
    quantizer = ResidualQuantizer
    section = ResidualConfig


def test_what_a_quantizer_cannot_have_is_skipped_with_the_reason():
    said = {
        (result.name, result.outcome, result.message)
        for quantizer, section in ((ResidualQuantizer, ResidualConfig), (VectorQuantizer, VQConfig))
        for result in check_quantizer(quantizer, section)
        if result.outcome != "passed"
    }
    assert said == {
        ("table-is-what-is-looked-up", "skipped", "the vector of a code depends on the codes before it"),
        ("continuous-codes-pass-through", "skipped", "its codes are discrete"),
    }


# Faults that each break one demand of it


class BareSection(QuantizerSection):
    kind: str = "vq"
    size: int = 8

    @property
    def codebook_size(self) -> int:
        return self.size


class WrongSize(VQConfig):
    @property
    def codebook_size(self) -> int:
        return self.size + 1


def looked_up(self: Any, codes: Tensor) -> Tensor:
    return VectorQuantizer.lookup(self, codes)


def out_with(**changes: Any) -> Mapping[str, Any]:
    """A forward pass that returns something else: attribute -> function of the quantizer's output and of z."""

    def forward(self: Any, z: Tensor, kept: Tensor) -> Quantized:
        out = VectorQuantizer.forward(self, z, kept)
        values = {"vectors": out.vectors, "codes": out.codes, "loss": out.loss}
        return Quantized(**values | {name: change(out, z) for name, change in changes.items()})

    return {"forward": forward}


def counts_calls(self: Any, z: Tensor, kept: Tensor) -> Quantized:
    self.ema_counts += 1
    return VectorQuantizer.forward(self, z, kept)


def keeps_all(self: Any, z: Tensor, kept: Tensor) -> Quantized:
    return VectorQuantizer.forward(self, z, torch.ones_like(kept))


def hides_a_number(self: Any, z: Tensor, kept: Tensor) -> Quantized:
    self.hidden = getattr(self, "hidden", torch.rand(1))
    out = VectorQuantizer.forward(self, z, kept)
    return Quantized(out.vectors + self.hidden, out.codes, out.loss)


def encodes_in_half(self: Any, z: Tensor) -> Tensor:
    return VectorQuantizer.encode(self, z.bfloat16().float() if torch.is_autocast_enabled("cpu") else z)


def scales_by_positions(self: Any, z: Tensor, kept: Tensor) -> Quantized:
    return VectorQuantizer.forward(self, z / z.var(1, correction=0, keepdim=True).sqrt(), kept)


class Digits(VectorQuantizer):
    radices = (3, 3)


class Discrete(ContinuousCodes):
    """Continuous codes that give indices."""

    def encode(self, z: Tensor) -> Tensor:  # type: ignore[override]
        return torch.zeros(z.shape[:2], dtype=torch.int64)


NOISY = out_with(vectors=lambda out, z: out.vectors + torch.rand(1))
FAULTS: dict[str, tuple[str, Mapping[str, Any], str]] = {
    "codes beyond the codebook": ("codes-are-indices", {"encode": lambda self, z: 8 + 0 * z[..., 0].long()}, "beyond"),
    "codes of 32 bits": ("codes-are-indices", {"encode": lambda self, z: z[..., 0].int()}, "torch.int32"),
    "other codes in training": ("codes-are-indices", out_with(codes=lambda out, z: 7 - out.codes), "other codes than"),
    "vectors of no code": (
        "vectors-are-those-of-the-codes",
        out_with(vectors=lambda out, z: z),
        "those that lookup() has",
    ),
    "vectors that look ahead": (
        "later-codes-do-not-matter",
        {"lookup": lambda self, codes: looked_up(self, codes) + codes[:, -1:, None]},
        "vectors of the first 1 codes",
    ),
    "a prefix is filled up": (
        "later-codes-do-not-matter",
        {"lookup": lambda self, codes: looked_up(self, nn.functional.pad(codes, (0, 5 - codes.shape[1])))},
        "lookup() of 1 codes has shape (8, 5, 4)",
    ),
    "a decoder that sees dropped codes": (
        "dropped-codes-are-not-assembled",
        {"assembled": lambda self, vectors, kept: (vectors + vectors.mean(1, keepdim=True), kept)},
        "depends on codes after them",
    ),
    "positions that are known too early": (
        "dropped-codes-are-not-assembled",
        {"assembled": lambda self, vectors, kept: (vectors, torch.ones_like(kept))},
        "of 1 codes, not 1 positions are known",
    ),
    "a table a position that is not shared": (
        "table-has-a-vector-a-code",
        {"code_vectors": lambda self: self.codebook.expand(5, -1, -1)},
        "has shape (5, 8, 4), not (8, 4)",
    ),
    "two codes of one vector": (
        "table-has-a-vector-a-code",
        {"code_vectors": lambda self: self.codebook[0, :1].expand(8, -1)},
        "8 codes of position 0 stand for 1 vectors",
    ),
    "another table": (
        "table-is-what-is-looked-up",
        {"code_vectors": lambda self: self.codebook[0].flip(0)},
        "vectors of the table differ",
    ),
    "rows that mix": ("rows-do-not-mix", out_with(loss=lambda out, z: out.loss + z.mean()), "the loss of row 0"),
    "noise in evaluation": ("evaluation-is-deterministic", NOISY, "other vectors the second time"),
    "statistics in evaluation": ("evaluation-is-deterministic", {"forward": counts_calls}, "changes its ema_counts"),
    "codes of rounded vectors": ("autocast-changes-no-code", {"encode": encodes_in_half}, "others under autocast"),
    "a scale over positions": (
        "one-position-of-one-number-is-enough",
        {"forward": scales_by_positions},
        "not finite with 1 positions",
    ),
    "one loss for all": ("loss-is-a-number-a-row", out_with(loss=lambda out, z: out.loss.mean()), "has shape ()"),
    "a negative loss": ("loss-is-a-number-a-row", out_with(loss=lambda out, z: -out.loss), "below 0"),
    "dropped positions count": ("dropped-positions-say-nothing", {"forward": keeps_all}, "depend"),
    "no way for gradients": (
        "gradients-pass-through",
        out_with(
            vectors=lambda out, z: torch.cat([out.vectors[:, :1], out.vectors[:, 1:].detach()], 1),
            loss=lambda out, z: 0 * out.loss,
        ),
        "the gradient is 0 at positions [1, 2, 3, 4]",
    ),
    "state that is not saved": ("weights-survive-safetensors", {"forward": hides_a_number}, "in no parameter"),
    "training that leads nowhere": (
        "training-leaves-little-error",
        out_with(vectors=lambda out, z: 0 * out.vectors),
        "after 100 steps",
    ),
}


def said_of(quantizer: Any, name: str, section: Any = VQConfig, config: Mapping[str, Any] | None = None) -> str:
    """What a check says against a quantizer; empty if it passes."""
    config = {"size": 8} if config is None else config
    (result,) = check_quantizer(quantizer, section, config, only=(name,))
    assert result.outcome in ("passed", "failed")
    return result.message


@pytest.mark.parametrize(("check", "changes", "message"), FAULTS.values(), ids=FAULTS.keys())
def test_each_fault_is_found_by_its_check(check, changes, message):
    assert said_of(VectorQuantizer, check) == ""
    assert message in said_of(type("Faulty", (VectorQuantizer,), dict(changes)), check)


OTHERS: dict[str, tuple[str, Any, Any, str]] = {
    "no description of a field": ("section-is-described", VectorQuantizer, BareSection, "kind has no description"),
    "another size in the config": (
        "codebook-size-is-known-beforehand",
        VectorQuantizer,
        WrongSize,
        "codebook_size is 9",
    ),
    "digits that number more": ("codes-can-be-described", Digits, VQConfig, "number 9 codes, but there are 8"),
}


@pytest.mark.parametrize(("check", "quantizer", "section", "message"), OTHERS.values(), ids=OTHERS.keys())
def test_each_fault_of_a_description_is_found_by_its_check(check, quantizer, section, message):
    assert said_of(VectorQuantizer, check) == ""
    assert message in said_of(quantizer, check, section)


def test_continuous_codes_with_indices_are_found():
    section = QUANTIZERS.section_of("none")
    assert "encode() raises no ValueError" in said_of(Discrete, "continuous-codes-pass-through", section, {})


def test_every_check_has_a_fault_that_it_finds():
    tested = {check for check, *_ in (*FAULTS.values(), *OTHERS.values())} | {"continuous-codes-pass-through"}
    assert tested == set(CHECKS)


# A residual quantizer in an autoencoder, which knows nothing of it


@pytest.fixture
def residual(monkeypatch) -> None:
    kind = Kind(
        "residual", "residual:ResidualQuantizer", "residual:ResidualConfig", "each code adds to those before it"
    )
    monkeypatch.setitem(QUANTIZERS.built_in, "residual", kind)


@pytest.mark.usefixtures("residual")
def test_an_autoencoder_learns_codes_that_add_to_those_before_them():
    config = AutoencoderConfig.model_validate({"quantizer": {"kind": "residual", "size": 16}})
    modality = ImageModality(ImageConfig())
    torch.manual_seed(0)
    autoencoder = build_autoencoder(modality, config)
    assert type(autoencoder.quantizer) is ResidualQuantizer
    assert autoencoder.spec.grid == (2, autoencoder.latent_shape[0])
    data = modality.datasets().train
    x = torch.stack([data[index]["x"] for index in range(64)])
    optimizer = torch.optim.AdamW(autoencoder.parameters(), lr=2e-3)
    length, losses = autoencoder.code_length, []
    for _ in range(30):
        out = autoencoder(x, [torch.randint(1, length + 1, (len(x),)), torch.full((len(x),), length)])
        loss = sum(modality.reconstruction_loss(x_hat, x).mean() for x_hat in out.x_hat)
        optimizer.zero_grad()
        (loss + out.quantizer_loss.mean()).backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
    codes = autoencoder.eval().encode(x[:8])
    with torch.no_grad():
        for kept in (1, length // 2, length - 1):
            prefix = autoencoder.decode(codes[:, :kept])
            others = torch.cat([codes[:, :kept], codes[:, kept:].flip(0)], 1)
            for whole in (codes, others):
                torch.testing.assert_close(prefix, autoencoder.decode(whole, kept), rtol=0, atol=1e-5)
            assert (prefix - autoencoder.decode(codes)).abs().max() > 1e-3
