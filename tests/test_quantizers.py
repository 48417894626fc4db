"""Quantizers: nearest codes, statistics over kept positions only, gradients, restarts, and saved state."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from anytime_core.quantizers import vq
from anytime_core.quantizers.base import Quantized, build_quantizer
from anytime_core.quantizers.config import ContinuousConfig, FSQConfig, VQConfig
from anytime_core.quantizers.continuous import ContinuousCodes
from anytime_core.quantizers.fsq import FiniteScalarQuantizer
from anytime_core.quantizers.vq import VectorQuantizer
from anytime_core.truncation import prefix_mask

B, N, D, K = 12, 5, 4, 8
LEVELS = (2, 3, 5)

CONFIGS = [
    pytest.param(config, id=name)
    for name, config in {
        "vq": VQConfig(size=K),
        "vq-per-position": VQConfig(size=K, shared=False),
        "vq-gradient": VQConfig(size=K, update="gradient"),
        "vq-gradient-per-position": VQConfig(size=K, update="gradient", shared=False),
        "fsq": FSQConfig(levels=LEVELS),
        "fsq-per-position": FSQConfig(levels=LEVELS, shared=False),
    }.items()
]
VQ_CONFIGS = [config for config in CONFIGS if isinstance(config.values[0], VQConfig)]
SHARED = pytest.mark.parametrize("shared", [True, False], ids=["shared", "per-position"])


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def everything_kept(z: Tensor) -> Tensor:
    return torch.ones(z.shape[:2], dtype=torch.bool)


def full_forward(quantizer: nn.Module, z: Tensor) -> Quantized:
    return quantizer(z, everything_kept(z))


def state_of(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def same_state(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def started_at(codebook: Tensor, **options: object) -> VectorQuantizer:
    """A shared moving-average quantizer in the middle of training: these codes, each used once so far."""
    quantizer = VectorQuantizer(N, codebook.shape[-1], size=len(codebook), **options)
    quantizer.codebook.copy_(codebook)
    quantizer.ema_sums.copy_(codebook)
    quantizer.ema_counts.fill_(1)
    quantizer.started.fill_(True)
    return quantizer


def clusters(number: int, batch: int, *, seed: int = 0) -> Tensor:
    """[batch, N, 2]: vectors close to `number` points on a circle of radius 10."""
    generator = torch.Generator().manual_seed(seed)
    angles = torch.randint(number, (batch, N), generator=generator) * (2 * math.pi / number)
    noise = 0.05 * torch.randn(batch, N, 2, generator=generator)
    return 10 * torch.stack([angles.cos(), angles.sin()], -1) + noise


@settings(deadline=None, max_examples=40)
@given(
    groups=st.integers(1, 3),
    rows=st.integers(1, 20),
    size=st.integers(1, 9),
    dim=st.integers(1, 5),
    block_rows=st.integers(0, 21),
    seed=st.integers(0, 2**31),
)
def test_nearest_equals_brute_force_in_blocks_of_any_size(groups, rows, size, dim, block_rows, seed):
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(groups, rows, dim, generator=generator, dtype=torch.float64)
    codebook = torch.randn(groups, size, dim, generator=generator, dtype=torch.float64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(vq._BLOCK_ELEMENTS, "cpu", block_rows * groups * size)
        codes = vq.nearest(z, codebook)
    assert torch.equal(codes, torch.cdist(z, codebook, compute_mode="donot_use_mm_for_euclid_dist").argmin(-1))


@SHARED
def test_each_position_is_compared_with_its_own_codebook_only(shared):
    quantizer = VectorQuantizer(N, D, size=K, shared=shared).eval()
    z = torch.randn(B, N, D)
    tables = quantizer.codebook.expand(N, -1, -1)
    expected = [
        [(table - vector).norm(dim=-1).argmin().item() for table, vector in zip(tables, row, strict=True)] for row in z
    ]
    assert quantizer.encode(z).tolist() == expected


def test_accumulate_equals_the_naive_sums():
    groups, rows = 3, 11
    z = torch.randn(groups, rows, D, dtype=torch.float64)
    codes = torch.randint(K, (groups, rows))
    weights = torch.rand(groups, rows, dtype=torch.float64) * torch.randint(2, (groups, rows))
    sums, counts = torch.zeros(groups, K, D, dtype=torch.float64), torch.zeros(groups, K, dtype=torch.float64)
    for g, r in itertools.product(range(groups), range(rows)):
        sums[g, codes[g, r]] += weights[g, r] * z[g, r]
        counts[g, codes[g, r]] += weights[g, r]
    got_sums, got_counts = vq.accumulate(z, codes, weights, K)
    torch.testing.assert_close(got_sums, sums)
    torch.testing.assert_close(got_counts, counts)


def test_vectors_without_weight_are_never_drawn():
    z = torch.arange(20.0).view(1, 20, 1)
    weights = (torch.arange(20) % 4 == 0).float().view(1, 20)
    assert set(vq.draw_vectors(z, weights, 500).flatten().tolist()) == {0, 4, 8, 12, 16}


@pytest.mark.parametrize(
    ("config", "expected"),
    [(VQConfig(), VectorQuantizer), (FSQConfig(), FiniteScalarQuantizer), (ContinuousConfig(), ContinuousCodes)],
)
def test_the_kind_in_the_config_chooses_the_quantizer(config, expected):
    assert type(build_quantizer(config, N, D)) is expected


@pytest.mark.parametrize("config", VQ_CONFIGS)
def test_encoding_the_vectors_of_codes_gives_the_codes_back(config):
    quantizer = build_quantizer(config, N, D)
    codes = torch.randint(K, (B, N))
    assert torch.equal(quantizer.encode(quantizer.lookup(codes)), codes)


@pytest.mark.parametrize("config", VQ_CONFIGS)
def test_gradients_pass_straight_through_to_the_input(config):
    z = torch.randn(B, N, D, requires_grad=True)
    cotangent = torch.randn(B, N, D)
    full_forward(build_quantizer(config, N, D), z).vectors.backward(cotangent)
    assert torch.equal(z.grad, cotangent)


@pytest.mark.parametrize("config", VQ_CONFIGS)
def test_the_loss_is_the_error_over_the_kept_codes_by_all_codes(config):
    quantizer = build_quantizer(config, N, D).eval()
    z, lengths = torch.randn(B, N, D), torch.randint(1, N + 1, (B,))
    out = quantizer(z, prefix_mask(lengths, N))
    # Commitment, and for a gradient codebook its own loss, of the same value and weight one.
    weight = config.commitment + (config.update == "gradient")
    expected = [
        sum(weight * (z[b, i] - quantizer.lookup(out.codes)[b, i]).square().mean().item() for i in range(length)) / N
        for b, length in enumerate(lengths.tolist())
    ]
    assert out.loss.tolist() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("config", VQ_CONFIGS)
def test_the_loss_pulls_kept_inputs_with_the_commitment_weight(config):
    quantizer = build_quantizer(config, N, D).eval()
    z = torch.randn(B, N, D, requires_grad=True)
    kept = prefix_mask(torch.randint(1, N + 1, (B,)), N)
    out = quantizer(z, kept)
    out.loss.sum().backward()
    pull = 2 * config.commitment * (z.detach() - quantizer.lookup(out.codes).detach()) / (D * N)
    torch.testing.assert_close(z.grad, pull * kept.unsqueeze(-1))


@SHARED
def test_a_gradient_codebook_is_pulled_to_its_kept_vectors_and_has_no_moving_average(shared):
    quantizer = VectorQuantizer(N, D, size=K, shared=shared, update="gradient")
    before = state_of(quantizer)
    assert before.keys() == {"codebook"}
    z, kept = torch.randn(B, N, D), prefix_mask(torch.randint(1, N + 1, (B,)), N)
    out = quantizer(z, kept)
    out.loss.sum().backward()
    expected = torch.zeros_like(quantizer.codebook)
    for b, i in itertools.product(range(B), range(N)):
        if kept[b, i]:
            group, code = 0 if shared else i, out.codes[b, i]
            expected[group, code] += 2 * (quantizer.codebook[group, code].detach() - z[b, i]) / (D * N)
    torch.testing.assert_close(quantizer.codebook.grad, expected)
    assert same_state(before, state_of(quantizer))


@SHARED
def test_a_moving_average_codebook_is_no_parameter(shared):
    assert list(VectorQuantizer(N, D, size=K, shared=shared).parameters()) == []


def test_the_moving_average_follows_the_kept_vectors_as_computed_by_hand():
    quantizer = started_at(torch.tensor([[0.0, 0.0], [10.0, 0.0]]), decay=0.9, dead_threshold=0)
    z = torch.tensor([[[1.0, 0.0], [-1.0, 2.0], [9.0, 1.0], [100.0, 100.0], [50.0, 0.0]]])
    quantizer(z, prefix_mask(torch.tensor([3]), N))
    # Counts 0.9 + 0.1 * 2 and 0.9 + 0.1 * 1; sums 0.9 * (0, 0) + 0.1 * (0, 2) and 0.9 * (10, 0) + 0.1 * (9, 1).
    torch.testing.assert_close(quantizer.ema_counts, torch.tensor([[1.1, 1.0]]))
    torch.testing.assert_close(quantizer.codebook, torch.tensor([[[0.0, 0.2 / 1.1], [9.9, 0.1]]]))


@SHARED
def test_the_first_training_batch_starts_the_codebook_in_its_clusters(shared):
    quantizer = VectorQuantizer(N, 2, size=16, shared=shared)
    assert not quantizer.started.any()
    full_forward(quantizer, clusters(4, batch=100))
    assert quantizer.started.all()
    fresh = clusters(4, batch=100, seed=1)
    distances = (fresh - quantizer.lookup(quantizer.encode(fresh))).norm(dim=-1)
    assert distances.max() < 0.5, "clusters are 14 apart"


@pytest.mark.parametrize("dead_threshold", [0.1, 0.0])
def test_codes_that_nothing_uses_restart_unless_that_is_switched_off(dead_threshold):
    size = 8
    far_away = 100 + torch.rand(size, 2)
    quantizer = started_at(far_away, decay=0.8, dead_threshold=dead_threshold)
    for step in range(40):
        full_forward(quantizer, clusters(size, batch=64, seed=step))
    used = quantizer.encode(clusters(size, batch=200, seed=100)).unique().numel()
    assert (used == size) is (dead_threshold > 0)


@pytest.mark.parametrize("dead_threshold", [0.1, 0.0])
def test_a_position_first_kept_in_a_later_batch_still_gets_a_codebook(dead_threshold):
    quantizer = VectorQuantizer(N, 2, size=4, shared=False, dead_threshold=dead_threshold)
    quantizer(clusters(4, batch=64), prefix_mask(torch.full((64,), N - 1), N))
    for step in range(20):
        full_forward(quantizer, clusters(4, batch=64, seed=step))
    assert quantizer.encode(clusters(4, batch=200, seed=100))[:, -1].unique().numel() == 4


def test_the_codebook_of_a_position_that_is_long_not_kept_stays_where_it_is():
    quantizer = VectorQuantizer(N, 2, size=4, shared=False, decay=0.5)
    full_forward(quantizer, clusters(4, batch=64))
    before = quantizer.code_vectors()[-1].clone()
    for step in range(60):
        quantizer(clusters(4, batch=64, seed=step), prefix_mask(torch.full((64,), N - 1), N))
    torch.testing.assert_close(quantizer.code_vectors()[-1], before)


def unprojected(levels: tuple[int, ...], *, code_length: int = 1) -> FiniteScalarQuantizer:
    """A quantizer of d scalars whose projections change nothing."""
    quantizer = FiniteScalarQuantizer(code_length, len(levels), levels=levels)
    nn.init.eye_(quantizer.project_in.data[0])
    nn.init.eye_(quantizer.project_out.data[0])
    return quantizer


def digits_of(size: int, levels: tuple[int, ...]) -> Tensor:
    """[K, d]: digits of the codes 0..K-1, the first level least significant."""
    digits = itertools.product(*(range(level) for level in reversed(levels)))
    return torch.tensor([tuple(reversed(number)) for number in digits])[:size]


@settings(deadline=None, max_examples=40)
@given(
    levels=st.lists(st.integers(2, 17), min_size=1, max_size=4),
    shared=st.booleans(),
    scale=st.sampled_from([0.0, 1.0, 30.0, 1e6, 1e30]),
)
def test_fsq_codes_lie_within_the_codebook(levels, shared, scale):
    quantizer = FiniteScalarQuantizer(N, D, levels=levels, shared=shared)
    assert quantizer.size == math.prod(levels)
    z = scale * torch.randn(B, N, D)
    for codes in (quantizer.encode(z), full_forward(quantizer, z).codes):
        assert ((codes >= 0) & (codes < quantizer.size)).all()


@pytest.mark.parametrize("levels", [(2,), (2, 3), (8, 5, 4), (3, 16), (4, 4, 4, 4)], ids=str)
def test_every_fsq_code_is_reached_by_some_input(levels):
    # encode(lookup(code)) need not be the code: the two projections are unrelated, and the sigmoid is no inverse of the
    # spacing of the code vectors. So each code is reached from the middle of its cell instead.
    quantizer = unprojected(levels)
    codes = torch.arange(quantizer.size)
    middles = (digits_of(quantizer.size, levels) + 0.5) / torch.tensor(levels)
    z = (middles.logit() / 2).unsqueeze(1)
    assert torch.equal(quantizer.encode(z).flatten(), codes)
    assert torch.equal(full_forward(quantizer, z).codes.flatten(), codes)


@pytest.mark.parametrize("levels", [(2,), (2, 3), (8, 5, 4)], ids=str)
def test_fsq_looks_up_evenly_spaced_values_from_minus_one_to_one(levels):
    quantizer = unprojected(levels)
    digits = digits_of(quantizer.size, levels)
    values = [
        [2 * digit / (level - 1) - 1 for digit, level in zip(row, levels, strict=True)] for row in digits.tolist()
    ]
    torch.testing.assert_close(quantizer.code_vectors(), torch.tensor(values))


def test_fsq_gradients_pass_through_the_rounding_as_if_it_were_not_there():
    levels = (3, 8)
    z = torch.randn(B, N, 2, requires_grad=True)
    full_forward(unprojected(levels, code_length=N), z).vectors.sum().backward()
    level, sigmoid = torch.tensor(levels), torch.sigmoid(2 * z.detach())
    # vector = 2 * (level * sigmoid(2 z) - 1/2) / (level - 1) - 1, but for the rounding.
    torch.testing.assert_close(z.grad, 4 * level / (level - 1) * sigmoid * (1 - sigmoid))


def test_continuous_codes_pass_through_with_their_gradient_and_without_loss():
    z, quantizer = torch.randn(B, N, D, requires_grad=True), ContinuousCodes(N, D)
    out = full_forward(quantizer, z)
    out.vectors.sum().backward()
    assert torch.equal(out.vectors, z)
    assert torch.equal(z.grad, torch.ones_like(z))
    assert out.codes is None
    assert quantizer.size is None
    assert torch.equal(out.loss, torch.zeros(B))
