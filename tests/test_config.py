"""Configs: YAML there and back, every mistake reported at once, overrides, and the shipped recipes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import BaseModel, ValidationError

from anytime_audio.config import AudioConfig
from anytime_core.config import Config, CoreConfig, Section
from anytime_core.config_fields import described_fields
from anytime_core.config_parsing import apply_overrides, parse_config, parse_yaml, read_yaml
from anytime_core.data.locations import DATA_VARIABLE, cache_folder, data_candidates, user_path
from anytime_core.discovery.blocks import without_blocks
from anytime_core.discovery.plugins import load_modality
from anytime_core.discovery.quick import quick_variant
from anytime_core.discovery.recipes import default_recipe, list_recipes
from anytime_core.errors import ConfigError
from anytime_core.priors.registry import PRIORS
from anytime_core.quantizers.config import FSQConfig, VQConfig
from anytime_core.quantizers.registry import QUANTIZERS
from anytime_core.value_networks import NETWORKS
from anytime_image.config import ImageConfig

RECIPES = [pytest.param(recipe, id=recipe.name) for recipe in list_recipes()]


def parse(data: dict[str, Any]) -> Config:
    return parse_config(data, ImageConfig)


def mistakes(data: dict[str, Any]) -> list[str]:
    with pytest.raises(ConfigError) as error:
        parse(data)
    return str(error.value).splitlines()


@pytest.mark.parametrize(
    "data",
    [
        {},
        {
            "seed": 7,
            "data": {"name": "folder", "root": "/some/where", "size": 32, "color": "grey"},
            "network": {"widths": [4, 8, 16]},
            "autoencoder": {"quantizer": {"kind": "fsq", "levels": [5, 5]}, "axis": "spatial"},
            "prior": {"class_conditional": False, "code_length": 3},
            "training": {"device": "cuda:1", "prior": {"learning_rate": 1e-05}},
        },
        {"autoencoder": {"quantizer": {"kind": "none"}}},
    ],
    ids=["default", "changed", "continuous"],
)
def test_a_config_written_as_yaml_is_read_back_equal(data):
    config = parse(data)
    assert parse(parse_yaml(config.to_yaml(), "config")) == config


def test_values_reach_their_sections_and_the_rest_stays_default():
    config = parse({"seed": 7, "loss": "l1", "autoencoder": {"quantizer": {"size": 9}}})
    assert (config.core.seed, config.modality.loss) == (7, "l1")
    assert config.core.autoencoder.quantizer == VQConfig(size=9)
    assert config.core.training == CoreConfig().training
    assert config.modality.data == ImageConfig().data


def test_an_empty_file_is_the_default_config(tmp_path):
    (tmp_path / "empty.yaml").write_text("# nothing\n")
    assert parse(read_yaml(tmp_path / "empty.yaml")) == parse({})


def test_a_parsed_config_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        parse({}).core.autoencoder.axis = "spatial"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[1, 2]", "is not a config"),
        ("just words", "is not a config"),
        ("42", "is not a config"),
        ("1: 2", "is not a config"),
        ("a: [1", "is not valid YAML"),
        ("a: b: c", "is not valid YAML"),
        ("\ta: 1", "is not valid YAML"),
        ("[" * 500, "is not valid YAML"),
        ("'': 1\n'': 2", "is not valid YAML: duplicate key ''"),
        ("seed: !!python/object/apply:os.getpid []", "is not valid YAML"),
    ],
    ids=lambda value: value[:20],
)
def test_text_that_is_no_config_is_refused_by_the_name_of_its_file(text, complaint, tmp_path):
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as error:
        read_yaml(path)
    assert str(error.value).startswith(f"{path} {complaint}")


@pytest.mark.parametrize("kind", ["missing", "folder", "binary"])
def test_a_file_that_cannot_be_read_is_named(kind, tmp_path):
    path = tmp_path / "config.yaml"
    if kind == "folder":
        path.mkdir()
    elif kind == "binary":
        path.write_bytes(b"\x80\x00")
    with pytest.raises(ConfigError, match=re.escape(f"cannot read config {path}")):
        read_yaml(path)


SINGLE_MISTAKES = [
    ({"sed": 1}, "unknown key 'sed' (did you mean 'seed'?)"),
    ({"netwrk": {"depth": 1}}, "unknown key 'netwrk' (did you mean 'network'?)"),
    ({"data": {"nam": "mnist"}}, "unknown key 'data.nam' (did you mean 'data.name'?)"),
    (
        {"autoencoder": {"quantizer": {"sizes": 3}}},
        "unknown key 'autoencoder.quantizer.sizes' (did you mean 'autoencoder.quantizer.size'?)",
    ),
    (
        {"autoencoder": {"quantizer": {"kind": "fsq", "level": [8]}}},
        "unknown key 'autoencoder.quantizer.level' (did you mean 'autoencoder.quantizer.levels'?)",
    ),
    ({"quixotic": True}, "unknown key 'quixotic'"),
    ({"seed": -1}, "seed: ", "-1"),
    ({"seed": 2**63}, "seed: ", str(2**63)),
    ({"data": {"size": "big"}}, "data.size: ", "'big'"),
    ({"data": {"name": "mnst"}}, "data.name: ", "'mnist'", "'mnst'"),
    ({"network": {"widths": [0, 16]}}, "network.widths", "found 0"),
    ({"autoencoder": {"quantizer": {"decay": 2}}}, "autoencoder.quantizer.decay: ", "found 2"),
    ({"autoencoder": {"quantizer": {"kind": "fsq", "levels": [1, 8]}}}, "autoencoder.quantizer.levels", "found 1"),
    (
        {"autoencoder": {"quantizer": {"kind": "vqq"}}},
        "autoencoder.quantizer.kind: no quantizer 'vqq'",
        "did you mean 'vq'",
        "choose vq, fsq, levels, none",
    ),
    (
        {"prior": {"kind": "transfomer"}},
        "prior.kind: no prior 'transfomer' (did you mean 'transformer'?)",
        "anytime plugins",
    ),
    ({"autoencoder": 5}, "autoencoder: ", "found 5"),
    ({"data": None}, "data: ", "found None"),
    ({"prior": {"class_conditional": "sometimes"}}, "prior.class_conditional: ", "'sometimes'"),
    ({"training": {"device": "gpu"}}, "training.device: ", "'gpu'"),
    ({"training": {"prior": {"steps": 0}}}, "training.prior.steps: ", "found 0"),
    ({"data": {"size": 5}, "network": {"widths": [4] * 3}}, "data.size=5 cannot", "data.size=8 or more"),
]


@pytest.mark.parametrize(
    ("data", "begin", "others"),
    [pytest.param(data, begin, others, id=str(data)) for data, begin, *others in SINGLE_MISTAKES],
)
def test_a_mistake_is_one_line_with_its_key_and_value_and_the_nearest_key(data, begin, others):
    (line,) = mistakes(data)
    assert line.startswith(begin)
    for part in others:
        assert part in line


def test_all_mistakes_of_all_sections_are_reported_at_once():
    lines = mistakes(
        {
            "sed": 1,
            "autoencoder": {"axiss": "channel", "quantizer": {"sizes": 3, "decay": 2}},
            "training": {"device": "gpu", "prior": {"steps": 0}},
            "data": {"nam": "mnist", "size": "big"},
            "loss": "l3",
        }
    )
    begins = [
        "unknown key 'sed' (did you mean 'seed'?)",
        "unknown key 'autoencoder.axiss' (did you mean 'autoencoder.axis'?)",
        "unknown key 'autoencoder.quantizer.sizes' (did you mean 'autoencoder.quantizer.size'?)",
        "autoencoder.quantizer.decay: ",
        "training.device: ",
        "training.prior.steps: ",
        "unknown key 'data.nam' (did you mean 'data.name'?)",
        "data.size: ",
        "loss: ",
    ]
    assert len(lines) == len(begins)
    for begin in begins:
        assert [line for line in lines if line.startswith(begin)], f"{begin} is not reported in {lines}"


def test_a_key_of_another_kind_is_not_proposed_to_itself():
    (line,) = mistakes({"autoencoder": {"quantizer": {"kind": "vq", "levels": [8]}}})
    assert "'autoencoder.quantizer.levels'" in line
    assert "did you mean 'autoencoder.quantizer.levels'" not in line


def test_messages_show_nothing_of_the_code_behind_them():
    (line,) = mistakes({"autoencoder": {"quantizer": {"kind": "vqq"}}})
    assert "lambda" not in line


@pytest.mark.parametrize("value", [".nan", ".inf", "-.inf"])
@pytest.mark.parametrize(
    "key",
    [
        "training.prior.weight_decay",
        "training.autoencoder.gradient_clip",
        "autoencoder.quantizer.commitment",
        "autoencoder.truncation.ratio",
        "prior.dropout",
        "data.validation_share",
    ],
)
def test_numbers_that_are_not_finite_are_refused(key, value):
    (line,) = mistakes(apply_overrides({}, [f"{key}={value}"]))
    assert line.startswith(f"{key}: ")


@pytest.mark.parametrize("levels", [[2**16] * 16, [2**16] * 4])
def test_more_fsq_codes_than_any_file_could_hold_are_refused(levels):
    (line,) = mistakes({"autoencoder": {"quantizer": {"kind": "fsq", "levels": levels}}})
    assert line.startswith("autoencoder.quantizer")


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("data.size=8", {"data": {"size": 8}}),
        ("data.flip=true", {"data": {"flip": True}}),
        ("data.root=null", {"data": {"root": None}}),
        ("data.root=", {"data": {"root": None}}),
        ("data.root=/a=b/c", {"data": {"root": "/a=b/c"}}),
        ("network.widths=[8, 16]", {"network": {"widths": [8, 16]}}),
        ("data={name: mnist}", {"data": {"name": "mnist"}}),
        ("training.prior.learning_rate=0.5", {"training": {"prior": {"learning_rate": 0.5}}}),
        (" seed =3", {"seed": 3}),
    ],
)
def test_overrides_have_yaml_values_and_make_the_sections_they_need(override, expected):
    assert apply_overrides({}, [override]) == expected


PATHS = [
    *(
        "my pics #2",
        "[2024] trip",
        "@home",
        "2024",
        "010",
        "1e3",
        "1_000",
        "0x10",
        "no",
        "true",
        "a: b",
        "{x}",
        "*",
        "%a",
    ),
    *(
        "- a",
        "&a",
        "!a",
        "2020-13-45",
        "a=b",
        "# a",
        "pics ",
        "Null",
        "Ärger",
        "a\\b",
        "it's",
        "null.",
        "my: b",
        "x:y/z",
    ),
]


@pytest.mark.parametrize("text", PATHS)
@pytest.mark.parametrize(
    ("model", "key"), [(ImageConfig, "data.root"), (AudioConfig, "data.root"), (AudioConfig, "data.cache")]
)
def test_a_path_is_taken_as_it_is_written_and_kept_in_full(model, key, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = parse_config(apply_overrides({}, [f"{key}={text}"], model), model)
    assert str(getattr(config.modality.data, key.rpartition(".")[2])) == f"{tmp_path}/{text}"
    assert parse_config(parse_yaml(config.to_yaml(), "again"), model) == config


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *((text, text) for text in ("2024", "010", "1e3", "1_000", "0x10", "1.50", "no", "on", "2020-01-02", "1:30")),
        *(("'my pics #2'", "my pics #2"), ('"null"', "null"), ("/a/b", "/a/b")),
    ],
)
def test_a_path_in_a_file_is_the_text_that_stands_there(text, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root = parse(parse_yaml(f"data: {{root: {text}}}", "text")).modality.data.root
    assert root == tmp_path / expected
    assert parse(apply_overrides({}, [f"data.root={text}"], ImageConfig)).modality.data.root == root


@pytest.mark.parametrize("text", ["null", "", " "])
def test_a_path_may_be_none(text):
    given = {"data": {"root": "/x"}}
    assert parse(apply_overrides(given, [f"data.root={text}"], ImageConfig)).modality.data.root is None
    assert parse(parse_yaml(f"data:\n  root: {text}", "text")).modality.data.root is None


@pytest.mark.parametrize("root", ["https://example.org/x", "pipe:cat", "s3://bucket"])
def test_an_address_is_not_made_a_path_of_this_folder(root):
    assert parse({"data": {"root": root}}).modality.data.root == Path(root)


class Kinds(Section):
    text: str = ""
    either: int | str = 0
    quality: Literal["16", "auto", True, False] = "auto"
    folders: tuple[Path, ...] = ()
    named: dict[str, Path] = {}  # noqa: RUF012


class Others(BaseModel):
    many: Kinds | None = None


@pytest.mark.parametrize(
    ("override", "field", "expected"),
    [
        *((f"many.text={text}", "text", text) for text in ("2024", "no", "a: b", "null", "1e3", "@x")),
        ("many.text=' x '", "text", " x "),
        ("many={text: 2024}", "text", "2024"),
        ("many.either=010", "either", 10),
        ("many.either=ten", "either", "ten"),
        ("many.quality=16", "quality", "16"),
        ("many.quality=no", "quality", False),
        ("many.quality=yes", "quality", True),
        ("many.folders=[/2024, /no]", "folders", (Path("/2024"), Path("/no"))),
        ("many.named={a: /1e3}", "named", {"a": Path("/1e3")}),
    ],
)
def test_values_of_every_type_are_what_the_model_wants(override, field, expected):
    config = parse_config(apply_overrides({}, [override], Others), Others)
    assert getattr(config.modality.many, field) == expected


NUMBERS = {
    "training.prior.steps": {"010": 10, "1e3": 1000, "1_000": 1000, "0x10": 16, "0o17": 15, "+3": 3, "5.": 5, "007": 7},
    "training.prior.learning_rate": {"1e-3": 0.001, ".5": 0.5, "1": 1.0, "1_0.5": 10.5, "2E-2": 0.02, "010": 10.0},
}
NO_NUMBERS = {
    "training.prior.steps": (
        "1:30",
        "1_",
        "1__0",
        "0b1",
        "1.5",
        "true",
        "yes",
        "2020-01-02",
        "1,000",
        "08h",
        ".inf",
        "1e400",
    ),
    "training.prior.learning_rate": ("1:30", "1:30.5", "true", ".nan", "inf", "1e400", "1,5", "0x1p3"),
}


@pytest.mark.parametrize(
    ("key", "text", "expected"), [(key, *item) for key, texts in NUMBERS.items() for item in texts.items()]
)
def test_numbers_are_what_they_look_like(key, text, expected):
    nested = parse_yaml(f"training: {{prior: {{{key.rpartition('.')[2]}: {text}}}}}", "text")
    for data in (nested, apply_overrides({}, [f"{key}={text}"])):
        assert getattr(parse(data).core.training.prior, key.rpartition(".")[2]) == expected


@pytest.mark.parametrize(("key", "text"), [(key, text) for key, texts in NO_NUMBERS.items() for text in texts])
def test_what_does_not_look_like_a_number_is_none(key, text):
    nested = parse_yaml(f"training:\n  prior:\n    {key.rpartition('.')[2]}: {text}", "text")
    for data in (nested, apply_overrides({}, [f"{key}={text}"])):
        (line,) = mistakes(data)
        assert line.startswith(f"{key}: input should be ")


@pytest.mark.parametrize(("text", "expected"), [("no", False), ("on", True), ("True", True), ("false", False)])
def test_truth_values_may_be_spelled_as_in_every_yaml(text, expected):
    data = parse_yaml(f"data: {{flip: {text}}}\nprior: {{class_conditional: {text}}}", "text")
    config = parse(data)
    assert (config.modality.data.flip, config.core.prior.class_conditional) == (expected, expected)


@pytest.mark.parametrize(
    ("folder", "written", "expected"),
    [
        (None, "~", "{home}"),
        (None, "~/pics", "{home}/pics"),
        (None, "./~x", "{here}/~x"),
        (None, "./~/x", "{here}/~/x"),
        ("~nobody-is-called-so", "~nobody-is-called-so/a", "{here}/~nobody-is-called-so/a"),
        (None, "a/~x", "{here}/a/~x"),
        (None, "/a", "/a"),
        (None, "a", "{here}/a"),
    ],
)
def test_home_folders_are_meant_by_a_tilde_in_front(folder, written, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/some/home")
    if folder:
        (tmp_path / folder).mkdir()
    wanted = Path(expected.format(home="/some/home", here=tmp_path))
    assert user_path(written).absolute() == wanted
    assert user_path(user_path(written)).absolute() == wanted
    assert parse(apply_overrides({}, [f"data.root={written}"], ImageConfig)).modality.data.root == wanted


def test_the_home_folder_of_nobody_is_one_mistake_among_others(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = mistakes({"data": {"root": "~nobody-is-called-so/x", "size": 3}})
    assert [line.partition(": ")[0] for line in lines] == ["data.root", "data.size"]
    assert "no user is called 'nobody-is-called-so'" in lines[0]
    assert "./~nobody-is-called-so/x" in lines[0]


@pytest.mark.parametrize("text", ["", "a\0b"])
def test_what_no_file_can_be_called_is_refused(text):
    (line,) = mistakes({"data": {"root": text}})
    assert line.startswith("data.root: ")
    assert repr(text) in line


def test_the_usual_places_of_data_may_be_told_with_a_tilde(monkeypatch):
    monkeypatch.setenv("HOME", "/some/home")
    monkeypatch.setenv(DATA_VARIABLE, "~/sets")
    monkeypatch.setenv("XDG_CACHE_HOME", "~/kept")
    assert data_candidates("mnist") == [
        Path("/some/home/sets/mnist"),
        Path("data/mnist"),
        Path("/some/home/.cache/anytime/mnist"),
    ]
    assert cache_folder("clips") == Path("/some/home/kept/anytime/clips")


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]
)
def test_a_config_is_read_in_every_encoding_that_its_beginning_names(encoding, tmp_path):
    path = tmp_path / "config.yaml"
    mark = "\ufeff" if encoding.endswith(("le", "be")) else ""
    path.write_bytes(f"{mark}seed: 3\r\ndata:\r\n  root: /Größe\r\n".encode(encoding))
    config = parse(read_yaml(path))
    assert (config.core.seed, config.modality.data.root) == (3, Path("/Größe"))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("a: 1\nb: é\n".encode("latin-1"), "not text in UTF-8, see line 2: save it as UTF-8"),
        ("a: 1".encode("utf-16-le"), "perhaps UTF-16 without a byte order mark: save it as UTF-8"),
        (b"\xff\xfea", "not text in UTF-16-LE, see line 1: save it as UTF-8"),
    ],
    ids=["latin-1", "no mark", "half a character"],
)
def test_a_config_in_another_encoding_is_told_what_to_do(content, told, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as error:
        read_yaml(path)
    assert str(error.value).startswith(f"cannot read config {path}: ")
    assert told in str(error.value)


def test_overrides_keep_other_values_leave_the_original_alone_and_the_last_one_wins():
    data = {"data": {"size": 8, "flip": True}, "seed": 1}
    result = apply_overrides(data, ["data.size=16", "data.size=32", "data.color=grey"])
    assert result == {"data": {"size": 32, "flip": True, "color": "grey"}, "seed": 1}
    assert data == {"data": {"size": 8, "flip": True}, "seed": 1}


def test_a_learning_rate_in_scientific_notation_is_a_number():
    assert parse(apply_overrides({}, ["training.prior.learning_rate=1e-3"])).core.training.prior.learning_rate == 1e-3


@pytest.mark.parametrize(
    "override",
    [
        *("", "seed", "=5", "data..size=1", ".seed=1", "seed.=1", "data.size", "modality.name=1"),
        *("data.size=[1", "data.name=a: b: c", "data.flip=@x"),
    ],
    ids=lambda value: value[:20],
)
def test_an_override_that_makes_no_sense_is_refused_and_shown(override):
    with pytest.raises(ConfigError) as error:
        apply_overrides({"modality": "image"}, [override])
    assert repr(override) in str(error.value)


@pytest.mark.parametrize("old", [{"size": 9, "decay": 0.5}, {"kind": "vq", "size": 9}], ids=["default", "written"])
def test_changing_the_kind_of_a_section_drops_the_old_kinds_values(old):
    data = {"autoencoder": {"quantizer": old, "axis": "spatial"}}
    result = apply_overrides(data, ["autoencoder.quantizer.kind=fsq", "autoencoder.quantizer.levels=[4, 4]"])
    assert parse(result).core.autoencoder.quantizer == FSQConfig(levels=(4, 4))
    assert result["autoencoder"]["axis"] == "spatial"
    assert data["autoencoder"]["quantizer"] is old


@pytest.mark.parametrize("old", [{"size": 9}, {"kind": "vq", "size": 9}], ids=["default", "written"])
def test_setting_the_kind_that_a_section_has_keeps_its_values(old):
    result = apply_overrides({"autoencoder": {"quantizer": old}}, ["autoencoder.quantizer.kind=vq"])
    assert parse(result).core.autoencoder.quantizer == VQConfig(size=9)


def test_a_kind_that_only_names_a_variant_keeps_the_other_values():
    data = {"network": {"kind": "residual", "widths": [8], "channels": 5}}
    network = parse(apply_overrides(data, ["network.kind=convolutional"])).modality.network
    assert (network.kind, network.widths, network.channels) == ("convolutional", (8,), 5)


@pytest.mark.parametrize("model", [CoreConfig, ImageConfig])
def test_every_field_of_every_section_has_a_default_and_a_description(model: type[BaseModel]):
    fields = list(described_fields(model))  # which fails for a value without a default
    assert len(fields) > len(model.model_fields)
    assert [key for key, _, description in fields if not description] == []


def test_core_and_image_sections_do_not_share_names():
    assert not CoreConfig.model_fields.keys() & ImageConfig.model_fields.keys()


@pytest.mark.parametrize("recipe", RECIPES)
def test_shipped_recipes_parse_and_read_back_equal(recipe):
    data = recipe.read()
    config = parse_config(data, load_modality(data["modality"]).Config)
    assert config.core.modality == recipe.name.partition("/")[0]
    assert recipe.description
    assert parse_config(parse_yaml(config.to_yaml(), recipe.name), load_modality(data["modality"]).Config) == config


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_quantizer_of_every_shipped_recipe_can_be_exchanged_by_one_override(recipe):
    data = apply_overrides(recipe.read(), ["autoencoder.quantizer.kind=fsq"])
    sections = load_modality(data["modality"]).Config
    if data["autoencoder"].get("kind") == "identity":
        with pytest.raises(ConfigError, match=r"it needs autoencoder\.quantizer of kind=levels"):
            parse_config(data, sections)
    else:
        assert parse_config(data, sections).core.autoencoder.quantizer == FSQConfig()


ROOT = Path(__file__).parents[1]
UNINSTALLED = (
    ROOT / "anytime_core" / "discovery" / "template" / "modality" / "package" / "recipes" / "small.yaml.jinja",
    ROOT / "examples" / "anytime_motion" / "anytime_motion" / "recipes" / "walk.yaml",
)


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_quick_variant_of_a_recipe_parses(recipe):
    quick = recipe.read(quick=True)
    assert parse_config(quick, load_modality(quick["modality"]).Config).core.modality == quick["modality"]


@pytest.mark.parametrize("path", [*(recipe.path for recipe in list_recipes()), *UNINSTALLED], ids=str)
def test_every_recipe_has_a_quick_variant_of_fewer_steps(path):
    data = parse_yaml(path.read_text().replace("{{ name }}", "name"), path.name)
    whole, quick = (
        CoreConfig.model_validate({"training": values["training"]}, strict=False).training
        for values in (without_blocks(data), quick_variant(data, path.name))
    )
    trained = data.get("autoencoder", {}).get("kind") != "identity"  # which has nothing to train
    assert not trained or quick.autoencoder.steps < min(whole.autoencoder.steps, 2000)
    assert quick.prior.steps < min(whole.prior.steps, 2000)


def test_a_quick_block_is_laid_over_a_config_and_one_that_names_a_kind_stands_for_the_section():
    whole = {"a": {"b": 1, "c": 2}, "d": {"kind": "x", "e": 1}, "f": [1, 2]}
    data = {**whole, "quick": {"a": {"b": 3}, "d": {"kind": "y"}}}
    assert without_blocks(data) == whole
    assert quick_variant(data, "it") == {"a": {"b": 3, "c": 2}, "d": {"kind": "y"}, "f": [1, 2]}


def test_the_digits_recipe_is_the_default_for_images():
    assert default_recipe("image").name == "image/digits"


@pytest.mark.parametrize("order", [1, -1])
def test_the_kind_of_a_section_is_changed_before_its_values_whatever_their_order(order):
    for changes, section in (
        (["prior.kind=ardm", "prior.base=4", "prior.width=64"], {"kind": "ardm", "base": 4, "width": 64}),
        (["autoencoder.quantizer.kind=fsq", "autoencoder.quantizer.levels=[4,4]"], {"kind": "fsq", "levels": [4, 4]}),
    ):
        found = apply_overrides({}, changes[::order])
        for key in changes[0].partition("=")[0].split(".")[:-1]:
            found = found[key]
        assert found == section


@pytest.mark.parametrize(
    "choice",
    [
        ["--set", "prior.network.kind=pixelrnn"],
        ["--set", "prior.kind=subscale", "--set", "prior.network.kind=pixelrnn"],
    ],
)
def test_the_help_of_training_tells_of_the_network_that_is_chosen(anytime, choice):
    shown = " ".join(anytime("train", "--config", "image/mnist-binary", *choice, "--help").out.split())
    assert "Kinds of networks, for --set prior.network.kind=KIND" in shown
    default = NETWORKS["pixelrnn"].Config.model_fields["layers"].default
    assert 'prior.network.kind="pixelrnn"' in shown
    assert f"prior.network.layers={default} " in shown
    assert "prior.network.dilations" not in shown


def test_the_help_of_training_names_every_kind(anytime):
    shown = " ".join(anytime("train", "--help").out.split())  # long lines are wrapped
    for registry in (PRIORS, QUANTIZERS):
        for kind, description in registry.described().items():
            assert f" {kind} {description} " in shown
