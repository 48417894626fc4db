"""Checks of a modality's networks.

[C, *S] is the shape of the latent map of a sample: C channels, S its spatial shape.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from anytime_core.autoencoder import build_autoencoder
from anytime_core.testing.modality.subject import BATCH, CLOSE, Subject, check, samples

_TRAINING_STEPS = 30


@check()
def encoder_and_decoder_agree(subject: Subject, folder: Path) -> None:
    """The encoder gives [B, C, *S], the decoder takes such maps with any number of channels and gives samples."""
    with torch.no_grad():
        latent = subject.made.encoder().eval()(subject.x)
        assert latent.ndim >= 3, f"the encoder gives {tuple(latent.shape)}, not [B, C, *S] with at least one S"
        assert len(latent) == len(subject.x), f"the encoder makes {len(latent)} maps of {len(subject.x)} samples"
        for channels in (latent.shape[1], 2 * latent.shape[1], latent.shape[1] + 1):
            h = torch.randn(len(latent), channels, *latent.shape[2:])
            x = subject.made.decoder(channels).eval()(h)
            assert x.shape == subject.x.shape, (
                f"decoder({channels}) gives {tuple(x.shape)}, not {tuple(subject.x.shape)}"
            )
            assert x.isfinite().all(), f"decoder({channels}) gives values that are not finite"
    assert subject.autoencoder().code_length == latent.shape[1]


@check()
def rows_do_not_mix(subject: Subject, folder: Path) -> None:
    """In evaluation mode the result for each row of a batch is the same as for the row alone."""
    with torch.no_grad():
        for name, network, x in _networks(subject):
            network.eval()
            together, alone = network(x), torch.cat([network(row.unsqueeze(0)) for row in x])
            worst = (together - alone).abs().max().item()
            assert worst < CLOSE * max(1.0, together.abs().max().item()), f"the {name} differs by {worst:.3g} alone"


@check()
def gradients_reach_both(subject: Subject, folder: Path) -> None:
    """The loss moves every parameter of encoder and decoder."""
    autoencoder = subject.autoencoder()
    lengths = torch.full((len(subject.x),), autoencoder.code_length)
    out = autoencoder(subject.x, [lengths])
    (subject.made.reconstruction_loss(out.x_hat[0], subject.x).mean() + out.quantizer_loss.mean()).backward()
    for part in ("encoder", "decoder"):
        for name, parameter in getattr(autoencoder, part).named_parameters():
            assert parameter.grad is not None, f"no gradient reaches {part}.{name}"
            assert parameter.grad.isfinite().all(), f"the gradient of {part}.{name} is not finite"
        grads = [parameter.grad.abs().max() for parameter in getattr(autoencoder, part).parameters()]
        assert not grads or max(grads) > 0, f"the gradient of the {part} is 0"


@check()
def evaluation_is_deterministic(subject: Subject, folder: Path) -> None:
    """In evaluation mode encoder and decoder give the same twice, and their state does not change."""
    with torch.no_grad():
        for name, network, x in _networks(subject):
            network.eval()
            before = {key: value.clone() for key, value in network.state_dict().items()}
            assert torch.equal(network(x), network(x)), f"the {name} gives something else the second time"
            changed = [key for key, value in network.state_dict().items() if not torch.equal(value, before[key])]
            assert not changed, f"the {name} changes its {', '.join(changed)} in evaluation mode"


@check()
def weights_survive_safetensors(subject: Subject, folder: Path) -> None:
    """New networks with the state from safetensors, loaded strictly, compute the same."""
    first, second = subject.autoencoder(), build_autoencoder(subject.make(), subject.autoencoder_config)
    state = {name: tensor.contiguous() for name, tensor in first.state_dict().items()}
    second.load_state_dict(load(save(state)), strict=True)
    lengths = torch.full((len(subject.x),), first.code_length)
    with torch.no_grad():
        decoded = [one.eval().decode_vectors(one.encode_vectors(subject.x), lengths) for one in (first, second)]
    assert torch.equal(*decoded), "networks with the same weights differ: state is in no parameter and no buffer"


@check()
def training_lowers_the_loss(subject: Subject, folder: Path) -> None:
    """A few training steps on one batch lower the reconstruction loss."""
    autoencoder = subject.autoencoder()
    x = samples(subject.datasets.train, 4 * BATCH)
    lengths = [torch.full((len(x),), autoencoder.code_length)]
    optimizer = torch.optim.AdamW(autoencoder.parameters(), lr=2e-3)
    losses = []
    for _ in range(_TRAINING_STEPS):
        out = autoencoder(x, lengths)
        loss = subject.made.reconstruction_loss(out.x_hat[0], x).mean()
        optimizer.zero_grad()
        (loss + out.quantizer_loss.mean()).backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0], f"after {_TRAINING_STEPS} steps the loss is {losses[-1]:.4g}, before {losses[0]:.4g}"


def _networks(subject: Subject) -> Iterator[tuple[str, nn.Module, Tensor]]:
    """Encoder and decoder, each with an input."""
    torch.manual_seed(0)
    encoder = subject.made.encoder()
    with torch.no_grad():
        latent = encoder.eval()(subject.x)
    yield "encoder", encoder, subject.x
    yield "decoder", subject.made.decoder(latent.shape[1]), torch.randn(latent.shape)
