"""Classifier-free guidance: labels hidden in training, and samples that are led further by them."""

from __future__ import annotations

import itertools
import math
import shutil
from pathlib import Path

import pytest
import torch
from conftest import AGNOSTIC, tiny_config
from drawing import codes_of, draw_from, gumbel
from safetensors.torch import load_file
from torch import Tensor

from anytime_core.budget import Budget
from anytime_core.errors import UsageError
from anytime_core.evaluation.evaluate import evaluate
from anytime_core.evaluation.options import EvaluationOptions
from anytime_core.evaluation.showing import show_evaluation
from anytime_core.priors.any_order.calls import PartialCodes
from anytime_core.priors.any_order.plan import make_plan
from anytime_core.priors.ardm.config import ARDMConfig
from anytime_core.priors.ardm.model import ARDMPrior
from anytime_core.priors.base import Prior
from anytime_core.priors.heads import Categorical
from anytime_core.priors.labels import LabelEmbedding
from anytime_core.priors.registry import PRIORS
from anytime_core.priors.transformer.config import TransformerConfig
from anytime_core.priors.transformer.model import TransformerPrior
from anytime_core.run import Run, load
from anytime_core.sampling.in_calls import draw_in_calls, sample_orders
from anytime_core.sampling.options import SamplingOptions
from anytime_core.sampling.steps import open_stepper
from anytime_core.training.train import train_stages

N, K, CLASSES, BATCH = 5, 20, 3, 9
GUIDANCES = (0.0, 0.5, 1.0, 2.5)
HIDDEN = "prior.label_dropout=0.3"


def build(config: TransformerConfig | ARDMConfig) -> Prior:
    torch.manual_seed(0)
    prior = PRIORS[config.kind](config, codes_of(N, K, classes=CLASSES), torch.randn(K, 4))
    with torch.no_grad():  # freshly initialised logits are nearly flat, which would hide differences
        for parameter in prior.parameters():
            parameter.normal_(std=0.35)
    return prior.eval()


def labels_of(batch: int) -> Tensor:
    return torch.arange(batch) % CLASSES


def null_labels(batch: int) -> Tensor:
    return torch.full((batch,), CLASSES)


@pytest.fixture(scope="module")
def guidable(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """The tiny run with priors of both kinds that have learned codes without labels too."""
    runs = {}
    for name, overrides in {"transformer": (), "ardm": AGNOSTIC}.items():
        folder = tmp_path_factory.mktemp("guidable") / name
        shutil.copytree(tiny_folder, folder)
        train_stages(tiny_config(*overrides, HIDDEN), folder, stages=["prior"], force=True)
        runs[name] = load(folder, device="cpu")
    return runs


# Training


def test_labels_are_hidden_in_training_only():
    embedding = LabelEmbedding(CLASSES, 4, 0.3)
    labels = labels_of(30_000)
    assert torch.equal(embedding.eval()(labels, len(labels)), embedding.weight[labels])
    torch.manual_seed(0)
    seen = embedding.train()(labels, len(labels))
    hidden = (seen == embedding.weight[CLASSES]).all(1)
    assert hidden.float().mean().item() == pytest.approx(0.3, abs=0.01)
    assert torch.equal(seen[~hidden], embedding.weight[labels[~hidden]])


@pytest.mark.parametrize(("classes", "dropout", "rows"), [(3, 0.0, 3), (3, 0.1, 4), (0, 0.0, 1), (0, 0.1, 1)])
def test_only_labels_that_may_be_hidden_have_a_null_label(classes, dropout, rows):
    embedding = LabelEmbedding(classes, 4, dropout)
    assert embedding.weight.shape == (rows, 4)
    assert embedding.null_label == (classes if rows > max(classes, 1) else None)


@pytest.mark.parametrize("kind", ["transformer", "ardm"])
def test_a_trained_prior_keeps_its_null_label(guidable, kind):
    run = guidable[kind]
    assert run.prior.null_label == run.prior.classes == 10
    saved = load_file(run.folder / "prior.safetensors")["start.weight"]
    assert len(saved) == 11
    assert torch.equal(saved, run.prior.start.weight)


def test_a_prior_learns_both_the_codes_of_each_label_and_of_all():
    """Two labels with a code of their own: told of a label the prior is sure, untold it is open."""
    config = TransformerConfig(layers=1, width=16, heads=2, dropout=0.0, label_dropout=0.3)
    torch.manual_seed(0)
    prior = TransformerPrior(config, codes_of(1, 2, classes=2))
    optimizer = torch.optim.Adam(prior.parameters(), 0.01)
    labels = torch.arange(64) % 2
    for _ in range(60):
        loss = prior(labels.unsqueeze(1), labels).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    prior.eval()
    told = prior.log_prob(labels.unsqueeze(1), labels).exp()
    untold = prior.log_prob(labels.unsqueeze(1), torch.full_like(labels, 2)).exp()
    assert told.min() > 0.95
    assert untold.mean().item() == pytest.approx(0.5, abs=0.1)


# Logits and codes


def test_guided_logits_are_those_of_the_tilted_distribution():
    told, untold = torch.randn(2, 4, K).unbind(0)
    told[:, :3] = untold[:, :3] = -math.inf
    for guidance in GUIDANCES:
        found = Categorical(K).guided(torch.cat([told, untold]), guidance).softmax(-1)
        powers = told.double().softmax(-1) ** guidance * untold.double().softmax(-1) ** (1 - guidance)
        powers[:, :3] = 0
        torch.testing.assert_close(found.double(), powers / powers.sum(-1, keepdim=True), atol=1e-6, rtol=1e-5)


@torch.no_grad()
def codes_by_hand(prior: TransformerPrior, guidance: float) -> Tensor:
    noise, codes = gumbel(0, range(BATCH), N, K).whole(), torch.empty(BATCH, 0, dtype=torch.int64)
    for position in range(N):
        told, untold = (prior.conditionals(codes, labels(BATCH))[:, -1] for labels in (labels_of, null_labels))
        drawn = (told + (guidance - 1) * (told - untold) + noise[:, position]).argmax(-1)
        codes = torch.cat([codes, drawn.unsqueeze(1)], 1)
    return codes


@pytest.mark.parametrize("guidance", GUIDANCES)
@pytest.mark.parametrize("name", ["plain", "eager", "numba"])
def test_every_engine_draws_the_guided_codes(name, guidance):
    prior = build(TransformerConfig(layers=2, width=32, heads=4, label_dropout=0.1))
    assert isinstance(prior, TransformerPrior)
    noise = gumbel(0, range(BATCH), N, K)
    *_, codes = draw_from(prior.engines()[name](prior, "float32"), labels_of(BATCH), noise, guidance=guidance)
    assert torch.equal(codes, codes_by_hand(prior, guidance))


def test_guidances_draw_different_codes():
    prior = build(TransformerConfig(layers=2, width=32, heads=4, label_dropout=0.1))
    drawn = [codes_by_hand(prior, guidance) for guidance in GUIDANCES]
    assert all(not torch.equal(one, other) for one, other in itertools.pairwise(drawn))


@torch.inference_mode()
def test_rows_that_are_kept_keep_their_guided_logits():
    prior = build(TransformerConfig(layers=2, width=32, heads=4, label_dropout=0.1))
    engine = prior.engines()["eager"](prior, "float32")
    whole, part = (open_stepper(engine, prior, labels_of(BATCH), BATCH, N, 2.0) for _ in range(2))
    rows, previous = torch.arange(BATCH), None
    for position, kept in enumerate(([0, 1, 2, 4, 7, 8], [0, 3, 5], [2])):
        expected = whole.step(position, previous)
        found = part.step(position, None if previous is None else previous[rows])
        torch.testing.assert_close(found, expected[rows])
        previous = expected.argmax(-1)
        part.keep(torch.tensor(kept))
        rows = rows[kept]
    torch.testing.assert_close(part.step(3, previous[rows]), whole.step(3, previous)[rows])


@torch.no_grad()
@pytest.mark.parametrize("certain", [False, True], ids=["in order", "most certain first"])
@pytest.mark.parametrize("base", [None, 3])
def test_call_engines_draw_the_guided_codes(base, certain):
    prior = build(ARDMConfig(layers=2, width=32, heads=4, label_dropout=0.1, base=base))
    assert isinstance(prior, ARDMPrior)

    def draw(name: str, guidance: float, labels: Tensor) -> Tensor:
        partial = PartialCodes(
            tokens=torch.zeros(BATCH, N, dtype=torch.int64),
            order=sample_orders(0, range(BATCH), N),
            noise=gumbel(0, range(BATCH), N, sum(prior.digits.radices)).whole(),
            labels=labels,
        )
        plan = make_plan(prior.losses(), 2 * len(prior.digits))
        options = SamplingOptions(guidance=guidance, plan="certain" if certain else "optimal")
        return draw_in_calls(prior.engines()[name](prior, "float32"), partial, 0, plan, options)[0]

    for guidance in GUIDANCES:
        assert torch.equal(draw("eager", guidance, labels_of(BATCH)), draw("plain", guidance, labels_of(BATCH)))
    assert torch.equal(draw("plain", 0.0, labels_of(BATCH)), draw("plain", 1.0, null_labels(BATCH)))
    assert not torch.equal(draw("plain", 2.5, labels_of(BATCH)), draw("plain", 1.0, labels_of(BATCH)))


# Runs


@pytest.mark.parametrize("kind", ["transformer", "ardm"])
def test_guided_samples_follow_from_seed_and_index(guidable, kind):
    run, options = guidable[kind], SamplingOptions(seed=3, guidance=2.0, batch_size=3)
    whole = run.sample(8, "6codes", seed=3, guidance=2.0)
    parts = torch.cat([batch.codes for batch in run.sample_batches(range(8), "6codes", options)])
    assert torch.equal(whole.codes, parts)
    assert not torch.equal(whole.codes, run.sample(8, "6codes", seed=3).codes)


def test_adaptive_samples_can_be_guided(guidable):
    samples = guidable["transformer"].sample(6, "adaptive", guidance=2.0)
    whole = guidable["transformer"].sample(6, guidance=2.0)
    for row, length in enumerate(samples.lengths.tolist()):
        assert torch.equal(samples.codes[row, :length], whole.codes[row, :length])


@pytest.mark.parametrize("kind", ["transformer", "ardm"])
def test_completed_samples_are_guided(guidable, kind):
    run = guidable[kind]
    known = torch.zeros(12, run.prior.code_length, dtype=torch.bool)
    drawn = [run.complete(known.long(), known, label=3, options=SamplingOptions(guidance=one)) for one in (1.0, 3.0)]
    assert torch.equal(drawn[1].codes, run.sample(12, label=3, guidance=3.0).codes)
    assert not torch.equal(drawn[0].codes, drawn[1].codes)


def test_the_cost_of_a_guided_call_is_that_of_twice_the_batch(guidable):
    run = load(guidable["ardm"].folder, device="cpu")
    noted = []
    run.costs.note = lambda work, batch, seconds: noted.append((work, batch))  # type: ignore[method-assign]
    run.sampler(SamplingOptions(guidance=2.0, batch_size=4)).prepare(4)
    assert ("call", 8) in noted
    assert ("decode", 4) in noted


def test_a_prior_that_always_knew_the_labels_cannot_be_guided(tiny_run, anytime, tmp_path):
    with pytest.raises(UsageError, match=r"guidance 2 .*trained without labels too.*prior\.label_dropout=0\.1"):
        tiny_run.sample(2, guidance=2.0)
    with pytest.raises(UsageError, match=r"guidance 2 .*trained without labels too"):
        evaluate(tiny_run, tmp_path / "evaluation", EvaluationOptions(sampling=SamplingOptions(guidance=2.0)))
    assert not (tmp_path / "evaluation").exists()
    refused = anytime("sample", "--run", tiny_run.folder, "--guidance", 2, "--out", "out")
    assert refused.status == 2
    assert "--set prior.label_dropout=0.1" in refused.err
    assert not (tmp_path / "out").exists()


def test_a_prior_without_labels_cannot_be_guided(tiny_folder, tmp_path):
    shutil.copytree(tiny_folder, tmp_path / "run")
    train_stages(tiny_config("prior.class_conditional=false", HIDDEN), tmp_path / "run", stages=["prior"], force=True)
    run = load(tmp_path / "run", device="cpu")
    assert run.sample(2).labels is None
    with pytest.raises(UsageError, match=r"guidance 0\.5 needs class labels"):
        run.sample(2, guidance=0.5)


def test_the_command_line_guides(guidable, anytime, tmp_path):
    run = guidable["transformer"]
    for guidance in (1.0, 40.0):  # far enough to change what a prior of a few steps draws
        assert anytime("sample", "--run", run.folder, "--guidance", guidance, "--num", 16).status == 0
    made = {path.name: path for path in (run.folder / "samples").iterdir()}
    assert set(made) == {"1.0-seed0", "1.0-seed0-g40.0"}
    plain, led = ((path / "preview.png").read_bytes() for path in made.values())
    assert plain != led


def test_an_evaluation_says_how_its_samples_were_guided(guidable, tmp_path):
    run = guidable["transformer"]
    options = EvaluationOptions(budgets=(Budget(0.5), Budget(1.0)), num=20, sampling=SamplingOptions(guidance=2.5))
    evaluations = evaluate(run, tmp_path, options)
    show_evaluation(run, evaluations, tmp_path)
    assert evaluations[0].guidance == 2.5
    page = (tmp_path / "report.html").read_text()
    assert "--guidance 2.5" in page
    assert "Guidance" in page
    unguided = evaluate(run, tmp_path, EvaluationOptions(budgets=(Budget(1.0),), num=20))
    assert unguided[0].rows[-1].samples != evaluations[0].rows[-1].samples
    assert unguided[0].rows[-1].reconstructed == evaluations[0].rows[-1].reconstructed
