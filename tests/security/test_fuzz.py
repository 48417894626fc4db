"""Whatever stands in a file or an option of others, errors are the toolkit's own: no traceback, nothing outside.

The long test runs for `ANYTIME_FUZZ_SECONDS`, ten minutes by default, from a seed that it prints. What it finds is kept
as an example below.
"""

from __future__ import annotations

import os
import random
import secrets
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import tiny_config
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from anytime_audio.config import AudioConfig
from anytime_core.budget import Budget
from anytime_core.config_parsing import apply_overrides, parse_config, parse_yaml
from anytime_core.errors import AnytimeError, RunError
from anytime_core.run import load
from anytime_core.training.codes import CodesDataset
from anytime_image.config import ImageConfig

SECONDS = float(os.environ.get("ANYTIME_FUZZ_SECONDS", "600"))
RUN_FILES = ("run.json", "config.yaml", "autoencoder.safetensors", "prior.safetensors", "costs.json")

VOCABULARY = r"""
seed autoencoder prior training data network quantizer kind size vq fsq none levels widths channels root code_length
codes ms s % adaptive adaptive: 1e3 -1 0 1 0.5 2**30 99999999999999999999 .inf .nan null true ~ image audio
' " : - ? , [ ] { } & &a *a <<: !!int !!float !!bool !!binary !!timestamp !!set !!omap | > # --- ... % @ ` \
/ .. ../../x /etc/passwd 0x_ 0b 1:2:3 2001-01-01
"""
WORDS = (*VOCABULARY.split(), "\n", "\t", "\x00", "\x85", "\ud7ff", "\U0001f600")
PATCHES = (b"", b"9", b"-", b"[", b"}", b"null", b"1e999", b"\xff" * 8, bytes(8), b'"')

fragments = st.lists(st.sampled_from(WORDS) | st.text(max_size=5), max_size=20)
texts = fragments.map(" ".join) | fragments.map("".join) | st.text(max_size=60)
overrides = st.builds("{}={}".format, st.lists(st.sampled_from(WORDS), max_size=4).map(".".join), texts) | texts
CONFIGS = st.tuples(texts, st.lists(overrides, max_size=3))


def config(text: str, changes: list[str]) -> None:
    """A config's text and overrides, as training reads them."""
    for modality in (ImageConfig, AudioConfig):
        try:
            parsed = parse_config(apply_overrides(parse_yaml(text, "text"), changes, modality), modality)
        except AnytimeError:
            continue
            assert parse_config(parse_yaml(parsed.to_yaml(), "again"), modality) == parsed


def budget(text: str | float) -> None:
    """A budget, and what it buys."""
    try:
        parsed = Budget.parse(text)
        assert 1 <= parsed.most_codes(64) <= 64
        assert Budget.parse(str(parsed)) == parsed
    except AnytimeError:
        return


def spoiled(content: bytes, noise: random.Random) -> bytes:
    """A file with some bytes changed, cut, repeated or moved, most of them where headers are."""
    data = bytearray(content)
    for _ in range(noise.randint(1, 6)):
        reach = len(data) if noise.random() < 0.3 else min(len(data), noise.choice((16, 200, 4000)))
        at = noise.randrange(reach + 1)
        size = noise.choice((1, 1, 2, 8, 100))
        patch = noise.choice((*PATCHES, data[at : at + size]))
        data[at : at + noise.choice((0, len(patch), size))] = patch
    return bytes(data if noise.random() < 0.95 else data[: noise.randrange(len(data) + 1)])


def run(folder: Path, original: Path, seed: int) -> None:
    """A run with one spoiled file; the error names it in one line."""
    noise = random.Random(seed)
    name = noise.choice([name for name in RUN_FILES if (original / name).exists()])
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for file in RUN_FILES:
        if (original / file).exists():
            shutil.copy(original / file, folder / file)
    (folder / name).write_bytes(spoiled((original / name).read_bytes(), noise))
    told = str(folder)
    try:
        _ = load(folder, device="cpu").costs
    except AnytimeError as error:
        told = str(error)
    assert str(folder) in told
    assert "\n" not in told


def codes(folder: Path, seed: int) -> None:
    """A code file, spoiled, of which the numbers are in range where it can be read."""
    noise = random.Random(seed)
    np.save(folder / "train.npy", np.arange(160, dtype=np.uint16).reshape(20, 8) % 16)
    np.save(folder / "train-labels.npy", np.arange(20) % 10)
    path = folder / noise.choice(("train.npy", "train-labels.npy"))
    path.write_bytes(spoiled(path.read_bytes(), noise))
    try:
        dataset = CodesDataset(folder, "train", code_length=8, codebook_size=16, classes=10)
    except RunError:
        return
    batch = dataset.batch(range(len(dataset)))
    assert 0 <= batch["codes"].min() <= batch["codes"].max() < 16
    assert 0 <= batch["label"].min() <= batch["label"].max() < 10


QUICK = settings(max_examples=60, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))


@QUICK
@example("seed: !!bool perhaps", [])
@example("seed: !!int ''", [])
@example("seed: !!timestamp later", [])
@example("seed: 0x" + "f" * 5000, [])
@example("", ["seed=[" * 2000])
@example("data: {1: 2}", [])
@given(texts, st.lists(overrides, max_size=3))
def test_any_config_is_parsed_or_refused(text, changes):
    config(text, changes)


@QUICK
@example("1" * 41 + "codes")
@example("1e999")
@example(float("nan"))
@given(texts | st.floats() | st.integers())
def test_any_budget_is_parsed_or_refused(text):
    budget(text)


def test_any_run_is_opened_or_refused(tiny_folder, tmp_path):
    for seed in range(40):
        run(tmp_path / "run", tiny_folder, seed)


def test_any_code_file_is_read_or_refused(tmp_path):
    for seed in range(200):
        codes(tmp_path, seed)


@pytest.mark.slow
def test_ten_minutes_of_anything_end_in_results_or_errors_of_our_own(tiny_folder, tmp_path):
    first = secrets.randbits(40)
    print(f"seeds from {first}")
    calls: dict[str, int] = {}
    rounds: list[Callable[[int], None]] = [
        lambda seed: _by_hypothesis(seed, CONFIGS, lambda pair: config(*pair)),
        lambda seed: _by_hypothesis(seed, texts | st.floats() | st.integers(), budget),
        lambda seed: [run(tmp_path / "run", tiny_folder, seed * 50 + part) for part in range(50)],
        lambda seed: [codes(tmp_path, seed * 200 + part) for part in range(200)],
        lambda seed: _spoiled_config(random.Random(seed)),
    ]
    names = ("config", "budget", "run", "codes", "spoiled config")
    ends = time.monotonic()
    for name, fuzz in zip(names, rounds, strict=True):
        ends += SECONDS / len(rounds)
        while time.monotonic() < ends:
            seed = first + calls.setdefault(name, 0)
            try:
                fuzz(seed)
            except Exception as error:
                error.add_note(f"{name} with seed {seed}: keep it as an example")
                raise
            calls[name] += 1
    print(calls)
    assert set(calls) == set(names)


def _by_hypothesis(seed: int, strategy: st.SearchStrategy, check: Callable) -> None:
    from hypothesis import seed as seeded

    @seeded(seed)
    @settings(max_examples=500, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(strategy)
    def examine(value: object) -> None:
        check(value)

    examine()


def _spoiled_config(noise: random.Random) -> None:
    text = tiny_config().to_yaml().encode()
    for _ in range(20):
        config(spoiled(text, noise).decode(errors="replace"), [])
