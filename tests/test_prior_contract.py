"""The contract of priors: every kind keeps it, and each check finds the fault that it is there for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from pydantic import Field
from recurrent import CarriedEngine, CarriedStepper, RecurrentConfig, RecurrentPrior
from small_priors import VARIANTS, small
from torch import Tensor, nn

from anytime_core.errors import ConfigError
from anytime_core.priors.any_order.calls import PlainCalls
from anytime_core.priors.ardm.model import ARDMPrior
from anytime_core.priors.base import CausalPrior, PlainEngine
from anytime_core.priors.heads import Categorical
from anytime_core.priors.registry import PRIORS
from anytime_core.priors.sequence.incremental import SequenceStepper
from anytime_core.priors.shaping import Shaping
from anytime_core.quantizers.base import CodeSpec
from anytime_core.testing import CheckSkipped, PriorContract, check_prior, iter_prior_checks
from anytime_core.testing.priors import CHECKS
from anytime_core.testing.runner import Check


def checks_of_all_kinds() -> list[Any]:
    return [
        pytest.param(check, id=f"{kind}-{number}-{check.name}")
        for kind in PRIORS
        for number, config in enumerate([{}, *VARIANTS.get(kind, [])])
        for check in iter_prior_checks(PRIORS[kind], small(kind) | config)
    ]


@pytest.mark.parametrize("check", checks_of_all_kinds())
def test_every_kind_keeps_the_contract(check: Check):
    try:
        check.run()
    except CheckSkipped as skipped:
        pytest.skip(str(skipped))


class TestRecurrent(PriorContract):
    prior = RecurrentPrior


def test_what_a_prior_cannot_do_is_skipped_with_the_reason():
    results = check_prior(RecurrentPrior, {"label_dropout": 0, "class_conditional": False})
    skipped = {result.name: result.message for result in results if result.outcome != "passed"}
    assert {result.outcome for result in results} == {"passed", "skipped"}
    assert skipped["labels-are-heeded"] == "it takes no labels"
    assert "so that it cannot be guided" in skipped["null-label-stands-for-any"]
    assert skipped["digits-number-every-code"] == "it does not draw its codes in any order"


def test_codes_that_a_prior_needs_can_be_given():
    class OfMaps(RecurrentConfig):
        def check(self, spec: CodeSpec) -> None:
            if spec.grid != (3, 3):
                raise ConfigError(f"it models maps of (3, 3) only, not {spec.grid}")

    prior = type("OfMapsPrior", (RecurrentPrior,), {"Config": OfMaps})
    (refused,) = check_prior(prior, only=["losses-are-numbers"])
    assert refused.message.startswith("its section refuses all codes that the contract knows (it models maps")
    spec = CodeSpec(length=4, size=5, dim=2, grid=(3, 3))
    (passed,) = check_prior(prior, spec=spec, only=["losses-are-numbers"])
    assert passed.outcome == "passed"


# Faults that each break one demand of it


class BareConfig(RecurrentConfig):
    depth: int = 3


class OtherKind(RecurrentConfig):
    kind: str = Field("transformer", description="of another prior")  # type: ignore[assignment]


class CrashingCheck(RecurrentConfig):
    def check(self, spec: CodeSpec) -> None:
        if spec.size is None:
            raise KeyError(spec.size)


class AnyCodes(RecurrentConfig):
    def check(self, spec: CodeSpec) -> None:
        pass


class Unnormalised(Categorical):
    def log_prob(self, parameters: Tensor, codes: Tensor) -> Tensor:
        return parameters.gather(-1, codes.unsqueeze(-1)).squeeze(-1).sigmoid().log()


class TakesTheLikeliest(Categorical):
    def draw(self, parameters: Tensor, noise: Tensor, shaping: Shaping) -> Tensor:
        return parameters.argmax(-1)


class IgnoresShaping(Categorical):
    def draw(self, parameters: Tensor, noise: Tensor, shaping: Shaping) -> Tensor:
        return super().draw(parameters, noise, Shaping())


class GuidedAway(Categorical):
    def guided(self, parameters: Tensor, guidance: float) -> Tensor:
        return super().guided(parameters, 1 - guidance)


def with_head(head: type[Categorical]) -> dict[str, Any]:
    return {"__init__": _and_then(lambda self: setattr(self, "distribution", head(self.codebook_size)))}


def _and_then(change: Callable[[Any], None], base: type = RecurrentPrior) -> Callable[..., None]:
    def initialise(self: Any, *arguments: Any) -> None:
        base.__init__(self, *arguments)  # type: ignore[misc]
        change(self)

    return initialise


def conditionals(change: Callable[[Any, Tensor, Tensor], Tensor]) -> dict[str, Any]:
    """Parameters that are changed: (prior, parameters, codes) -> parameters."""

    def changed(self: Any, codes: Tensor, labels: Tensor | None) -> Tensor:
        return change(self, RecurrentPrior.conditionals(self, codes, labels), codes)

    return {"conditionals": changed}


def log_prob(change: Callable[[Any, Tensor], Tensor]) -> dict[str, Any]:
    """A log probability that is not that of training."""

    def changed(self: Any, codes: Tensor, labels: Tensor | None, generator: Any = None) -> Tensor:
        return change(self, CausalPrior.log_prob(self, codes, labels))

    return {
        "log_prob": changed,
        "forward": lambda self, codes, labels: -CausalPrior.log_prob(self, codes, labels).mean(1),
    }


def engine(name: str = "carried", **changes: Any) -> dict[str, Any]:
    """An engine whose steppers have other methods."""
    stepper = type("FaultyStepper", (CarriedStepper,), changes)

    def opened(self: Any, labels: Tensor | None, batch: int, length: int) -> Any:
        return stepper(self.prior, self.prior.start(labels, batch))

    faulty = type("FaultyEngine", (CarriedEngine,), {"name": name, "open": opened})
    return {"engines": classmethod(lambda cls: {"plain": PlainEngine, name: faulty})}


def of_the_batch(self: Any, labels: Tensor | None, batch: int, length: int) -> Any:
    return CarriedStepper(self.prior, self.prior.start(labels, batch) * length / 6)


def forgets(self: Any, position: int, previous: Tensor | None) -> Tensor:
    return CarriedStepper.step(self, position, None)


def keeps_the_first(self: Any, rows: Tensor) -> None:
    self.state = self.state[:, : len(rows)].contiguous()


def shares_its_state(self: Any, position: int, previous: Tensor | None) -> Tensor:
    if position:
        self.state = type(self).shared
    found = CarriedStepper.step(self, position, previous)
    type(self).shared = self.state
    return found


def sets_threads(self: Any, position: int, previous: Tensor | None) -> Tensor:
    torch.set_num_threads(torch.get_num_threads() + 1)
    return CarriedStepper.step(self, position, previous)


def rounds_by_batch(self: Any, position: int, previous: Tensor | None) -> Tensor:
    return CarriedStepper.step(self, position, previous) + 1e-6 * self.state.shape[1]


def scales(self: Any, config: Any, spec: CodeSpec, vectors: Tensor | None = None) -> None:
    RecurrentPrior.__init__(self, config, spec, vectors)
    if vectors is not None:
        self.token.weight.data /= vectors.std()


def unlabelled(self: Any, codes: Tensor, labels: Tensor | None) -> Tensor:
    return RecurrentPrior.conditionals(self, codes, None if labels is None else 0 * labels)


LENGTHY = type("LengthyEngine", (CarriedEngine,), {"open": of_the_batch})
FAULTS: dict[str, tuple[str, Mapping[str, Any], str]] = {
    "a kind with spaces": ("class-is-described", {"kind": "My Prior"}, "its kind is 'My Prior'"),
    "another api": ("class-is-described", {"api_version": 7}, "api_version is 7"),
    "no section": ("class-is-described", {"Config": dict}, "not a PriorSection"),
    "no description of a field": ("section-is-described", {"Config": BareConfig}, "field depth has no description"),
    "another kind in the section": (
        "section-is-described",
        {"Config": OtherKind},
        "the section's kind is 'transformer', the prior's 'recurrent'",
    ),
    "a check that crashes": (
        "what-its-section-accepts-is-made",
        {"Config": CrashingCheck},
        "check() of continuous codes raises KeyError",
    ),
    "a check that accepts all": (
        "what-its-section-accepts-is-made",
        {"Config": AnyCodes},
        "check() accepts continuous codes, but a prior of them cannot be made",
    ),
    "one loss for all": (
        "losses-are-numbers",
        {"forward": lambda self, codes, labels: codes.float().mean()},
        "shape ()",
    ),
    "probabilities over 1": ("losses-are-numbers", log_prob(lambda self, nats: -nats), "a probability over 1"),
    "weights that nothing uses": (
        "gradients-reach-every-parameter",
        {"__init__": _and_then(lambda self: setattr(self, "unused", nn.Linear(3, 3)))},
        "no gradient reaches unused",
    ),
    "training that leads nowhere": (
        "training-lowers-the-loss",
        {"forward": lambda self, codes, labels: self.token.weight.mean() * 0 + codes.float().mean(1)},
        "after 30 steps the loss is",
    ),
    "noise in evaluation": (
        "evaluation-is-deterministic",
        log_prob(lambda self, nats: nats - torch.rand(1)),
        "log_prob differs the second time",
    ),
    "state that is not saved": (
        "weights-survive-safetensors",
        {"__init__": _and_then(lambda self: setattr(self, "hidden", torch.rand(1)))}
        | log_prob(lambda self, nats: nats - self.hidden),
        "in no parameter and no buffer",
    ),
    "a scale of the code vectors": (
        "code-vectors-may-be-anything",
        {"__init__": scales},
        "with code vectors 'all the same'",
    ),
    "a mean over the other codes": (
        "fewest-codes-are-enough",
        {"forward": lambda self, codes, labels: -self.log_prob(codes, labels)[:, 1:].mean(1)},
        "not finite with N = 1",
    ),
    "the log probability of other codes": (
        "learned-codes-are-likelier",
        log_prob(lambda self, nats: -1 / (1e-3 - nats)),
        "codes of its training have",
    ),
    "labels that are ignored": ("labels-are-heeded", {"conditionals": unlabelled}, "with another"),
    "a null label of a class": (
        "null-label-stands-for-any",
        {"null_label": property(lambda self: 0 if self.classes else None)},
        "its null label 0 is the label of a class",
    ),
    "no parameters of the first code": (
        "conditionals-are-of-every-position",
        conditionals(lambda self, parameters, codes: parameters[:, 1:]),
        "conditionals of 0 codes have shape (8, 0, 6), not (8, 1, 6)",
    ),
    "codes that look ahead": (
        "later-codes-do-not-matter",
        conditionals(lambda self, parameters, codes: parameters + codes.sum(1)[:, None, None]),
        "the code at position 0 changes the distribution of codes up to it",
    ),
    "parameters by the length": (
        "a-prefix-is-enough",
        conditionals(lambda self, parameters, codes: parameters * (1 + codes.shape[1])),
        "parameters given 0 codes differ",
    ),
    "rows that mix": (
        "rows-do-not-mix",
        conditionals(lambda self, parameters, codes: parameters - parameters.mean(0)),
        "differ by",
    ),
    "scores that are no probabilities": ("probabilities-sum-to-one", with_head(Unnormalised), "sum to 1 but for"),
    "a log probability a temperature off": (
        "log-prob-is-the-sum-of-the-steps",
        log_prob(lambda self, nats: 1.1 * nats),
        "from that of the steps",
    ),
    "draws without noise": ("draws-follow-the-probabilities", with_head(TakesTheLikeliest), "with p = "),
    "draws of one temperature": (
        "coldest-draws-are-the-likeliest",
        with_head(IgnoresShaping),
        "does not take the likeliest code",
    ),
    "guidance the other way": ("guidance-lies-between-its-ends", with_head(GuidedAway), "at guidance 0"),
    "steps without the code before": ("steps-are-the-conditionals", engine(step=forgets), "engine carried differs by"),
    "rows that are not those kept": (
        "batches-go-on-with-the-rows-that-are-kept",
        engine(keep=keeps_the_first),
        "after keep()",
    ),
    "a state of all batches": (
        "batches-do-not-disturb-each-other",
        engine(step=shares_its_state),
        "beside another batch",
    ),
    "steps by the length": (
        "fewer-codes-are-the-first-ones",
        {"engines": classmethod(lambda cls: {"plain": PlainEngine, "lengthy": LENGTHY})},
        "at position 0 of 1",
    ),
    "threads": ("engines-leave-settings-alone", engine(step=sets_threads), "changes torch's number of threads"),
    "rounding by the batch": (
        "exact-steps-are-the-same-bits-in-any-batch",
        engine("exact", step=rounds_by_batch),
        "has other bits alone",
    ),
}


@pytest.fixture
def _threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def said_of(prior: Any, name: str, config: Mapping[str, Any] | None = None) -> str:
    """What a check says against a prior; empty if it passes or is not for it."""
    (result,) = check_prior(prior, config, only=(name,))
    assert result.outcome in ("passed", "failed", "skipped")
    return result.message if result.outcome == "failed" else ""


@pytest.mark.usefixtures("_threads")
@pytest.mark.parametrize(("check", "changes", "message"), FAULTS.values(), ids=FAULTS.keys())
def test_each_fault_is_found_by_its_check(check, changes, message):
    faulty = type("Faulty", (RecurrentPrior,), dict(changes))
    assert message in said_of(faulty, check)


@pytest.mark.usefixtures("recorded_graphs")
def test_captured_steps_are_checked_where_graphs_run(monkeypatch):
    check, kind = "steps-are-the-conditionals", PRIORS["gru"]
    assert said_of(kind, check, small("gru")) == ""
    monkeypatch.setattr(SequenceStepper, "restart", lambda self, labels: None)
    assert "engine graph differs by" in said_of(kind, check, small("gru"))


# The same for priors of any order


def terms_with(change: Callable[[Any], Any]) -> dict[str, Any]:
    return {
        "bound_terms": lambda self, *arguments, **options: change(ARDMPrior.bound_terms(self, *arguments, **options))
    }


def sees_everything(self: Any, tokens: Tensor, positions: Tensor, seen: int, *rest: Any) -> Tensor:
    return ARDMPrior.logits_at(self, tokens, positions, tokens.shape[1], *rest)


class Flat(PlainCalls):
    def _logits(self, *arguments: Any) -> Tensor:
        return 0 * super()._logits(*arguments)


def engines_of(**engines: Any) -> dict[str, Any]:
    return {"engines": classmethod(lambda cls: engines)}


ANY_ORDER_FAULTS: dict[str, tuple[str, Mapping[str, Any], str]] = {
    "a token for nothing": (
        "digits-number-every-code",
        {"__init__": _and_then(lambda self: self.token_of[0].add_(1), ARDMPrior)},
        "is not 0",
    ),
    "positions that are seen though unknown": (
        "what-is-not-known-is-not-seen",
        {"logits_at": sees_everything},
        "differs by",
    ),
    "no losses before training": (
        "losses-are-of-every-step",
        {"losses": lambda self, length=None: self.step_losses[:, :length]},
        "are not finite",
    ),
    "nats of what is known": (
        "bound-terms-are-of-unknown-codes",
        terms_with(lambda terms: dataclasses.replace(terms, nats=terms.nats + 1)),
        "known positions cost nats",
    ),
    "a bound of one step": (
        "log-prob-is-the-bound-over-all-orders",
        {"log_prob": lambda self, *arguments: -self.bound_terms(*arguments[:2], generator=arguments[2]).nats},
        "over its orders",
    ),
    "draws from a flat distribution": (
        "draws-follow-the-mean-over-orders",
        engines_of(plain=Flat),
        "with p = ",
    ),
    "an engine with other logits": (
        "engines-draw-the-codes-of-the-plain-one",
        engines_of(plain=PlainCalls, flat=Flat),
        "engine flat draws other codes",
    ),
}


@pytest.mark.parametrize(("check", "changes", "message"), ANY_ORDER_FAULTS.values(), ids=ANY_ORDER_FAULTS.keys())
def test_each_fault_of_any_order_is_found_by_its_check(check, changes, message):
    faulty = type("Faulty", (ARDMPrior,), dict(changes))
    assert message in said_of(faulty, check, small("ardm"))


def test_every_check_has_a_fault_that_it_finds():
    tested = {check for check, *_ in (*FAULTS.values(), *ANY_ORDER_FAULTS.values())}
    assert tested | {"steps-on-a-gpu-are-the-conditionals"} == set(CHECKS)
