"""Configs that others wrote: bombs, depths, tags, and numbers that no memory holds."""

from __future__ import annotations

import time
import tracemalloc

import pytest

from anytime_audio.config import AudioConfig
from anytime_core.config_parsing import apply_overrides, parse_config, parse_yaml, read_yaml
from anytime_core.data.reading import YAML_LIMIT
from anytime_core.errors import ConfigError
from anytime_image.config import ImageConfig

LAUGHS = "a0: &a0 [ha, ha]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))
MERGES = "a0: &a0 {x: 1}\n" + "".join(f"a{n}: &a{n}\n  <<: [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))
BOMBS = {
    "a billion laughs": LAUGHS,
    "merges of merges": MERGES,
    "an alias of what it is in": "data: &a [*a]",
    "a mapping that is in itself": "data: &a\n  b: *a",
    "deep lists": "data: " + "[" * 20_000,
    "deep mappings": "".join(f"{' ' * n}a:\n" for n in range(600)),
    "many keys": "".join(f"k{n}: 1\n" for n in range(20_000)),
    "a long value": "modality: " + "x" * 100_000,
    "a number of many digits": "seed: 0x" + "f" * 100_000,
    "a sum of sixties": "seed: 1" + ":59" * 50_000,
    "a Python object": "seed: !!python/object/apply:os.system ['true']",
    "a module": "seed: !!python/module:os",
    "no truth value": "seed: !!bool perhaps",
    "no number": "seed: !!int ''",
    "no time": "seed: !!timestamp later",
    "a control character": "seed: \x00",
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_one_error_at_once(name, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(BOMBS[name])
    started = time.process_time()
    with pytest.raises(ConfigError) as refused:
        read_yaml(path)
    message = str(refused.value)
    assert str(path) in message
    assert "\n" not in message
    assert len(message) < 1000
    assert time.process_time() - started < 10


@pytest.mark.parametrize("text", [LAUGHS, MERGES], ids=["laughs", "merges"])
def test_aliases_of_aliases_take_little_memory(text):
    tracemalloc.start()
    with pytest.raises(ConfigError, match="more than 10000 values"):
        parse_yaml(text, "text")
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()


def test_a_file_larger_than_any_config_is_not_read(tmp_path):
    path = tmp_path / "config.yaml"
    with path.open("wb") as file:
        file.truncate(2**40)
    tracemalloc.start()
    with pytest.raises(ConfigError, match=f"larger than {YAML_LIMIT:,} bytes"):
        read_yaml(path)
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()


def test_anchors_and_merges_of_everyday_configs_stay_allowed():
    data = parse_yaml("x: &a {size: 8}\ny: *a\nz: {<<: *a, color: grey}", "text")
    assert data == {"x": {"size": 8}, "y": {"size": 8}, "z": {"size": 8, "color": "grey"}}


@pytest.mark.parametrize("text", BOMBS.values(), ids=BOMBS)
def test_a_bomb_in_an_override_is_one_short_error(text):
    with pytest.raises(ConfigError) as refused:
        apply_overrides({}, [f"data={text}"])
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 1000


@pytest.mark.parametrize("key", ["a." * 100_000 + "a", "a" * 100_000, "." * 1000, ""])
def test_an_absurd_key_is_a_short_error(key):
    with pytest.raises(ConfigError) as refused:
        parse_config(apply_overrides({}, [f"{key}=1"]), ImageConfig)
    assert len(str(refused.value)) < 1000


def test_of_very_many_mistakes_the_first_are_told():
    with pytest.raises(ConfigError) as refused:
        parse_config({f"key{number}": 1 for number in range(5000)}, ImageConfig)
    lines = str(refused.value).splitlines()
    assert len(lines) == 51
    assert lines[-1] == "and 4950 more mistakes"


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("autoencoder.code_length=1000000000000", "autoencoder.code_length"),
        ("autoencoder.quantizer.size=1000000000000", "autoencoder.quantizer.size"),
        ("prior.heads=1000000000000", "prior.heads"),
        ("prior.width=1000000000000", "prior.width"),
        ("prior.layers=1000000", "prior.layers"),
        ("prior.feedforward=1000000", "prior.feedforward"),
        ("prior.code_length=1000000000000", "prior.code_length"),
        ("training.device=cuda:99999999999999999999", "training.device"),
        ("network.widths=[1000000000000]", "network.widths"),
        ("data.size=1000000", "data.size"),
        ("data={size: 4096, name: folder, color: rgb}", "data.size=4096"),
    ],
)
def test_sizes_that_no_memory_holds_are_refused_by_name(override, key):
    data = {"network": {"widths": [2**10]}}
    with pytest.raises(ConfigError, match=key.replace(".", r"\.")):
        parse_config(apply_overrides(data, [override]), ImageConfig)


@pytest.mark.parametrize(
    "network",
    [
        {"kind": "spectral", "hop": 2, "window": 4},
        {"kind": "wave", "widths": [256] * 3},
        {"kind": "residual", "widths": [256] * 3},
    ],
    ids=lambda network: network["kind"],
)
def test_clips_that_no_memory_holds_are_refused(network):
    with pytest.raises(ConfigError, match=r"data\.length=4194304"):
        parse_config({"data": {"length": 2**22}, "network": network}, AudioConfig)
