"""Principal components as an autoencoder: what they are, and that all of a run works on them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from conftest import tiny_config
from sklearn.decomposition import PCA
from torch import Tensor

from anytime_core.autoencoder import OrderedAutoencoder, build_autoencoder
from anytime_core.config import Config
from anytime_core.errors import ConfigError
from anytime_core.pca import linear_networks, principal_components, scalar_codebooks
from anytime_core.run import Run, load
from anytime_core.training.train import train_stages
from anytime_image.modality import ImageModality

SAMPLES, SHAPE = 600, (2, 3, 4)


def pca_config(*overrides: str) -> Config:
    return tiny_config(*overrides, baseline="pca")


def build(*overrides: str) -> OrderedAutoencoder:
    config = pca_config(*overrides)
    return build_autoencoder(ImageModality(config.modality), config.core.autoencoder)


@pytest.fixture(scope="module")
def x() -> Tensor:
    """Samples whose variance falls from direction to direction, with a mean."""
    generator = torch.Generator().manual_seed(0)
    directions = torch.linalg.qr(torch.randn(24, 24, generator=generator))[0]
    values = torch.randn(SAMPLES, 24, generator=generator) * 0.8 ** torch.arange(24) @ directions + 0.3
    return values.unflatten(1, SHAPE)


@pytest.mark.parametrize("batch_size", [SAMPLES, 100])
def test_reconstruction_from_n_components_is_that_of_pca(x, batch_size):
    encoder, decoder = linear_networks(*principal_components([{"x": part} for part in x.split(batch_size)], 10))
    coefficients = encoder(x)
    assert coefficients.shape == (SAMPLES, 10, 1)
    flat = x.flatten(1).numpy()
    for length in range(1, 11):
        kept = torch.where(torch.arange(10)[:, None] < length, coefficients, 0.0)
        reference = PCA(length, svd_solver="full").fit(flat)
        expected = np.square(reference.inverse_transform(reference.transform(flat)) - flat).mean()
        error = (decoder(kept) - x).square().mean().item()
        # Several batches forget what lies outside of the components found so far.
        assert error == pytest.approx(expected, rel=1e-4 if batch_size == SAMPLES else 1e-2)


def test_without_codes_the_mean_is_decoded(x):
    components, mean = principal_components([{"x": x}], 5)
    torch.testing.assert_close(mean, x.mean(0), rtol=1e-4, atol=1e-5)
    rows = components.flatten(1)
    torch.testing.assert_close(rows @ rows.T, torch.eye(5), rtol=0, atol=1e-5)
    _, decoder = linear_networks(components, mean)
    torch.testing.assert_close(decoder(torch.zeros(1, 5, 1))[0], mean)


@pytest.mark.parametrize(("size", "left"), [(2, 0.3634), (4, 0.1175), (16, 0.00950)])
def test_codebooks_of_normal_numbers_leave_the_least_possible_error_at_any_scale(size, left):
    """`left` of the variance is what Max, "Quantizing for Minimum Distortion", 1960, gives in table I."""
    scales = torch.tensor([10.0, 1.0, 0.1])
    z = torch.randn(20_000, 3, generator=torch.Generator().manual_seed(1)) * scales + 5
    codebooks = scalar_codebooks(z, size)
    assert codebooks.shape == (3, size)
    errors = (z.T.unsqueeze(-1) - codebooks.unsqueeze(1)).square().amin(-1).mean(1) / scales.square()
    assert errors.tolist() == pytest.approx([left] * 3, rel=0.05)


def test_codebooks_of_few_different_numbers_have_them_all():
    z = torch.tensor([0.0, 0.0, 1.0, 7.0])[:, None]
    codebooks = scalar_codebooks(z, 8)
    assert codebooks.isfinite().all()
    assert (z - codebooks).abs().amin(1).max() == 0


@pytest.mark.parametrize(
    ("overrides", "code_length"),
    [
        ((), 8),
        (("autoencoder.code_length=3",), 3),
        (("autoencoder.code_length=64",), 64),
        (("autoencoder.axis=spatial",), 16),
        (("autoencoder.axis=spatial", "autoencoder.code_length=5"), 5),
        (("network.channels=100",), 64),
    ],
    ids=str,
)
def test_there_are_as_many_codes_as_the_ordered_model_has_and_no_more_than_values(overrides, code_length):
    autoencoder = build(*overrides)
    assert (autoencoder.code_length, autoencoder.code_dim) == (code_length, 1)
    assert autoencoder.quantizer.code_vectors().shape == (code_length, 16, 1)


def test_more_components_than_values_are_refused():
    with pytest.raises(ConfigError, match=r"code_length=65 is more than the 64 values of a sample: choose at most 64"):
        build("autoencoder.code_length=65")


@pytest.mark.parametrize(
    "override",
    [
        "autoencoder.quantizer.kind=fsq",
        "autoencoder.quantizer.shared=true",
        "autoencoder.tell_decoder=true",
        "autoencoder.dropped=learned",
    ],
)
def test_what_principal_components_cannot_have_is_refused_with_the_way_out(override):
    with pytest.raises(ConfigError, match="--baseline pca"):
        pca_config(override)


# A run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A whole run; tests must not change it."""
    folder = tmp_path_factory.mktemp("runs") / "pca"
    train_stages(pca_config(), folder, baseline="pca")
    return load(folder, device="cpu")


def test_a_run_records_one_step_and_a_falling_error(run):
    stage = run.record.stages["autoencoder"]
    assert stage.steps == 1
    errors = stage.validation.reconstruction["mse"]
    assert all(more < less for less, more in itertools.pairwise(errors)), errors
    assert (run.folder / "previews" / "autoencoder-000001.png").exists()


def test_codes_come_back_from_what_they_decode_to(run):
    codes = run.encode(run.modality.datasets().validation.batch(range(50))["x"])
    assert codes.shape == (50, 8)
    assert torch.equal(run.encode(run.decode(codes)), codes)


def test_quantised_reconstructions_are_close_to_those_of_continuous_coefficients(run):
    x = run.modality.datasets().validation.batch(range(100))["x"]
    variance = (x - x.mean(0)).square().mean()
    vectors = run.autoencoder.encode_vectors(x)
    for length in (1, 4, 8):
        exact = run.autoencoder.decode_vectors(vectors, torch.full((100,), length))
        quantised = run.decode(run.encode(x), length)
        assert (quantised - exact).square().mean() < 0.02 * variance


def test_samples_within_a_budget_are_prefixes_of_whole_ones(run):
    whole, part = run.sample(6, seed=3), run.sample(6, 0.5, seed=3)
    assert whole.x.shape == (6, 1, 8, 8)
    assert torch.equal(part.codes, whole.codes[:, :4])
    torch.testing.assert_close(part.x, run.decode(whole.codes, 4))


def test_the_same_seed_fits_the_same_files(run, tmp_path):
    torch.manual_seed(99)
    train_stages(pca_config(), tmp_path / "again", stages=("autoencoder",))
    name = "autoencoder.safetensors"
    assert (tmp_path / "again" / name).read_bytes() == (run.folder / name).read_bytes()


def test_continuous_components_reconstruct(tmp_path):
    train_stages(pca_config("autoencoder.quantizer.kind=none"), tmp_path / "run", stages=("autoencoder",))
    run = load(tmp_path / "run", device="cpu")
    x = run.modality.datasets().train.batch(range(200))["x"]
    errors = [(run.reconstruct(x, budget) - x).square().mean() for budget in (0.25, 0.5, 1.0)]
    assert errors == sorted(errors, reverse=True)


def test_fewer_training_samples_than_components_are_refused_before_anything_is_written(tmp_path):
    config = pca_config("data.size=64", "autoencoder.code_length=2000")
    with pytest.raises(ConfigError, match=r"2000 principal components .* found \d+: set autoencoder\.code_length="):
        train_stages(config, tmp_path / "run", stages=("autoencoder",))
    assert not (tmp_path / "run").exists()
