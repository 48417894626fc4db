"""The ordered autoencoder.

Xu et al., "Anytime Sampling for Autoregressive Models via Ordered Autoencoding", ICLR 2021.

[C, *S] is the shape of the latent map of a sample: C channels, S its spatial shape.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from anytime_core.config import AutoencoderConfig
from anytime_core.errors import ConfigError, PluginError
from anytime_core.identity import ValueDecoder, ValueEncoder, neighbours, order_of, prefix_in_words
from anytime_core.modality import Modality
from anytime_core.pca import linear_networks
from anytime_core.quantizers.base import CodeSpec, Quantizer, build_quantizer
from anytime_core.quantizers.config import LevelsConfig
from anytime_core.quantizers.levels import BitPlanes, LevelQuantizer
from anytime_core.truncation import prefix_mask


@dataclass(frozen=True)
class Reconstruction:
    """The result of one training pass of the autoencoder, with J decodings of each sample.

    Attributes:
        x_hat: J tensors [B, *sample_shape].
        codes: [B, N] int64, None for continuous codes.
        quantizer_loss: [B], over the kept codes.
    """

    x_hat: tuple[Tensor, ...]
    codes: Tensor | None
    quantizer_loss: Tensor


class OrderedAutoencoder(nn.Module):
    """Encoder, quantizer, prefix mask and decoder.

    On the channel axis code i is channel i of the latent map (N = C, D = prod(S)), on the spatial axis it is position i
    (N = prod(S), D = C); a quantizer of several stages has as many codes for each of them. The decoder sees dropped
    codes as zeros (or as a learned vector) and, with
    `config.tell_decoder`, the prefix mask as further channels: C of them on the channel axis, one on the spatial axis.

    Args:
        encoder: x [B, *sample_shape] -> [B, C, *S]; channels after the first C are left out.
        decoder: [B, decoder_channels(...), *S] -> x.
        latent_shape: (C, *S).
        config: axis, quantizer and what the decoder is told.
        grid: see `CodeSpec`; None: the channels (C,), or on the spatial axis the positions S.
        quantizer: of as many vectors as there are codes in a stage; None: the one of `config`.

    Attributes:
        spec: what its codes are.
        prefix: what samples of only some of their codes are, for people; empty if they are whole, but coarser.
    """

    prefix: str = ""

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        latent_shape: Sequence[int],
        config: AutoencoderConfig,
        grid: Sequence[int] | None = None,
        quantizer: Quantizer | None = None,
    ) -> None:
        super().__init__()
        self.latent_shape = tuple(latent_shape)
        self.axis, self.tell_decoder = config.axis, config.tell_decoder
        channels, positions = self.latent_shape[0], math.prod(self.latent_shape[1:])
        on_channels = self.axis == "channel"
        vectors, self.code_dim = (channels, positions) if on_channels else (positions, channels)
        self.encoder, self.decoder = encoder, decoder
        self.quantizer = quantizer or build_quantizer(config.quantizer, vectors, self.code_dim)
        self.code_length = self.quantizer.stages * vectors
        cells = tuple(grid or ((channels,) if on_channels else self.latent_shape[1:]))
        self.spec = CodeSpec(
            length=self.code_length,
            size=self.quantizer.size,
            dim=self.code_dim,
            grid=cells if self.quantizer.stages == 1 else (self.quantizer.stages, *cells),
            radices=self.quantizer.radices,
        )
        self.dropped = nn.Parameter(torch.zeros(self.code_dim)) if config.dropped == "learned" else None

    @staticmethod
    def decoder_channels(latent_shape: Sequence[int], config: AutoencoderConfig) -> int:
        """The number of input channels of the decoder for a latent map of `latent_shape` (C, *S)."""
        channels = latent_shape[0]
        if not config.tell_decoder:
            return channels
        return 2 * channels if config.axis == "channel" else channels + 1

    @property
    def codebook_size(self) -> int | None:
        """K, or None for continuous codes."""
        return self.quantizer.size

    @property
    def device(self) -> torch.device:
        """The device of the weights, or of the codebook if there are none."""
        return next(itertools.chain(self.parameters(), self.buffers())).device

    def forward(self, x: Tensor, lengths: Sequence[Tensor]) -> Reconstruction:
        """Encode once, decode every sample at each of J prefix lengths.

        Args:
            x: [B, *sample_shape].
            lengths: J tensors [B] int64 in 1..N. The quantizer's loss and statistics see the longest of them.
        """
        kept = prefix_mask(torch.stack(tuple(lengths)).amax(0), self.code_length)
        quantized = self.quantizer(self.encode_vectors(x), kept)
        # One pass of the decoder over all decodings, so that they share batch statistics.
        decoded = self.decode_vectors(quantized.vectors.repeat(len(lengths), 1, 1), torch.cat(tuple(lengths)))
        return Reconstruction(decoded.chunk(len(lengths)), quantized.codes, quantized.loss)

    def encode(self, x: Tensor) -> Tensor:
        """Codes [B, N] int64 of samples [B, *sample_shape]. Raises ValueError for continuous codes."""
        return self.quantizer.encode(self.encode_vectors(x))

    def decode(self, codes: Tensor, length: int | Tensor | None = None) -> Tensor:
        """Samples [B, *sample_shape] from the leading codes.

        Args:
            codes: [B, n] int64 with n <= N; codes after `length` are ignored.
            length: how many leading codes to use, one number for all or [B]; None: all n.
        """
        batch, given = codes.shape
        lengths = torch.full((batch,), given, device=codes.device)
        if length is not None:
            lengths = lengths.minimum(torch.as_tensor(length, device=codes.device))
        vectors = self.quantizer.lookup(codes)
        missing = vectors.new_zeros(batch, self.code_length - given, self.code_dim)
        return self.decode_vectors(torch.cat([vectors, missing], 1), lengths)

    def encode_vectors(self, x: Tensor) -> Tensor:
        """Vectors [B, C, prod(S)] or [B, prod(S), C] before quantisation, one for each code of a stage."""
        latent = self.encoder(x)[:, : self.latent_shape[0]].flatten(2)  # [B, C, prod(S)]
        return latent if self.axis == "channel" else latent.transpose(1, 2)

    def decode_vectors(self, vectors: Tensor, lengths: Tensor) -> Tensor:
        """Samples from code vectors [B, N, D], of which the first `lengths` [B] are kept."""
        vectors, kept = self.quantizer.assembled(vectors, prefix_mask(lengths, self.code_length))
        kept = kept.unsqueeze(-1)  # [B, C or prod(S), 1]
        absent = vectors.new_zeros(()) if self.dropped is None else self.dropped.to(vectors.dtype)
        vectors = torch.where(kept, vectors, absent)
        told = kept.to(vectors.dtype)
        if self.axis == "channel":
            parts = [vectors, told.expand_as(vectors)] if self.tell_decoder else [vectors]
            latent = torch.cat(parts, 1)  # [B, C or 2C, prod(S)]
        else:
            parts = [vectors, told] if self.tell_decoder else [vectors]
            latent = torch.cat(parts, 2).transpose(1, 2)  # [B, C or C + 1, prod(S)]
        return self.decoder(latent.unflatten(2, self.latent_shape[1:]))


def build_autoencoder(modality: Modality, config: AutoencoderConfig) -> OrderedAutoencoder:
    """The autoencoder of `config` around the networks of `modality`, or around linear ones, freshly initialised.

    Raises:
        ConfigError: `config.code_length` is more than there is to keep.
        PluginError: the modality's networks do not fit together.
    """
    encoder = modality.encoder()
    probe = torch.zeros(1, *modality.sample_shape())
    with torch.no_grad():
        latent_shape = encoder.eval()(probe).shape[1:]
        if config.kind == "identity":
            return _values_as_codes(probe.shape[1:], config)
        if config.kind == "pca":
            return _linear_autoencoder(probe.shape[1:], latent_shape, config)
        latent_shape = _kept_channels(latent_shape, config)
        decoder = modality.decoder(OrderedAutoencoder.decoder_channels(latent_shape, config))
        autoencoder = OrderedAutoencoder(encoder, decoder, latent_shape, config)
        vectors = torch.zeros(1, autoencoder.code_length, autoencoder.code_dim)
        decoded = autoencoder.eval().decode_vectors(vectors, torch.tensor([autoencoder.code_length]))
    if decoded.shape != probe.shape:
        raise PluginError(
            f"modality '{modality.name}': the decoder returns {tuple(decoded.shape[1:])} "
            f"for samples of shape {tuple(probe.shape[1:])}"
        )
    return autoencoder.train()


def _kept_channels(latent_shape: Sequence[int], config: AutoencoderConfig) -> Sequence[int]:
    """`latent_shape` (C, *S) with only `config.code_length` channels if that is given."""
    if config.code_length is None:
        return latent_shape
    return (_at_most(config.code_length, latent_shape[0], "channels of the latent map"), *latent_shape[1:])


def _linear_autoencoder(
    sample_shape: Sequence[int], latent_shape: Sequence[int], config: AutoencoderConfig
) -> OrderedAutoencoder:
    """Linear networks with as many codes as the modality's networks have, but at most one per value of a sample."""
    values = math.prod(sample_shape)
    if config.code_length is None:
        code_length = min(values, latent_shape[0] if config.axis == "channel" else math.prod(latent_shape[1:]))
    else:
        code_length = _at_most(config.code_length, values, "values of a sample")
    encoder, decoder = linear_networks(torch.zeros(code_length, *sample_shape), torch.zeros(*sample_shape))
    # Each code is a channel of one value; the configured axis only says how many there are.
    return OrderedAutoencoder(encoder, decoder, (code_length, 1), config.model_copy(update={"axis": "channel"}))


def _values_as_codes(shape: Sequence[int], config: AutoencoderConfig) -> OrderedAutoencoder:
    """Each value of a sample, or each bit of it, is a code: one of K levels evenly spaced over [-1, 1]."""
    order = order_of(config, shape)
    cells, places = torch.tensor(order), len(order)
    around = neighbours(shape, config.value_order, config.scale) if config.fills_in else None
    section = LevelsConfig.model_validate(config.quantizer.model_dump())
    quantizer = (
        BitPlanes(places, 1, size=section.size)
        if config.value_order == "bits"
        else LevelQuantizer(places, 1, size=section.size)
    )
    autoencoder = OrderedAutoencoder(
        ValueEncoder(cells),
        ValueDecoder(cells, shape, around),
        (places, 1),
        config.model_copy(update={"axis": "channel", "tell_decoder": config.fills_in}),
        grid=shape,
        quantizer=quantizer,
    )
    whole = tuple(plane * places + cell for plane in range(quantizer.stages) for cell in order)
    levels = tuple(quantizer.levels.tolist()) if isinstance(quantizer, LevelQuantizer) else None
    known = {"levels": levels, "order": None if whole == tuple(range(len(whole))) else whole}
    autoencoder.spec = autoencoder.spec.model_copy(update=known)
    autoencoder.prefix = prefix_in_words(config, shape)
    return autoencoder


def _at_most(code_length: int, most: int, what: str) -> int:
    if code_length > most:
        raise ConfigError(
            f"autoencoder.code_length={code_length} is more than the {most} {what}: choose at most {most}"
        )
    return code_length
