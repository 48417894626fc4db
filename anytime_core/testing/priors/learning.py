"""Checks of how a prior learns, and of what it says about codes."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import torch
from safetensors.torch import load, save
from torch import Tensor

from anytime_core.errors import ConfigError
from anytime_core.priors.base import Prior
from anytime_core.testing.priors.subject import (
    BATCH,
    CLOSE,
    Subject,
    Vectors,
    check,
    counting,
    resized,
    some_codes,
    some_labels,
)

_STEPS = 30


@check("discrete")
def losses_are_numbers(subject: Subject, folder: Path) -> None:
    """The training loss is float32 [B] and `log_prob` [B, N], both finite; no code is more likely than 1."""
    for prior in (subject.make(), subject.make().train()):
        codes = some_codes(prior.spec)
        loss, log_prob = prior(codes, None), prior.log_prob(codes, None)
        for name, value, shape in (("loss", loss, (BATCH,)), ("log_prob", log_prob, tuple(codes.shape))):
            assert value.shape == shape, f"{name} has shape {tuple(value.shape)}, not {shape}"
            assert value.dtype == torch.float32, f"{name} is {value.dtype}, not float32"
            assert value.isfinite().all(), f"{name} is not finite"
        assert log_prob.max() <= CLOSE, f"log_prob reaches {log_prob.max().item():.3g}, a probability over 1"


@check("discrete")
def gradients_reach_every_parameter(subject: Subject, folder: Path) -> None:
    """The training loss moves every parameter."""
    prior = subject.make().train()
    prior(some_codes(prior.spec, 8 * BATCH), None).mean().backward()
    for name, parameter in prior.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, f"no gradient reaches {name}"
            assert parameter.grad.isfinite().all(), f"the gradient of {name} is not finite"


@check("discrete")
def training_lowers_the_loss(subject: Subject, folder: Path) -> None:
    """A few training steps on equal sequences lower the loss."""
    prior = subject.make().train()
    codes = some_codes(prior.spec, 1).expand(BATCH, -1)
    optimizer = torch.optim.AdamW(prior.parameters(), lr=2e-3)
    losses = []
    for _ in range(_STEPS):
        loss = prior(codes, None).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    first, last = losses[0], sum(losses[-5:]) / 5
    assert last < 0.9 * first, f"after {_STEPS} steps the loss is {last:.4g}, before {first:.4g}"


@check("discrete")
def evaluation_is_deterministic(subject: Subject, folder: Path) -> None:
    """In evaluation mode `log_prob` follows from codes and generator alone, and the prior's state does not change."""
    prior = subject.trained()
    codes = some_codes(prior.spec)
    before = {name: value.clone() for name, value in prior.state_dict().items()}
    state = torch.get_rng_state()
    assert torch.equal(_log_prob(prior, codes), _log_prob(prior, codes)), "log_prob differs the second time"
    assert torch.equal(state, torch.get_rng_state()), "log_prob uses the global generator, not the given one"
    changed = [name for name, value in prior.state_dict().items() if not _same(value, before[name])]
    assert not changed, f"it changes its {', '.join(changed)} in evaluation mode"


@check("discrete")
def weights_survive_safetensors(subject: Subject, folder: Path) -> None:
    """A new prior with the state from safetensors, loaded strictly, is the same model."""
    saved, loaded = subject.trained(), subject.make()
    loaded.load_state_dict(load(save({name: value.contiguous() for name, value in saved.state_dict().items()})))
    codes = some_codes(saved.spec)
    assert torch.equal(_log_prob(saved, codes), _log_prob(loaded, codes)), (
        "a prior with the same weights differs: some state is in no parameter and no buffer"
    )


@check("discrete")
def code_vectors_may_be_anything(subject: Subject, folder: Path) -> None:
    """It learns without a table of code vectors, with one for all positions, with one each, and with equal vectors."""
    for vectors in get_args(Vectors):
        prior = subject.make(vectors=vectors).train()
        loss = prior(some_codes(prior.spec), None)
        assert loss.isfinite().all(), f"with code vectors '{vectors}' the loss is not finite"


@check("discrete")
def fewest_codes_are_enough(subject: Subject, folder: Path) -> None:
    """It learns codes of length 1 and of 2 values, unless its section refuses them."""
    size = subject.spec.size or 2
    for length, values in ((1, size), (subject.spec.length, 2), (1, 2)):
        spec = resized(subject.spec, length, values)
        try:
            subject.section.check(spec)
        except ConfigError:
            continue
        codes, where = some_codes(spec), f"with N = {length} and K = {values}"
        loss = subject.make(spec).train()(codes, None)
        assert loss.isfinite().all(), f"the loss is not finite {where}"
        log_prob = subject.make(spec).log_prob(codes, None)
        assert log_prob.shape == codes.shape, f"log_prob has shape {tuple(log_prob.shape)} {where}"


@check("discrete")
def learned_codes_are_likelier(subject: Subject, folder: Path) -> None:
    """Codes like those of its training get a higher log probability than random codes."""
    prior = subject.trained()
    learned, others = counting(prior.spec, some_labels(prior.spec), 64), some_codes(prior.spec, 64)
    likely, unlikely = (_log_prob(prior, codes).mean().item() for codes in (learned, others))
    assert likely > unlikely, f"codes of its training have {likely:.3g} nats per code, random ones {unlikely:.3g}"


@torch.no_grad()
def _log_prob(prior: Prior, codes: Tensor) -> Tensor:
    return prior.log_prob(codes, None, torch.Generator().manual_seed(5))


def _same(first: Tensor, second: Tensor) -> bool:
    """Whether they are equal, NaN included."""
    return first.equal(second) or bool(((first == second) | (first.isnan() & second.isnan())).all())
