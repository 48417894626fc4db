"""How it learns. Letters: B batch, P positions, N code length, D code dimension."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import torch
from safetensors.torch import load, save
from torch import nn

from anytime_core.testing.quantizers.subject import (
    BATCH,
    DIM,
    POSITIONS,
    Subject,
    check,
    length_of,
    quantised,
    trained,
    vectors,
)
from anytime_core.truncation import prefix_mask

_TRAINING_STEPS = 100


@check()
def loss_is_a_number_a_row(subject: Subject, folder: Path) -> None:
    """The loss is [B] float32, finite and at least 0."""
    loss = quantised(subject.make(), vectors()).loss
    assert loss.shape == (BATCH,), f"the loss has shape {tuple(loss.shape)}, not ({BATCH},)"
    assert loss.dtype == torch.float32, f"the loss is {loss.dtype}, not float32"
    assert loss.isfinite().all(), "the loss is not finite"
    assert loss.min() >= 0, f"the loss is {loss.min().item():.3g}, below 0"


@check()
def dropped_positions_say_nothing(subject: Subject, folder: Path) -> None:
    """Loss, state and the codes of kept positions do not depend on vectors of positions that are not kept."""
    first = subject.make()
    second = deepcopy(first)
    for step in range(3):
        # Nobody keeps a code of the last position.
        kept = prefix_mask(torch.randint(1, POSITIONS, (BATCH,)), length_of(first))
        z = vectors()
        changed = torch.where(kept[:, :POSITIONS].unsqueeze(-1), z, 100 * vectors())
        outputs = []
        for quantizer, seen in ((first, z), (second, changed)):
            torch.manual_seed(step)
            outputs.append(quantizer(seen, kept))
        out, other = outputs
        assert torch.equal(out.loss, other.loss), "the loss depends on dropped positions"
        if out.codes is not None:
            assert torch.equal(out.codes[kept], other.codes[kept]), "codes depend on dropped positions after them"
        others = second.state_dict()
        moved = [name for name, value in first.state_dict().items() if not torch.equal(value, others[name])]
        assert not moved, f"{', '.join(moved)} depends on dropped positions"


@check()
def gradients_pass_through(subject: Subject, folder: Path) -> None:
    """The decoder's gradient arrives at every vector that is quantised, finite, and the loss has one too."""
    z = vectors().requires_grad_()
    quantizer = subject.make()
    out = quantised(quantizer, z)
    (out.vectors.square().sum() + out.loss.sum()).backward()
    assert z.grad is not None, "no gradient arrives at the encoder's vectors"
    assert z.grad.isfinite().all(), "the gradient is not finite"
    still = [position for position in range(POSITIONS) if not z.grad[:, position].abs().max() > 0]
    assert not still, f"the gradient is 0 at positions {still}"
    missing = [name for name, parameter in quantizer.named_parameters() if parameter.grad is None]
    assert not missing, f"no gradient reaches {', '.join(missing)}"


@check()
def weights_survive_safetensors(subject: Subject, folder: Path) -> None:
    """State goes through safetensors into a new one, strictly, which is the same then and goes on learning alike."""
    saved, z = trained(subject), vectors()
    loaded = subject.make()
    loaded.load_state_dict(load(save({name: value.contiguous() for name, value in saved.state_dict().items()})))
    outputs = []
    for quantizer in (saved, loaded):
        torch.manual_seed(1)
        outputs.append(quantised(quantizer, z))
    assert torch.equal(outputs[0].vectors, outputs[1].vectors), (
        "a quantizer with the same weights gives other vectors: something is in no parameter and no buffer"
    )
    others = loaded.state_dict()
    moved = [name for name, value in saved.state_dict().items() if not torch.equal(value, others[name])]
    assert not moved, f"{', '.join(moved)} is another after one more step than without saving"


@check()
def training_leaves_little_error(subject: Subject, folder: Path) -> None:
    """Between two linear layers, training steps on vectors of one bit each undercut the error of a constant answer."""
    x = torch.randint(2, (32, POSITIONS, 1)) * 2 - 1 + 0.1 * torch.randn(32, POSITIONS, DIM)
    quantizer = subject.make()
    encoder, decoder = nn.Linear(DIM, DIM), nn.Linear(DIM, DIM)
    optimizer = torch.optim.AdamW(nn.ModuleList([encoder, quantizer, decoder]).parameters(), lr=0.02)
    for _ in range(_TRAINING_STEPS):
        out = quantised(quantizer, encoder(x))
        seen, _ = quantizer.assembled(out.vectors, torch.ones(out.vectors.shape[:2], dtype=torch.bool))
        error = (decoder(seen) - x).square().mean()
        optimizer.zero_grad()
        (error + out.loss.mean()).backward()
        optimizer.step()
    constant = x.var().item()
    assert error < 0.75 * constant, (
        f"after {_TRAINING_STEPS} steps the error is {error:.3g}, that of a constant answer {constant:.3g}"
    )
