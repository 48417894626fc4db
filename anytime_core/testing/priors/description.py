"""Checks of what a prior says about itself."""

from __future__ import annotations

import re
from pathlib import Path

from anytime_core.errors import ConfigError
from anytime_core.priors.any_order.base import AnyOrderPrior
from anytime_core.priors.base import CausalPrior
from anytime_core.priors.registry import API_VERSION
from anytime_core.priors.section import PriorSection
from anytime_core.quantizers.base import CodeSpec
from anytime_core.testing.configs import check_fields, check_round_trip
from anytime_core.testing.priors.subject import CLASSES, Subject, check, resized


@check()
def class_is_described(subject: Subject, folder: Path) -> None:
    """It is a CausalPrior or an AnyOrderPrior, and has a kind, an api_version and a section."""
    prior = subject.prior
    assert isinstance(prior, type), f"the entry point names {prior!r}, which is not a class"
    assert issubclass(prior, CausalPrior | AnyOrderPrior), f"{prior.__name__} is no CausalPrior and no AnyOrderPrior"
    kind = getattr(prior, "kind", None)
    assert isinstance(kind, str), f"its kind is {kind!r}, not a string"
    assert re.fullmatch(r"[a-z][a-z0-9_-]*", kind), f"its kind is {kind!r}: use a to z, 0 to 9, - and _"
    assert prior.api_version == API_VERSION, f"api_version is {prior.api_version!r}, this toolkit needs {API_VERSION}"
    config = getattr(prior, "Config", None)
    assert isinstance(config, type), f"Config is {config!r}, not a class"
    assert issubclass(config, PriorSection), f"Config is {config!r}, not a PriorSection"
    assert next(iter(prior.engines()), None) == "plain", "engines() does not begin with those of its base class"


@check()
def section_is_described(subject: Subject, folder: Path) -> None:
    """Every field has a default and a description, `kind` is the kind of the prior, and unknown keys are refused."""
    config = subject.prior.Config
    check_fields(config)
    kind = config().kind
    assert kind == subject.prior.kind, f"the section's kind is {kind!r}, the prior's {subject.prior.kind!r}"
    check_round_trip(config, subject.config)


@check()
def what_its_section_accepts_is_made(subject: Subject, folder: Path) -> None:
    """`check` refuses codes only with a ConfigError, and a prior can be made of all codes that it accepts."""
    spec = subject.spec
    continuous = CodeSpec(length=spec.length, size=None, dim=spec.dim, grid=spec.grid)
    for changed, what in (
        (continuous, "continuous codes"),
        (spec.narrowed(1), "one code"),
        (spec.narrowed(classes=CLASSES), "labels"),
        (resized(spec, spec.length, 2), "two values"),
    ):
        try:
            subject.section.check(changed)
        except ConfigError:
            continue
        except Exception as error:
            raise AssertionError(
                f"check() of {what} raises {type(error).__name__}, not ConfigError: {error}"
            ) from error
        try:
            subject.prior(subject.section, changed, None)
        except Exception as error:
            raise AssertionError(
                f"check() accepts {what}, but a prior of them cannot be made: {type(error).__name__}: {error}"
            ) from error
