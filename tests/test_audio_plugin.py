"""The audio plugin: config, networks, losses, metrics, augmentation, files, previews, and the contract it keeps."""

from __future__ import annotations

import importlib.util
import logging
import math
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError
from torch import Tensor, nn

from anytime_audio.config import AudioConfig, NetworkConfig, ResidualConfig, SpectralConfig, WaveConfig
from anytime_audio.modality import AudioModality
from anytime_audio.networks import build_decoder as decoder_of
from anytime_audio.networks import build_encoder as encoder_of
from anytime_audio.networks.spectral import _InverseSpectrum, _Spectrum
from anytime_core.autoencoder import build_autoencoder
from anytime_core.config import Config, CoreConfig
from anytime_core.config_parsing import apply_overrides, parse_config
from anytime_core.discovery.plugins import load_modality
from anytime_core.errors import ConfigError, DataError
from anytime_core.modality import API_VERSION, Modality, OpensFiles, PreviewRow
from anytime_core.weights import load_autoencoder, save_autoencoder

RATE = 8000
NETWORKS: dict[str, NetworkConfig] = {
    "spectral": SpectralConfig(channels=5, width=12, depth=2, hop=16, window=64, expansion=2),
    "spectral, no blocks": SpectralConfig(channels=3, width=8, depth=0, hop=6, window=10),
    "wave": WaveConfig(channels=5, widths=(4, 6), stride=4, kernel=9, post_filter=16),
    "wave, odd stride": WaveConfig(channels=3, widths=(4, 6), stride=3, kernel=5, post_filter=0),
    "residual": ResidualConfig(channels=5, widths=(4, 6), strides=(4, 2), depth=2),
    "residual, odd strides": ResidualConfig(channels=3, widths=(4, 6, 5), strides=(3, 2, 5), depth=1, activation="elu"),
    "residual, no units": ResidualConfig(channels=2, widths=(4,), strides=(7,), depth=0, activation="snake"),
}
LOSSES = ["log_mel", "stft", "mse", "l1"]
METRICS = ["log_mel", "stft", "snr", "si_sdr"]
BETTER_IF_LARGER = {"snr", "si_sdr"}

every_network = pytest.mark.parametrize("network", list(NETWORKS.values()), ids=list(NETWORKS))


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def audio_modality(**sections: object) -> AudioModality:
    return AudioModality(AudioConfig.model_validate(sections))


def loss_of(**weights: float) -> AudioModality:
    """A modality whose loss has these terms only."""
    return audio_modality(loss={name: weights.get(name, 0) for name in LOSSES})


def parsed(*overrides: str, data: dict[str, Any] | None = None) -> AudioConfig:
    """An audio config as the command line makes it."""
    config = parse_config(apply_overrides(data or {"modality": "audio"}, overrides, AudioConfig), AudioConfig)
    assert isinstance(config.modality, AudioConfig)
    return config.modality


def noise(batch: int = 3, length: int = 2048, *, seed: int = 0, level: float = 0.5) -> Tensor:
    """White noise within +-level."""
    return (torch.rand(batch, 1, length, generator=torch.Generator().manual_seed(seed)) * 2 - 1) * level


def tones(batch: int = 2, length: int = 2048) -> Tensor:
    """Two sines each, well above the lowest frequencies, of an amplitude of at most 0.9."""
    time = torch.arange(length) / RATE
    pitches = torch.tensor([[220.0 * (1 + i), 730.0 + 90 * i] for i in range(batch)])
    return 0.45 * torch.sin(2 * math.pi * pitches[..., None] * time).sum(1, keepdim=True)


def vowels(batch: int, rate: int, seconds: float = 1.5) -> Tensor:
    """Something that speech metrics take for speech: harmonics of a gliding pitch with pauses between them."""
    time = torch.arange(int(rate * seconds)) / rate
    rows = []
    for row in range(batch):
        pitch = 110 + 30 * row + 20 * torch.sin(2 * math.pi * 1.5 * time)
        phase = 2 * math.pi * pitch.cumsum(0) / rate
        voice = torch.stack([torch.sin(k * phase) / k for k in range(1, 12)]).sum(0)
        rows.append(0.2 * voice * torch.sin(2 * math.pi * 2 * time).clamp(min=0))
    return torch.stack(rows).unsqueeze(1) + noise(batch, len(time), level=1e-4)


def test_the_modality_keeps_the_contract_of_its_protocol():
    modality = load_modality("audio")
    assert modality is AudioModality
    assert isinstance(modality(AudioConfig()), Modality)
    assert isinstance(modality(AudioConfig()), OpensFiles)
    assert modality.api_version == API_VERSION
    assert modality.suffixes == (".wav", ".flac")


def test_a_modality_without_a_config_has_the_default_one():
    assert AudioModality().config == AudioConfig()
    assert AudioModality().sample_shape() == (1, 2048)


def test_the_shape_of_a_sample_follows_from_the_config_alone():
    config = {"data": {"name": "folder", "root": "missing", "length": 192}, "network": {"hop": 32}}
    assert audio_modality(**config).sample_shape() == (1, 192)


# Config


MISTAKES: list[tuple[tuple[str, ...], tuple[str, ...]]] = [
    (("data.length=100",), (r"data\.length=100", "multiple of the 64 ")),
    (("data.length=2000", "network.hop=48", "network.window=128"), (r"data\.length=2000", "multiple of the 48 ")),
    (("network.kind=wave", "network.stride=5"), (r"data\.length=2048", "multiple of the 125 ")),
    (("network.kind=residual", "network.strides=[3,5,7]"), (r"data\.length=2048", "multiple of the 105 ")),
    (("network.window=32",), (r"network\.window=32", r"network\.hop=64", "longer than the hop")),
    (("network.window=64",), (r"network\.window=64", r"network\.hop=64", "longer than the hop")),
    (("network.window=255",), (r"network\.window=255", "must be even")),
    (("network.hop=3",), (r"network\.hop=3", "must be even")),
    (("network.kind=residual", "network.strides=[4]"), (r"network\.strides=\[4\]", r"widths=\[32, 64, 128\]", "equal")),
    (("network.kind=residual", "network.strides=[4,4,1]"), (r"network\.strides\.2", "equal to 2", "found 1")),
    (("network.kind=residual", "network.widths=[]"), (r"network\.widths", "at least 1 item", r"\[\]")),
    (("network.kind=residual", "network.activation=relu"), (r"network\.activation", "'snake' or 'elu'", "'relu'")),
    (("network.kind=wave", "network.kernel=4"), (r"network\.kernel", "odd number", "found 4")),
    (("network.kind=nope",), (r"network\.kind", "'spectral', 'wave', 'residual'", "'nope'")),
    (("network.kind=",), (r"network", "'spectral', 'wave', 'residual'")),
    (("network=3",), (r"network", "3")),
    (("network=",), (r"network", "(?i)none")),
    (("network=[wave]",), (r"network", "wave")),
    (("network.kind=wave", "network.hop=4"), (r"unknown key 'network\.hop' for kind",)),
    (("network.kernel=5",), (r"unknown key 'network\.kernel' for kind",)),
    (("network.widht=5",), (r"unknown key 'network\.widht'", r"did you mean 'network\.width'")),
    (("loss.log_mel=0", "loss.mse=0"), ("loss", "every weight is 0")),
    (("loss.mse=-1",), (r"loss\.mse", "equal to 0", "found -1")),
    (("loss=l1",), ("loss", "found 'l1'")),
    (("encoding=mp3",), ("encoding", "'16bit', '24bit' or 'float'", "'mp3'")),
    (("data.shift=-1",), (r"data\.shift", "equal to 0", "found -1")),
]


@pytest.mark.parametrize(("overrides", "patterns"), MISTAKES, ids=[" ".join(row[0]) for row in MISTAKES])
def test_a_mistake_in_the_config_is_one_line_that_names_it_and_the_way_out(overrides, patterns):
    with pytest.raises(ConfigError) as error:
        parsed(*overrides)
    message = str(error.value)
    assert "\n" not in message
    assert len(message) < 200
    for pattern in patterns:
        assert re.search(pattern, message), message
    assert not re.search(r"network\.(spectral|wave|residual)\b|lambda", message), f"no key of a config: {message}"


@pytest.mark.parametrize("network", ["spectral", "wave", "residual"])
def test_a_config_of_each_kind_is_written_and_read_back(network):
    config = Config(CoreConfig(modality="audio"), parsed(f"network.kind={network}", "data.root=somewhere"))
    assert parse_config(config.to_dict(), AudioConfig) == config
    assert config.to_dict()["network"]["kind"] == network


def test_another_kind_of_network_drops_the_keys_of_the_old_one():
    written = Config(CoreConfig(modality="audio"), AudioConfig()).to_dict()
    changed = apply_overrides(written, ["network.kind=wave", "network.kernel=9"], AudioConfig)
    assert changed["network"] == {"kind": "wave", "kernel": 9}
    assert {**changed, "network": None} == {**written, "network": None}
    assert parsed("network.kind=wave", data=written).network == WaveConfig()


@pytest.mark.parametrize(
    ("network", "override", "left"),
    [
        ({"hop": 32}, "network.kind=spectral", {"hop": 32, "kind": "spectral"}),
        ({"kind": "wave", "stride": 2}, "network.kind=wave", {"kind": "wave", "stride": 2}),
        ({"hop": 32}, "network.kind=residual", {"kind": "residual"}),
        ({"kind": "residual", "depth": 1}, "network.kind=spectral", {"kind": "spectral"}),
    ],
)
def test_keys_are_dropped_only_where_the_kind_of_network_changes(network, override, left):
    assert apply_overrides({"network": network}, [override], AudioConfig)["network"] == left


# Networks


@every_network
@pytest.mark.parametrize("frames", [1, 5, 12])
def test_an_encoder_makes_a_frame_of_so_many_samples_and_a_decoder_of_any_channels_goes_back(network, frames):
    length = frames * network.samples_per_frame
    latent = encoder_of(network).eval()(noise(2, length))
    assert latent.shape == (2, network.channels, frames)
    assert torch.isfinite(latent).all()
    for channels in (1, network.channels, 2 * network.channels):
        x_hat = decoder_of(network, channels).eval()(torch.randn(2, channels, frames))
        assert x_hat.shape == (2, 1, length)
        assert torch.isfinite(x_hat).all()


def test_the_modality_builds_the_networks_of_its_config():
    modality = audio_modality(data={"length": 64}, network={"kind": "wave", "widths": [3], "stride": 4, "channels": 7})
    assert modality.encoder()(noise(2, 64)).shape == (2, 7, 16)
    assert modality.decoder(9)(torch.randn(2, 9, 16)).shape == (2, 1, 64)


@settings(deadline=None, max_examples=15)
@given(
    strides=st.lists(st.integers(2, 7), min_size=1, max_size=3),
    frames=st.integers(1, 4),
    activation=st.sampled_from(["snake", "elu"]),
)
def test_residual_networks_of_any_strides_keep_the_length(strides, frames, activation):
    network = ResidualConfig(
        channels=2, widths=tuple([3] * len(strides)), strides=tuple(strides), depth=1, activation=activation
    )
    x = noise(1, frames * math.prod(strides))
    latent = encoder_of(network)(x)
    assert latent.shape == (1, 2, frames)
    assert decoder_of(network, 2)(latent).shape == x.shape


@settings(deadline=None, max_examples=15)
@given(hop=st.integers(1, 20).map(lambda half: 2 * half), more=st.integers(1, 40), frames=st.integers(1, 5))
def test_spectral_networks_of_any_hop_and_window_keep_the_length(hop, more, frames):
    network = SpectralConfig(channels=2, width=4, depth=1, hop=hop, window=max(4, hop + 2 * more))
    x = noise(1, frames * hop)
    latent = encoder_of(network)(x)
    assert latent.shape == (1, 2, frames)
    assert decoder_of(network, 2)(latent).shape == x.shape


@every_network
def test_the_loss_reaches_every_weight_of_encoder_and_decoder(network):
    encoder, decoder = encoder_of(network), decoder_of(network, network.channels)
    x = noise(3, 8 * network.samples_per_frame)
    (decoder(encoder(x)) - x).square().mean().backward()
    for module in (encoder, decoder):
        for name, weight in module.named_parameters():
            assert weight.grad is not None, name
            assert torch.isfinite(weight.grad).all(), name
            # A bias before a batch norm has no effect; each other weight has some.
            if weight.dim() > 1:
                assert weight.grad.abs().max() > 0, name


@every_network
def test_in_evaluation_a_sound_does_not_depend_on_the_rest_of_its_batch(network):
    encoder, decoder = encoder_of(network), decoder_of(network, network.channels)
    x = noise(4, 6 * network.samples_per_frame)
    decoder(encoder(x))  # moves the statistics of batch norms away from their start
    encoder.eval(), decoder.eval()
    with torch.no_grad():
        torch.testing.assert_close(decoder(encoder(x))[2:3], decoder(encoder(x[2:3])), rtol=1e-4, atol=1e-5)


@every_network
def test_weights_carry_over_to_a_network_of_the_same_config(network):
    def built(seed: int) -> nn.Sequential:
        torch.manual_seed(seed)
        return nn.Sequential(encoder_of(network), decoder_of(network, network.channels)).eval()

    first, second, x = built(0), built(1), noise(2, 6 * network.samples_per_frame)
    with torch.no_grad():
        assert not torch.allclose(first(x), second(x))
        second.load_state_dict(first.state_dict(), strict=True)
        assert torch.equal(first(x), second(x))


@pytest.mark.parametrize("name", ["spectral", "wave", "residual"])
def test_an_autoencoder_of_each_kind_is_loaded_from_its_file_as_it_was(name, tmp_path):
    network = NETWORKS[name].model_dump()
    modality = audio_modality(data={"length": 128}, network=network)
    autoencoder = build_autoencoder(modality, CoreConfig().autoencoder).eval()
    config = Config(CoreConfig(modality="audio"), modality.config)
    save_autoencoder(tmp_path / "weights.safetensors", autoencoder, config)
    loaded, again = load_autoencoder(tmp_path / "weights.safetensors")
    assert again.config == modality.config
    codes = autoencoder.encode(noise(2, 128))
    assert torch.equal(loaded.encode(noise(2, 128)), codes)
    assert torch.equal(loaded.decode(codes), autoencoder.decode(codes))


@every_network
def test_networks_and_losses_train_in_bfloat16(network):
    encoder, decoder = encoder_of(network), decoder_of(network, network.channels)
    x = noise(2, 8 * network.samples_per_frame)
    with torch.autocast("cpu", torch.bfloat16):
        x_hat = decoder(encoder(x)).float()
        loss = loss_of(log_mel=1, stft=1, mse=1, l1=1).reconstruction_loss(x_hat, x).mean()
    loss.backward()
    assert torch.isfinite(loss)
    for name, weight in [*encoder.named_parameters(), *decoder.named_parameters()]:
        assert torch.isfinite(weight.grad).all(), name


@pytest.mark.parametrize("taps", [1, 2, 15, 512])
def test_the_post_filter_changes_nothing_before_it_is_trained(taps):
    latent = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0))
    outputs = []
    for post_filter in (0, taps):
        torch.manual_seed(0)
        network = WaveConfig(channels=3, widths=(4, 6), kernel=5, post_filter=post_filter)
        outputs.append(decoder_of(network, 3).eval()(latent))
    assert outputs[0].abs().max() > 0.001
    torch.testing.assert_close(outputs[1], outputs[0])


def test_the_post_filter_is_learned():
    decoder = decoder_of(WaveConfig(channels=3, widths=(4,), kernel=5, post_filter=8), 3)
    (filters,) = [weight for weight in decoder.parameters() if weight.shape == (8,)]
    decoder(torch.randn(2, 3, 5)).square().mean().backward()
    assert (filters.grad != 0).all()


@pytest.mark.parametrize(("window", "hop"), [(64, 16), (256, 64), (60, 20), (64, 32), (66, 12)])
def test_magnitudes_and_phases_of_a_sound_are_turned_back_into_it(window, hop):
    x = tones(2, 40 * hop) + 0.05 * noise(2, 40 * hop)
    log_magnitude, real, imaginary = _Spectrum(window, hop)(x).chunk(3, 1)
    inverse = _InverseSpectrum(window + 2, window, hop)
    with torch.no_grad():
        inverse.head.weight.copy_(torch.eye(window + 2)[..., None])
        inverse.head.bias.zero_()
        x_hat = inverse(torch.cat([log_magnitude, torch.atan2(imaginary, real)], 1))
    assert x_hat.shape == x.shape
    inside = slice(window, -window)
    torch.testing.assert_close(x_hat[..., inside], x[..., inside], rtol=0, atol=1e-3)


def test_the_encoders_spectrum_of_silence_is_finite_and_constant():
    features = _Spectrum(64, 16)(torch.zeros(1, 1, 128))
    assert torch.isfinite(features).all()
    assert (features == features[:, :, :1]).all()


@pytest.mark.parametrize("size", [1e3, 1e6])
def test_a_spectral_decoder_that_predicts_huge_magnitudes_stays_finite(size):
    decoder = decoder_of(SpectralConfig(channels=3, width=8, depth=1, hop=16, window=64), 3)
    with torch.no_grad():
        decoder[-1].head.weight.mul_(size)
    x_hat = decoder(torch.randn(2, 3, 10))
    assert torch.isfinite(x_hat).all()
    x_hat.square().mean().backward()
    assert all(torch.isfinite(weight.grad).all() for weight in decoder.parameters())


# Losses


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("batch", [1, 3])
def test_a_loss_is_one_number_for_each_sound_and_zero_for_equal_ones(name, batch):
    x = noise(batch)
    values = loss_of(**{name: 1}).reconstruction_loss(x.clone(), x)
    assert values.tolist() == [0] * batch
    assert (loss_of(**{name: 1}).reconstruction_loss(noise(batch, seed=1), x) > 0).all()


@pytest.mark.parametrize("measure", [*(f"{name} loss" for name in LOSSES), *METRICS])
def test_more_noise_is_worse_by_every_measure(measure):
    name, _, kind = measure.partition(" ")
    fn = loss_of(**{name: 1}).reconstruction_loss if kind else AudioModality().metrics()[name]
    sign = -1 if not kind and name in BETTER_IF_LARGER else 1
    x, error = tones(), noise(2, seed=1)
    values = torch.stack([sign * fn(x + amount * error, x) for amount in (0.0, 0.01, 0.03, 0.1, 0.3, 1.0)])
    assert (values.diff(dim=0) > 0).all(), values


@pytest.mark.parametrize("measure", [*(f"{name} loss" for name in LOSSES), *METRICS])
def test_measures_of_a_sound_do_not_depend_on_the_rest_of_the_batch(measure):
    name, _, kind = measure.partition(" ")
    fn = loss_of(**{name: 1}).reconstruction_loss if kind else AudioModality().metrics()[name]
    x, x_hat = noise(4), noise(4, seed=1) * torch.tensor([1.0, 0.1, 0.01, 0.0])[:, None, None]
    singly = torch.cat([fn(x_hat[i : i + 1], x[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(fn(x_hat, x), singly, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize(
    ("x_hat", "x"),
    [("silence", "silence"), ("silence", "noise"), ("noise", "silence"), ("noise", "noise")],
    ids=lambda kind: kind,
)
def test_losses_and_their_gradients_are_finite_at_silence_and_at_identity(name, x_hat, x):
    sounds = {"silence": torch.zeros(2, 1, 2048), "noise": noise(2)}
    estimate = sounds[x_hat].clone().requires_grad_()
    values = loss_of(**{name: 1}).reconstruction_loss(estimate, sounds[x])
    assert torch.isfinite(values).all()
    assert (values > 0).all() == (x_hat != x)
    (gradient,) = torch.autograd.grad(values.sum(), estimate)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("name", LOSSES)
def test_a_step_against_the_gradient_of_a_loss_makes_it_smaller(name):
    loss = loss_of(**{name: 1}).reconstruction_loss
    x, x_hat = tones(), (tones() + noise(2, level=0.2)).requires_grad_()
    before = loss(x_hat, x)
    (gradient,) = torch.autograd.grad(before.sum(), x_hat)
    step = 1e-4 * gradient / gradient.abs().flatten(1).mean(1)[:, None, None]
    assert (loss((x_hat - step).detach(), x) < before).all()


@pytest.mark.parametrize(("name", "rate"), [("log_mel", 100_000), ("stft", 190_000)])
def test_a_loss_that_was_first_used_in_inference_can_be_trained_with_afterwards(name, rate):
    """No other test uses these rates, so that nothing has been prepared for them."""
    loss = audio_modality(data={"rate": rate}, loss={other: float(other == name) for other in LOSSES})
    with torch.inference_mode():
        loss.reconstruction_loss(noise(seed=1), noise())
    x_hat = noise(seed=1).requires_grad_()
    loss.reconstruction_loss(x_hat, noise()).sum().backward()
    assert x_hat.grad.abs().max() > 0


@pytest.mark.parametrize(("name", "expected"), [("mse", [0.0, 0.25, 0.5]), ("l1", [0.0, 0.5, 0.5])])
def test_losses_of_the_waveform_are_means_over_its_samples(name, expected):
    x = torch.zeros(3, 1, 64)
    x_hat = x.clone()
    x_hat[1] = -0.5
    x_hat[2, :, :32] = 1.0
    assert loss_of(**{name: 1}).reconstruction_loss(x_hat, x).tolist() == pytest.approx(expected)


def test_the_loss_is_the_sum_of_its_terms_times_their_weights():
    x, x_hat = noise(), noise(seed=1)
    weights = {"log_mel": 2.0, "stft": 0.5, "mse": 3.0, "l1": 0.25}
    singly = {name: loss_of(**{name: 1}).reconstruction_loss(x_hat, x) for name in LOSSES}
    expected = sum(weights[name] * singly[name] for name in LOSSES)
    torch.testing.assert_close(loss_of(**weights).reconstruction_loss(x_hat, x), expected)


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_the_log_mel_distance_is_in_nepers(rate):
    x = noise()
    fn = audio_modality(data={"rate": rate}).metrics()["log_mel"]
    for factor in (0.5, 2.0):
        torch.testing.assert_close(fn(factor * x, x), torch.full((3,), math.log(2)), atol=0.01, rtol=0)


def test_differences_below_minus_sixty_decibels_are_none_to_the_log_mel_distance():
    fn = AudioModality().metrics()["log_mel"]
    assert fn(noise(level=1e-5), noise(seed=1, level=1e-5)).tolist() == [0, 0, 0]
    assert (fn(noise(level=0.1), noise(seed=1, level=1e-5)) > 1).all()


def test_the_losses_of_spectra_hardly_hear_a_shift_that_the_waveforms_losses_do():
    """A tone a quarter period late sounds the same."""
    time = torch.arange(2048) / RATE
    fade = torch.hann_window(2048)
    x, late = (fade * torch.sin(2 * math.pi * 500 * time - phase)[None, None] for phase in (0, math.pi / 2))
    for name in ("log_mel", "stft"):
        fn = loss_of(**{name: 1}).reconstruction_loss
        assert fn(late, x) < 0.2 * fn(0.5 * x, x), name
    for name in ("mse", "l1"):
        fn = loss_of(**{name: 1}).reconstruction_loss
        assert fn(late, x) > fn(0.5 * x, x), name


@pytest.mark.parametrize("rate", [8000, 12000, 24000, 32000, 48000])
@pytest.mark.parametrize("length", [64, 1000])
def test_losses_work_without_warnings_at_any_usual_rate_and_length(rate, length):
    weights = dict.fromkeys(LOSSES, 1)
    modality = audio_modality(data={"rate": rate, "length": length}, network={"hop": 2}, loss=weights)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        values = modality.reconstruction_loss(noise(2, length, seed=1), noise(2, length))
    assert (values > 0).all()


@pytest.mark.parametrize("name", LOSSES)
def test_losses_in_a_bfloat16_training_are_about_those_of_full_precision(name):
    x, x_hat, loss = tones(), tones() + noise(2, level=0.05), loss_of(**{name: 1}).reconstruction_loss
    with torch.autocast("cpu", torch.bfloat16):
        low = loss(x_hat, x)
    torch.testing.assert_close(low.float(), loss(x_hat, x), rtol=0.02, atol=0)


# Metrics


def test_metrics_of_sounds_have_names_and_one_value_for_each():
    metrics = AudioModality().metrics()
    assert list(metrics) == METRICS
    for name, metric in metrics.items():
        assert metric(noise(4, seed=1), noise(4)).shape == (4,), name


@pytest.mark.parametrize("name", METRICS)
def test_metrics_of_any_sounds_are_finite(name):
    silence, full, quiet = torch.zeros(2048), torch.ones(2048), noise(1, level=1e-6)[0, 0]
    kinds = [silence, full, -full, quiet, noise(1)[0, 0]]
    pairs = [(a, b) for a in kinds for b in kinds]
    x_hat, x = (torch.stack(part).unsqueeze(1) for part in zip(*pairs, strict=True))
    values = AudioModality().metrics()[name](x_hat, x)
    assert values.shape == (len(pairs),)
    assert torch.isfinite(values).all()
    if name in BETTER_IF_LARGER:
        assert values.abs().max() <= 100


def test_the_scale_invariant_ratio_is_the_energy_along_the_sound_over_the_rest():
    x, rest = torch.zeros(1, 1, 256), torch.zeros(1, 1, 256)
    x[..., :128], rest[..., 128:] = 0.5, 0.05
    assert AudioModality().metrics()["si_sdr"](0.2 * x + rest, x).item() == pytest.approx(20 * math.log10(2), abs=1e-4)


@pytest.mark.parametrize(("name", "least"), [("snr", 100), ("si_sdr", 80)])
def test_ratios_of_equal_sounds_are_near_or_at_the_cap(name, least):
    x = torch.cat([noise(2), tones(2)])
    values = AudioModality().metrics()[name](x.clone(), x)
    assert (values >= least).all()
    assert (values <= 100).all()


@pytest.mark.parametrize("level", [0.5, 0.05, 0.005])
def test_the_signal_to_noise_ratio_is_that_of_the_powers(level):
    x, error = tones(), noise(2, seed=1, level=level)
    powers = [part.double().numpy().reshape(2, -1) ** 2 for part in (x, error)]
    expected = 10 * np.log10(powers[0].mean(1) / powers[1].mean(1))
    assert AudioModality().metrics()["snr"](x + error, x).tolist() == pytest.approx(expected.tolist(), abs=0.01)


@settings(deadline=None, max_examples=25)
@given(error=st.floats(0.001, 10), sign=st.sampled_from([-1, 1]))
def test_a_sound_that_is_off_by_a_factor_has_the_ratio_of_that_factor(error, sign):
    x = tones()
    values = AudioModality().metrics()["snr"](x * (1 + sign * error), x)
    assert values.tolist() == pytest.approx([-20 * math.log10(error)] * 2, abs=0.05)


@settings(deadline=None, max_examples=25)
@given(scale=st.floats(0.05, 20), level=st.sampled_from([0.01, 0.1, 0.5]))
def test_the_scale_invariant_ratio_does_not_hear_the_level_of_the_estimate(scale, level):
    x = tones()
    x_hat = x + noise(2, seed=1, level=level)
    metric = AudioModality().metrics()["si_sdr"]
    torch.testing.assert_close(metric(scale * x_hat, x), metric(x_hat, x), atol=0.05, rtol=0)


@pytest.mark.parametrize(
    ("missing", "named"), [({"pesq", "pystoi"}, "pesq and pystoi"), ({"pesq"}, "pesq"), ({"pystoi"}, "pystoi")]
)
def test_speech_metrics_without_their_packages_name_the_extra(missing, named, monkeypatch):
    found = importlib.util.find_spec

    def find_spec(name: str, package: str | None = None) -> object:
        if name in missing:
            return None
        return "found" if name in ("pesq", "pystoi") else found(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)
    with pytest.raises(ConfigError) as error:
        audio_modality(speech_metrics=True).metrics()
    assert re.search(rf"speech_metrics=true needs {named}: pip install 'anytime-toolkit\[speech\]'$", str(error.value))
    assert list(audio_modality(speech_metrics=False).metrics()) == METRICS


def test_speech_metrics_at_a_rate_that_they_do_not_know_are_refused():
    pytest.importorskip("pesq")
    pytest.importorskip("pystoi")
    with pytest.raises(ConfigError, match=r"speech_metrics=true needs data\.rate=8000 or 16000, found 22050$"):
        audio_modality(speech_metrics=True, data={"rate": 22050}).metrics()


def speech_modality(rate: int, length: int) -> AudioModality:
    pytest.importorskip("pesq")
    pytest.importorskip("pystoi")
    return audio_modality(speech_metrics=True, data={"rate": rate, "length": length}, network={"hop": 2})


@pytest.mark.parametrize("rate", [8000, 16000])
def test_speech_metrics_are_best_for_equal_sounds_and_fall_with_noise(rate):
    x = vowels(2, rate)
    metrics = speech_modality(rate, x.shape[-1]).metrics()
    assert list(metrics) == [*METRICS, "pesq", "stoi"]
    error = noise(2, x.shape[-1], seed=1)
    for name in ("pesq", "stoi"):
        values = torch.stack([metrics[name](x + amount * error, x) for amount in (0.0, 0.003, 0.03)])
        assert values.shape == (3, 2)
        assert values.dtype == torch.float32
        assert torch.isfinite(values).all()
        assert (values.diff(dim=0) < 0).all(), values
        assert values[0].min() > {"pesq": 4, "stoi": 0.99}[name]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_speech_metrics_of_silence_are_the_lowest_and_leave_the_rest_of_the_batch_alone():
    voice = vowels(1, RATE)
    metrics = speech_modality(RATE, voice.shape[-1]).metrics()
    silence = torch.zeros_like(voice)
    x_hat, x = torch.cat([silence, voice, silence, voice]), torch.cat([voice, silence, silence, voice])
    assert metrics["pesq"](x_hat, x).tolist() == pytest.approx([1, 1, 1, metrics["pesq"](voice, voice).item()])
    assert metrics["stoi"](x_hat, x).tolist() == pytest.approx([0, 0, 0, 1], abs=0.01)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("length", [64, 200, 2000])
def test_speech_metrics_of_short_clips_are_refused_or_finite(length):
    try:
        metrics = speech_modality(RATE, length).metrics()
    except (ConfigError, ValidationError) as error:
        assert "data.length" in str(error)  # noqa: PT017
        return
    x = vowels(2, RATE)[..., 4000 : 4000 + length]
    for name in ("pesq", "stoi"):
        assert torch.isfinite(metrics[name](x, x)).all()


# Augmentation


def test_without_a_shift_augmentation_gives_the_batch_itself():
    x, generator = noise(), torch.Generator().manual_seed(0)
    before = generator.get_state()
    assert audio_modality(data={"shift": 0}).augment(x, generator) is x
    assert torch.equal(generator.get_state(), before)


def shifts_of(view: Tensor, x: Tensor, most: int) -> list[set[int]]:
    """By how much each clip may have been moved, silence moving in."""
    length = x.shape[-1]
    found = []
    for moved, clip in zip(view[:, 0], x[:, 0], strict=True):
        candidates = set()
        for shift in range(-most, most + 1):
            expected = torch.zeros(length, dtype=x.dtype)
            for i in range(max(0, shift), min(length, length + shift)):
                expected[i] = clip[i - shift]
            if torch.equal(moved, expected):
                candidates.add(shift)
        found.append(candidates)
    return found


@settings(deadline=None, max_examples=20)
@given(batch=st.integers(1, 4), most=st.integers(1, 12), length=st.integers(8, 20), seed=st.integers(0, 2**32))
def test_clips_are_moved_by_at_most_the_shift_with_silence_moving_in(batch, most, length, seed):
    x = noise(batch, length, seed=seed)
    modality = audio_modality(data={"shift": most})
    view = modality.augment(x, torch.Generator().manual_seed(seed))
    assert view.shape == x.shape
    assert all(shifts_of(view, x, most)), "some clip is no moved one"


def test_each_clip_is_moved_on_its_own_and_every_shift_occurs_about_equally_often():
    x = noise(400, 16)
    view = audio_modality(data={"shift": 2}).augment(x, torch.Generator().manual_seed(0))
    shifts = [shift for (shift,) in shifts_of(view, x, 2)]
    assert all(50 <= shifts.count(shift) <= 110 for shift in range(-2, 3))


def test_shifts_follow_from_the_generator_alone():
    modality, x = audio_modality(data={"shift": 20}), noise(20, 64)
    first, again, other = (modality.augment(x, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_augmentation_keeps_device_and_type(device, dtype):
    x = noise(2, 64).to(device, dtype)
    view = audio_modality(data={"shift": 5}).augment(x, torch.Generator().manual_seed(0))
    assert (view.device, view.dtype, view.shape) == (x.device, dtype, x.shape)


# Files


@pytest.mark.parametrize(
    ("suffix", "encoding", "subtype", "step"),
    [
        (".wav", "16bit", "PCM_16", 2**-15),
        (".wav", "24bit", "PCM_24", 2**-23),
        (".wav", "float", "FLOAT", 2**-24),
        (".flac", "16bit", "PCM_16", 2**-15),
        (".flac", "24bit", "PCM_24", 2**-23),
    ],
)
def test_a_written_sound_reads_back_within_a_step_of_its_encoding(suffix, encoding, subtype, step, tmp_path):
    modality = audio_modality(data={"length": 256, "rate": 22050, "top_db": None}, encoding=encoding)
    (x,) = tones(1, 256)
    x = x * (0.95 / x.abs().max())  # the level that files are brought to when they are read
    path = tmp_path / f"sound{suffix}"
    modality.write(x, path)
    info = soundfile.info(path)
    assert (info.samplerate, info.channels, info.frames, info.subtype) == (22050, 1, 256, subtype)
    assert info.format == suffix.removeprefix(".").upper()
    read = modality.read(path)
    assert (read.shape, read.dtype) == (x.shape, torch.float32)
    torch.testing.assert_close(read, x, rtol=0, atol=2 * step + 1e-7)


def test_an_encoding_that_a_format_cannot_hold_is_refused_with_the_way_out(tmp_path):
    with pytest.raises(DataError, match=r"float.*sound\.flac: use \.wav, or \.flac with 16bit or 24bit"):
        audio_modality(encoding="float").write(noise(1)[0], tmp_path / "sound.flac")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("encoding", ["16bit", "24bit", "float"])
def test_values_outside_the_range_are_clipped_with_a_warning_where_the_encoding_cannot_hold_them(
    encoding, tmp_path, caplog
):
    x = torch.zeros(1, 64)
    x[0, :3] = torch.tensor([3.0, -2.0, 0.5])
    with caplog.at_level(logging.WARNING):
        audio_modality(encoding=encoding).write(x, tmp_path / "loud.wav")
    written, _ = soundfile.read(tmp_path / "loud.wav")
    kept = encoding == "float"
    assert written[:3].tolist() == pytest.approx([3.0, -2.0, 0.5] if kept else [1, -1, 0.5], abs=1e-4)
    warned = [record.getMessage() for record in caplog.records]
    assert len(warned) == (0 if kept else 1)
    assert all(re.search(r"loud\.wav: 2 of 64 .* up to 3\.00", message) for message in warned)


def test_a_users_sound_of_another_rate_and_two_channels_is_brought_into_shape(tmp_path):
    time = np.arange(44100) / 44100
    left = 0.2 * np.sin(2 * np.pi * 440 * time)
    soundfile.write(tmp_path / "mine.wav", np.stack([left, np.zeros_like(left)], 1), 44100)
    x = AudioModality().read(tmp_path / "mine.wav")
    assert (x.shape, x.dtype) == ((1, 2048), torch.float32)
    assert x.abs().max() == pytest.approx(0.95, abs=0.01)
    spectrum = torch.fft.rfft(x[0] * torch.hann_window(2048)).abs()
    assert spectrum.argmax() * RATE / 2048 == pytest.approx(440, abs=4)


@pytest.mark.parametrize("name", ["missing.wav", "picture.png"])
def test_a_file_that_is_no_sound_is_named(name, tmp_path):
    Image.new("L", (4, 4)).save(tmp_path / "picture.png")
    for opening in (AudioModality().read, AudioModality().open_file):
        with pytest.raises(DataError, match=re.escape(name)):
            opening(tmp_path / name)


# Previews


def shown(rows: list[PreviewRow], path: Path, modality: AudioModality | None = None) -> Image.Image:
    (modality or AudioModality()).preview(rows, path)
    with Image.open(path) as picture:
        picture.load()
    assert picture.format == "PNG"
    return picture.convert("L")


@pytest.mark.parametrize(("rows", "clips"), [(1, 1), (2, 12), (7, 3)])
def test_a_preview_is_a_picture_with_room_for_every_row(rows, clips, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        picture = shown([PreviewRow(f"{i} codes", tones(clips)) for i in range(rows)], tmp_path / "preview.png")
    assert 800 <= picture.width <= 2000
    assert 100 * rows <= picture.height <= 250 * rows + 50
    assert picture.getextrema()[0] < 100
    assert picture.getextrema()[1] > 200


@pytest.mark.parametrize(("rate", "length", "clips"), [(8000, 2048, 3), (1000, 64, 1), (48000, 24000, 2)], ids=str)
def test_silent_clips_have_a_preview_too(rate, length, clips, tmp_path):
    modality = audio_modality(data={"rate": rate, "length": length}, network={"hop": 8, "window": 16})
    silence = torch.zeros(clips, 1, length)
    picture = shown([PreviewRow("silence", silence)], tmp_path / "preview.png", modality)
    assert picture.width >= 800


def test_a_preview_shows_the_first_eight_clips_what_they_sound_like_and_the_caption(tmp_path):
    eight = noise(8, 256)
    modality = audio_modality(data={"length": 256})

    def picture(caption: str, x: Tensor) -> bytes:
        return shown([PreviewRow(caption, x)], tmp_path / "preview.png", modality).tobytes()

    plain = picture("", eight)
    assert picture("", torch.cat([eight, noise(3, 256, seed=1)])) == plain
    assert picture("", torch.cat([eight[:7], noise(1, 256, seed=1)])) != plain
    assert picture("60 %", eight) != plain


def sheet(rows: list[Tensor], path: Path) -> np.ndarray:
    """A preview of rows of clips as pixels [H, W, 3]."""
    audio_modality().preview([PreviewRow("", x) for x in rows], path)
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def test_a_row_of_fewer_sounds_has_the_scale_of_time_of_the_others(tmp_path):
    x = tones(8)
    pixels = sheet([x, x[:2]], tmp_path / "a.png")
    first, second = (pixels[top + 70 : top + 150, 80:330] for top in (0, 160))
    assert np.abs(first - second).mean() < 5, "the same sounds at the same places"
    assert (pixels[160 + 20 : 160 + 160, 400:] == 255).all(), "nothing is where there is no sound"


def test_a_row_that_is_nearly_silent_is_dark_beside_one_that_is_loud(tmp_path):
    quiet = 1e-5 * tones(2)
    alone, beside = sheet([quiet], tmp_path / "a.png"), sheet([tones(2), quiet], tmp_path / "b.png")[160:]
    assert alone[70:150, 80:1000].mean() > 60
    assert beside[70:150, 80:1000].mean() < 20
