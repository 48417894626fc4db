"""Priors of other distributions: the one that `anytime plugins new` writes, and what is said of faulty ones."""

from __future__ import annotations

import json
import re
import shutil
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FunctionType
from typing import Any, Literal

import pytest
import torch
from conftest import tiny_config

from anytime_core.discovery.plugins import GROUPS
from anytime_core.discovery.templates import write_plugin
from anytime_core.errors import ConfigError, PluginError, RunError, UsageError
from anytime_core.priors.registry import PRIORS
from anytime_core.priors.section import PriorSection
from anytime_core.quantizers.base import CodeSpec
from anytime_core.run import Run, load
from anytime_core.sampling.options import SamplingOptions
from anytime_core.section import Section
from anytime_core.testing import check_prior
from anytime_core.training.start import train
from anytime_core.training.train import train_stages

GATED = ("prior.kind=gated", "prior.width=32")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder on the import path with the distribution that `anytime plugins new gated --kind prior` writes."""
    folder = tmp_path_factory.mktemp("prior") / "site"
    write_plugin("gated", folder, GROUPS["prior"])
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    info = folder / f"anytime_gated-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    points = [f"{name} = {target}" for name, target in project["entry-points"]["anytime.priors"].items()]
    (info / "entry_points.txt").write_text("\n".join(["[anytime.priors]", *points]))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield folder


@pytest.fixture(scope="module")
def gated_folder(site: Path, tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny run with the prior of the template; tests must not change it."""
    folder = tmp_path_factory.mktemp("runs") / "gated"
    shutil.copytree(tiny_folder, folder)
    train_stages(tiny_config(*GATED, "prior.label_dropout=0.2"), folder, stages=["prior"], force=True)
    return folder


@pytest.fixture(scope="module")
def gated(gated_folder: Path) -> Run:
    return load(gated_folder, device="cpu")


@pytest.fixture
def uninstalled(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The distribution is gone."""
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path != str(site)])
    monkeypatch.setattr(PRIORS, "_imported", {})


def test_the_prior_of_the_template_keeps_the_contract(site):
    results = check_prior(PRIORS["gated"], {"width": 16})
    assert [result for result in results if not result.good] == []
    assert len(results) > 10


@pytest.mark.parametrize("options", [{}, {"guidance": 2.0}, {"temperature": 0.5, "top_k": 4}], ids=str)
def test_its_engine_draws_the_codes_of_the_plain_one(gated, options):
    plain, recurrent = (gated.sample(8, engine=engine, seed=3, **options) for engine in ("plain", "recurrent"))
    assert torch.equal(plain.codes, recurrent.codes)


@pytest.mark.parametrize(
    ("budget", "least", "most"), [("0.25", 2, 2), ("3codes", 3, 3), ("10s", 8, 8), ("1ms", 1, 8), ("adaptive", 1, 8)]
)
def test_it_is_sampled_within_every_budget(gated, budget, least, most):
    samples = gated.sample(4, budget, seed=3)
    assert least <= samples.lengths.min() <= samples.lengths.max() <= most
    whole = gated.sample(4, seed=3).codes
    for codes, other, length in zip(samples.codes, whole, samples.lengths, strict=True):
        assert torch.equal(codes[:length], other[:length])


def test_it_streams_completes_and_is_evaluated(anytime, gated, gated_folder, monkeypatch):
    monkeypatch.setattr("anytime_core.evaluation.classifier._VIEWS", 1280)
    whole = gated.sample(2, seed=5).codes
    for prefix in gated.stream(2, options=SamplingOptions(seed=5)):
        assert torch.equal(prefix.codes, whole[:, : prefix.codes.shape[1]])
    known = torch.arange(8).expand(2, 8) < 3
    assert torch.equal(gated.complete(whole, known, label=0).codes[:, :3], whole[:, :3])
    result = anytime("evaluate", "--run", gated_folder, "--num", "16", "--budgets", "0.5,1", "--out", "out", "--json")
    assert result.status == 0, result.err
    assert all(row["bits_per_code"] > 0 for row in json.loads(result.out)["rows"])


# Gone, unknown and unfit


def test_a_run_whose_prior_is_not_installed_says_so_in_one_line(anytime, gated_folder, uninstalled):
    for command in (("runs", "list", "--root", gated_folder.parent), ("runs", "show", gated_folder)):
        shown = anytime(*command)
        assert shown.status == 0
        assert "gated" in shown.out.replace(str(gated_folder), "")
    for command in (("sample",), ("train", "--stage", "prior", "--force")):
        result = anytime(*command, "--run", gated_folder)
        assert result.status in (1, 2)
        assert result.out == ""
        (line,) = result.err.splitlines()
        assert "no prior 'gated'" in line
        assert "anytime plugins list" in line


def test_a_run_is_of_use_without_the_plugin_of_its_prior_and_names_the_distribution(anytime, gated_folder, uninstalled):
    assert re.search(r"gated \(anytime.gated 0\.1\.0\)", anytime("runs", "show", gated_folder).out)
    run = load(gated_folder, device="cpu")
    assert "a prior whose plugin does not work" in repr(run)
    assert run.decode(run.encode(torch.zeros(2, 1, 8, 8))).shape == (2, 1, 8, 8)
    with pytest.raises(RunError, match=r"no prior 'gated' is installed; install anytime.gated 0\.1\.0, see anytime"):
        run.sample(1)


OF_RUN = "which is the kind of prior that run .* has: install"


@pytest.mark.parametrize(
    ("command", "status", "way_out"),
    [
        ("evaluate --run GATED --num 4", 1, "install anytime.gated 0.1.0"),
        ("evaluate --run TINY --against GATED --num 4", 1, "install anytime.gated 0.1.0"),
        ("train --resume GATED --stage prior", 1, f"{OF_RUN} anytime.gated 0.1.0, .* --set prior.kind=KIND"),
        ("train --autoencoder GATED", 1, f"{OF_RUN} anytime.gated 0.1.0, .* --set prior.kind=KIND"),
        ("train --autoencoder GATED --set prior.kind=gate", 2, "others come with plugins, see anytime plugins list"),
    ],
)
def test_without_the_plugin_what_needs_the_prior_is_refused(
    anytime, gated_folder, tiny_folder, uninstalled, command, status, way_out
):
    refused = anytime(*command.replace("GATED", str(gated_folder)).replace("TINY", str(tiny_folder)).split())
    assert (refused.status, refused.out) == (status, "")
    (line,) = refused.err.splitlines()
    assert "no prior 'gate" in line
    assert re.search(way_out, line)  # which names the distribution with a dash or an underscore


def test_without_the_plugin_other_priors_are_trained_on_the_autoencoder(gated_folder, uninstalled, tmp_path):
    changes = {"prior.kind": "transformer", "prior.width": 16, "training.prior.steps": 2}
    run = train(autoencoder=gated_folder, overrides=changes, run=tmp_path / "new")
    assert run.sample(1).x.shape == (1, 1, 8, 8)


def test_a_prior_that_needs_its_label_is_not_guided(gated, monkeypatch):
    monkeypatch.setattr(type(gated.prior), "null_label", None)
    with pytest.raises(UsageError, match="guidance 2 needs a prior that was trained without labels"):
        gated.sample(2, guidance=2.0)
    monkeypatch.setattr(type(gated.prior.config), "__pydantic_fields__", {})
    with pytest.raises(UsageError, match=r"guidance 2 needs a prior .* prior.kind=gated of run .* cannot: use 1"):
        gated.sample(2, guidance=2.0)


def test_codes_that_a_prior_does_not_model_are_refused_before_training(anytime, site, monkeypatch):
    def check(section: Any, spec: CodeSpec) -> None:
        raise ConfigError(f"prior.kind=gated models codes of at most 32 values, not {spec.size}: use fewer")

    monkeypatch.setattr(PRIORS["gated"].Config, "check", check)
    result = anytime("train", "--set", "prior.kind=gated", "--run", "run")
    assert result.status == 2
    assert result.err.splitlines()[-1].startswith("error: prior.kind=gated models codes of at most 32 values, not 64")
    assert not Path("run").exists()


class OtherKind(PriorSection):
    kind: Literal["gaited"] = "gaited"


@pytest.mark.parametrize(
    ("section", "said"),
    [(Section, "has no Config that derives from PriorSection"), (OtherKind, "has a Config of kind 'gaited'")],
)
def test_a_prior_whose_section_is_not_its_own_is_named(site, monkeypatch, section, said):
    monkeypatch.setattr(PRIORS["gated"], "Config", section)
    with pytest.raises(PluginError, match=rf"prior 'gated' \(.*\) {said}"):
        tiny_config(*GATED)


def test_help_lists_what_the_section_of_a_prior_may_say(anytime, site):
    result = anytime("train", "--set", "prior.kind=gated", "--help")
    assert result.status == 0
    assert "prior.width=256" in result.out
    assert "share of the labels that are hidden in training" in " ".join(result.out.split())


# Faults: each is named with the distribution, in training and in sampling


def raising(_: Any) -> Callable[..., Any]:
    """A function of the plugin's own module that raises."""

    def function(*_: Any, **__: Any) -> Any:
        raise RuntimeError("kaput\nand more")

    return FunctionType(function.__code__, vars(sys.modules["anytime_gated.prior"]))


def one_too_few(function: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    return lambda *arguments: function(*arguments)[:, 1:]


FAILS = r"prior 'gated' \(anytime_gated.prior:GatedPrior, from anytime.gated 0.1.0\) fails: RuntimeError: kaput and more; update or uninstall anytime.gated"  # noqa: E501
BREAKS = r"prior 'gated' \(anytime_gated.prior:GatedPrior, from anytime.gated 0.1.0\) does not keep the contract of priors: .*\[\d+, .*\[\d+, "  # noqa: E501


BREAKS_LOSS = r"does not keep the contract of priors: losses are \[\], where they should be \[\d+\]"


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("conditionals", raising, FAILS),
        ("conditionals", one_too_few, BREAKS),
        (
            "conditionals",
            lambda function: lambda *codes: (function(*codes), None),
            "are a tuple, where they should",
        ),
        ("conditionals", lambda _: lambda *_: None, "are a NoneType, where they should be a tensor"),
        ("__init__", raising, FAILS),
        ("log_prob", raising, FAILS),
        ("log_prob", one_too_few, BREAKS),
        ("forward", lambda _: lambda self, codes, labels: torch.zeros(()), BREAKS_LOSS),
        ("forward", lambda _: lambda self, codes, labels: torch.zeros(len(codes)), "losses have no gradient"),
    ],
)
def test_a_prior_that_fails_in_training_is_named(site, tiny_folder, tmp_path, monkeypatch, name, change, said):
    prior = PRIORS["gated"]
    monkeypatch.setattr(prior, name, change(getattr(prior, name)))
    shutil.copytree(tiny_folder, tmp_path / "run")
    with pytest.raises(PluginError, match=said) as refused:
        train_stages(tiny_config(*GATED), tmp_path / "run", stages=["prior"], force=True)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("target", "change", "said"),
    [
        ("GatedPrior.conditionals", raising, FAILS),
        ("GatedPrior.conditionals", one_too_few, BREAKS),
        ("GatedPrior.__init__", raising, FAILS),
        ("GatedPrior.engines", raising, FAILS),
        ("RecurrentEngine.open", raising, FAILS),
        ("_Stepper.step", raising, FAILS),
        ("_Stepper.step", one_too_few, BREAKS),
    ],
)
def test_a_prior_that_fails_in_sampling_is_named(anytime, gated_folder, monkeypatch, target, change, said):
    cls, _, name = target.partition(".")
    owner = getattr(sys.modules["anytime_gated.prior"], cls)
    monkeypatch.setattr(owner, name, change(getattr(owner, name)))
    engine = "plain" if name == "conditionals" else "recurrent"
    result = anytime("sample", "--run", gated_folder, "--engine", engine, "--budget", "adaptive", "--out", "out")
    assert result.status == 1
    (line,) = [line for line in result.err.splitlines() if line.startswith("error: ")]
    assert re.search(said, line)
    assert not Path("out").exists()


def test_a_prior_that_fails_is_named_before_the_autoencoder_is_trained(site, tmp_path, monkeypatch):
    monkeypatch.setattr(PRIORS["gated"], "conditionals", lambda self, codes, labels: None)
    with pytest.raises(PluginError, match="are a NoneType"):
        train_stages(tiny_config(*GATED), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_prior_that_lacks_a_method_is_incompatible(site, monkeypatch):
    prior = PRIORS["gated"]
    monkeypatch.setattr(PRIORS, "_imported", {})
    monkeypatch.setattr(prior, "__abstractmethods__", frozenset({"conditionals"}))
    with pytest.raises(PluginError, match=r"prior 'gated' .* does not define conditionals; update or uninstall"):
        _ = PRIORS["gated"]
