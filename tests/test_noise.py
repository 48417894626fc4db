"""Laws of noise: numbers that follow from seed, sample, position and number, whoever asks for them and where."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import torch

from anytime_core.priors.heads import NoiseNeed
from anytime_core.sampling.in_calls import sample_orders
from anytime_core.sampling.noise import noise_of
from anytime_core.sampling.philox import NumpyWords, TorchWords, keys

KINDS = {"gumbel": scipy.stats.gumbel_r(), "uniform": scipy.stats.uniform(), "normal": scipy.stats.norm()}
INDICES = (0, 5, 2**32, 2**64 - 1)


@pytest.mark.parametrize("seed", [0, 2**63, 2**64 - 1])
@pytest.mark.parametrize(("rows", "first", "blocks"), [(slice(0, 4), 0, 3), (slice(1, 3), 2, 5), (slice(0, 4), 1, 1)])
def test_words_are_the_same_in_torch_and_in_numpy(seed, rows, first, blocks):
    streams = NumpyWords(keys(seed, INDICES))
    alone = (np.random.Philox(key=key, counter=first) for key in keys(seed, INDICES)[rows])
    expected = np.stack([stream.random_raw(4 * blocks) for stream in alone])
    for _ in range(2):  # a second time after the end of the first
        assert np.array_equal(streams.take(rows, first, blocks).numpy().view(np.uint64), expected)
    words = TorchWords(keys(seed, INDICES), torch.device("cpu")).take(rows, first, blocks)
    assert np.array_equal(words.numpy().view(np.uint64), expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("numbers", [1, 8, 500])
def test_a_number_follows_from_seed_sample_position_and_number(kind, numbers):
    need, length = NoiseNeed(kind, numbers), 20
    whole = noise_of(3, INDICES, length, need).whole()
    assert whole.shape == (len(INDICES), length, numbers)
    assert whole.dtype == torch.float32
    some = noise_of(3, INDICES[2:], length, need)
    for position in (0, 1, 19, 7, 8, 0):
        assert torch.equal(some.at(position), whole[2:, position])
    assert torch.equal(noise_of(3, INDICES, 5, need).whole(), whole[:, :5])
    assert not (noise_of(4, INDICES, length, need).whole() == whole).any()
    assert len(whole.unique()) > 0.99 * whole.numel()


@pytest.mark.parametrize(("kind", "law"), KINDS.items())
def test_noise_is_distributed_as_its_kind_says(kind, law):
    numbers = noise_of(0, range(200), 10, NoiseNeed(kind, 100)).whole()
    assert numbers.isfinite().all()
    assert scipy.stats.kstest(numbers.flatten().numpy(), law.cdf).pvalue > 1e-3
    assert kind != "uniform" or bool(((numbers > 0) & (numbers < 1)).all())
    # Neither positions nor samples nor numbers say anything of each other.
    for one, other in (
        (numbers[1:], numbers[:-1]),
        (numbers[:, 1:], numbers[:, :-1]),
        (numbers[..., 1:], numbers[..., :-1]),
    ):
        assert abs(np.corrcoef(one.flatten().numpy(), other.flatten().numpy())[0, 1]) < 0.01


@pytest.mark.gpu
@pytest.mark.parametrize("kind", KINDS)
def test_a_gpu_makes_the_numbers_of_the_cpu_but_for_the_last_bit_of_logarithms(kind):
    need = NoiseNeed(kind, 500)
    here, there = (noise_of(3, INDICES, 9, need, torch.device(name)) for name in ("cpu", "cuda"))
    found = there.whole().cpu()
    torch.testing.assert_close(found, here.whole(), rtol=1e-6, atol=1e-6)
    assert (found == here.whole()).float().mean() > 0.999
    assert torch.equal(there.static().at(torch.tensor([4], device="cuda")).cpu(), found[:, 4])
    logits = torch.randn(len(INDICES), 500)
    assert torch.equal(there.largest_sum(4, logits.cuda()).cpu(), here.largest_sum(4, logits))


def test_no_batch_is_no_noise():
    assert noise_of(0, [], 3, NoiseNeed("gumbel", 2)).whole().shape == (0, 3, 2)


def test_orders_share_no_words_with_the_noise():
    """An order's stream begins 2^192 counts later, which no position comes to."""
    orders = sample_orders(0, range(4), 64)
    words = NumpyWords(keys(0, range(4))).take(slice(0, 4), 0, 16).numpy().view(np.uint64)
    assert not (orders.numpy() == (words >> np.uint64(11)).argsort(1)[:, :64]).all(1).any()
