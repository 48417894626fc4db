"""Laws of the ordered autoencoder."""

from __future__ import annotations

import itertools

import pytest
import torch
from conftest import tiny_config
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from anytime_core.autoencoder import OrderedAutoencoder, build_autoencoder
from anytime_core.config import AutoencoderConfig, TruncationConfig
from anytime_core.errors import PluginError
from anytime_core.quantizers.config import ContinuousConfig
from anytime_core.training.autoencoder import OrderedLoss
from anytime_image.modality import ImageModality


def build(*overrides: str) -> OrderedAutoencoder:
    torch.manual_seed(0)
    config = tiny_config(*overrides)
    return build_autoencoder(ImageModality(config.modality), config.core.autoencoder).eval()


VARIANTS = [
    ("autoencoder.axis=channel",),
    ("autoencoder.axis=spatial",),
    ("autoencoder.tell_decoder=false",),
    ("autoencoder.axis=spatial", "autoencoder.tell_decoder=false"),
    ("autoencoder.dropped=learned",),
    ("autoencoder.quantizer.shared=false",),
    ("autoencoder.quantizer.kind=fsq", "autoencoder.quantizer.levels=[4, 4]"),
]


@pytest.mark.parametrize("overrides", VARIANTS, ids="+".join)
def test_codes_after_the_prefix_do_not_change_what_is_decoded(overrides):
    autoencoder = build(*overrides)
    generator = torch.Generator().manual_seed(1)
    codes = torch.randint(16, (6, autoencoder.code_length), generator=generator)
    other = torch.randint(16, codes.shape, generator=generator)
    lengths = torch.tensor([1, 2, 3, 5, autoencoder.code_length - 1, autoencoder.code_length])
    kept = torch.arange(autoencoder.code_length) < lengths[:, None]
    changed = torch.where(kept, codes, other)
    assert not torch.equal(codes, changed)
    torch.testing.assert_close(autoencoder.decode(codes, lengths), autoencoder.decode(changed, lengths), rtol=0, atol=0)
    for row, length in enumerate(lengths.tolist()):
        alone = autoencoder.decode(codes[row : row + 1, :length])
        torch.testing.assert_close(alone, autoencoder.decode(codes, lengths)[row : row + 1])


@pytest.mark.parametrize("overrides", VARIANTS, ids="+".join)
def test_each_further_code_can_change_what_is_decoded(overrides):
    autoencoder = build(*overrides)
    codes = torch.randint(16, (1, autoencoder.code_length), generator=torch.Generator().manual_seed(2))
    decoded = [autoencoder.decode(codes, length) for length in range(1, autoencoder.code_length + 1)]
    assert all(not torch.equal(before, after) for before, after in itertools.pairwise(decoded))


@pytest.mark.parametrize("overrides", VARIANTS, ids="+".join)
def test_decoding_at_full_length_is_what_the_training_pass_decodes(overrides):
    autoencoder = build(*overrides)
    x = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(3)) * 2 - 1
    full = torch.full((4,), autoencoder.code_length)
    out = autoencoder(x, [full])
    torch.testing.assert_close(autoencoder.encode(x), out.codes)
    torch.testing.assert_close(autoencoder.decode(out.codes), out.x_hat[0], rtol=1e-4, atol=1e-5)


def test_axis_says_what_a_code_is():
    on_channels, on_positions = build("autoencoder.axis=channel"), build("autoencoder.axis=spatial")
    assert on_channels.latent_shape == on_positions.latent_shape == (8, 4, 4)
    assert (on_channels.code_length, on_channels.code_dim) == (8, 16)
    assert (on_positions.code_length, on_positions.code_dim) == (16, 8)


@pytest.mark.parametrize("update", ["ema", "gradient"])
def test_dropped_codes_reach_neither_losses_nor_the_codebook(update):
    """What the encoder says at dropped positions changes nothing in a training pass."""
    results = []
    for noise in (0.0, 5.0):
        autoencoder = build(f"autoencoder.quantizer.update={update}").train()
        z = torch.randn(8, autoencoder.code_length, autoencoder.code_dim, generator=torch.Generator().manual_seed(4))
        lengths = torch.tensor([1, 2, 3, 4, 5, 6, 7, 3])
        kept = torch.arange(autoencoder.code_length) < lengths[:, None]
        z = torch.where(kept[:, :, None], z, z + noise).requires_grad_()
        torch.manual_seed(5)
        quantized = autoencoder.quantizer(z, kept)
        x_hat = autoencoder.decode_vectors(quantized.vectors, lengths)
        (x_hat.square().sum() + quantized.loss.sum()).backward()
        assert z.grad is not None
        assert z.grad[~kept].abs().max() == 0
        assert z.grad[kept].abs().max() > 0
        results.append((x_hat.detach(), quantized.loss.detach(), autoencoder.quantizer.code_vectors().clone()))
    for plain, noisy in zip(*results, strict=True):
        torch.testing.assert_close(plain, noisy)


@given(length=st.integers(1, 8), given_codes=st.integers(1, 8))
@settings(max_examples=20, deadline=None)
def test_a_length_beyond_the_given_codes_means_all_of_them(length, given_codes):
    autoencoder = build()
    codes = torch.arange(given_codes).expand(2, -1)
    decoded = autoencoder.decode(codes, length)
    torch.testing.assert_close(decoded, autoencoder.decode(codes[:, : min(length, given_codes)]))


def test_a_decoder_of_the_wrong_shape_is_named():
    class Wrong(ImageModality):
        def decoder(self, channels: int) -> nn.Module:
            return nn.Sequential(nn.Flatten(), nn.LazyLinear(7))

    with pytest.raises(PluginError, match=r"'image'.*\(7,\).*\(1, 8, 8\)"):
        build_autoencoder(Wrong(), AutoencoderConfig())


def test_both_decodes_the_full_length_and_a_prefix_with_the_configured_weights():
    loss = OrderedLoss(ImageModality(), TruncationConfig(full_weight=0.7, warmup=0.5), 8, 10, seed=0)
    assert loss.lengths(3, step=4).tolist() == [[8, 8, 8]]
    full, prefix = loss.lengths(1000, step=5)
    assert (loss.weights(1), loss.weights(2)) == ((1.0,), (0.7, pytest.approx(0.3)))
    assert full.unique().tolist() == [8]
    assert prefix.unique().tolist() == list(range(1, 9))


def test_the_unordered_baseline_never_truncates():
    loss = OrderedLoss(ImageModality(), TruncationConfig(distribution="none"), 8, 10, seed=0)
    for step in range(10):
        assert loss.lengths(50, step).tolist() == [[8] * 50]


class Linear:
    """A modality of plain vectors with linear networks, just enough for training a step."""

    name = "linear"

    def __init__(self, dim: int, codes: int) -> None:
        self.dim, self.codes = dim, codes

    def sample_shape(self):
        return (self.dim,)

    def encoder(self):
        return nn.Sequential(nn.Linear(self.dim, self.codes, bias=False), nn.Unflatten(1, (self.codes, 1)))

    def decoder(self, channels):
        return nn.Sequential(nn.Flatten(), nn.Linear(channels, self.dim, bias=False))

    def reconstruction_loss(self, x_hat, x):
        return (x_hat - x).square().mean(1)


def test_linear_networks_with_continuous_codes_recover_principal_components():
    """Xu et al. 2021, theorem 1: every first-j subspace is that of PCA, here to within a degree."""
    torch.manual_seed(0)
    dim, codes, steps = 6, 4, 3000
    basis = torch.linalg.qr(torch.randn(dim, dim))[0]
    scales = torch.tensor([3.0, 2.2, 1.6, 1.1, 0.7, 0.3])
    data = (torch.randn(4096, dim) * scales) @ basis.T
    modality = Linear(dim, codes)
    config = AutoencoderConfig(quantizer=ContinuousConfig(), tell_decoder=False)
    autoencoder = build_autoencoder(modality, config)
    loss = OrderedLoss(modality, TruncationConfig(decode="share", full_share=0.0, warmup=0.0), codes, steps, seed=0)
    optimizer = torch.optim.Adam(autoencoder.parameters(), lr=3e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(steps):
        optimizer.zero_grad()
        loss(autoencoder, data, loss.lengths(len(data), step))["loss"].backward()
        optimizer.step()
        schedule.step()
    principal = torch.linalg.svd(data, full_matrices=False).Vh.T  # [dim, dim]
    learned = autoencoder.decoder[1].weight.detach()  # [dim, codes]
    for j in range(1, codes + 1):
        span = torch.linalg.qr(learned[:, :j])[0]
        cosines = torch.linalg.svdvals(principal[:, :j].T @ span)
        angle = torch.rad2deg(torch.arccos(cosines.min().clamp(max=1)))
        assert angle < 1, f"first {j} codes: {angle:.2f} degrees off"
