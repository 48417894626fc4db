"""What an installation is made of: imports, import contracts, the wheel, and plugins that do not work."""

from __future__ import annotations

import configparser
import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

import anytime_core
from anytime_core.errors import PluginError, UsageError
from anytime_core.plugins import Plugin, check_plugin, list_plugins, load_modality
from anytime_core.recipes import list_recipes

ROOT = Path(__file__).parents[1]
SCRIPTS = Path(sys.executable).parent


def run(*command: object, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program that must succeed."""
    result = subprocess.run(
        [*map(str, command)], cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result


# Imports


def imported_by(code: str) -> set[str]:
    """Modules that are imported once `code` has run in a new process."""
    report = "import sys; print(*sys.modules, file=sys.stderr)"
    return set(run(sys.executable, "-c", f"{code}\n{report}").stderr.split())


def command(*arguments: str) -> str:
    """Code that runs the command line."""
    return f"""
import sys
from anytime_cli.main import main
sys.argv = ["anytime", *{arguments!r}]
try:
    main()
except SystemExit as exit:
    assert not exit.code, exit.code
"""


@pytest.mark.parametrize("arguments", [("--help",), ("--version",)], ids=str)
def test_help_imports_nothing_heavy(arguments):
    modules = imported_by(command(*arguments))
    assert "anytime_cli.main" in modules
    assert modules.isdisjoint({"torch", "numpy", "pydantic", "entrypoints", "anytime_image", "anytime_audio"})


@pytest.mark.parametrize("name", ["train", "sample"])
def test_help_of_a_command_imports_no_torch(name):
    modules = imported_by(command(name, "--help"))
    assert f"anytime_cli.{name}" in modules
    assert modules.isdisjoint({"torch", "numpy", "anytime_image", "anytime_audio"})


def test_importing_core_imports_no_torch():
    modules = imported_by("import anytime_core; anytime_core.__version__")
    assert "anytime_core" in modules
    assert modules.isdisjoint({"torch", "numpy"})


def test_every_public_name_of_core_can_be_imported():
    assert {"load", "Run", "Budget", "Samples", "AnytimeError", "__version__"} <= set(anytime_core.__all__)
    for name in anytime_core.__all__:
        assert getattr(anytime_core, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Budgets'"):
        anytime_core.Budgets  # noqa: B018


@pytest.mark.parametrize("arguments", [("plugins", "list"), ("recipes", "list")], ids=str)
def test_listing_imports_no_plugin(arguments):
    modules = imported_by(command(*arguments))
    assert "anytime_core.plugins" in modules
    assert modules.isdisjoint({"torch", "anytime_image", "anytime_audio"})


def test_the_console_script_is_installed():
    assert run(SCRIPTS / "anytime", "--version").stdout == "anytime 0.1.0\n"


def test_the_import_contracts_hold():
    assert re.search(r"[1-9]\d* kept, 0 broken", run(SCRIPTS / "lint-imports", "--no-cache").stdout)


# The wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder)
    (path,) = folder.glob("*.whl")
    return zipfile.ZipFile(path)


DIST_INFO = "anytime_toolkit-0.1.0.dist-info"


def test_the_wheel_holds_the_packages_and_nothing_else(wheel):
    top = {name.partition("/")[0] for name in wheel.namelist()}
    assert top == {"anytime_core", "anytime_image", "anytime_audio", "anytime_cli", DIST_INFO}
    suffixes = {Path(name).suffix for name in wheel.namelist() if not name.startswith(DIST_INFO)}
    assert suffixes <= {".html", ".py", ".typed", ".yaml"}


def test_the_wheel_holds_every_module_and_recipe_of_the_checkout(wheel):
    sources = {
        **{ROOT / "anytime_core": "anytime_core"},
        **{ROOT / "plugins" / "image" / "anytime_image": "anytime_image"},
        **{ROOT / "cli" / "anytime_cli": "anytime_cli"},
        **{ROOT / "plugins" / "audio" / "anytime_audio": "anytime_audio"},
        **{ROOT / "configs" / name: f"anytime_{name}/recipes" for name in ("image", "audio")},
    }
    expected = {
        f"{target}/{path.relative_to(source).as_posix()}": path.read_bytes()
        for source, target in sources.items()
        for path in source.rglob("*")
        if path.suffix in (".html", ".py", ".yaml")
    }
    packed = {name: wheel.read(name) for name in wheel.namelist() if name.endswith((".html", ".py", ".yaml"))}
    assert {"anytime_image/recipes/digits.yaml", "anytime_audio/recipes/plucks.yaml"} <= set(expected)
    assert packed == expected


def test_the_wheel_declares_the_command_the_modalities_and_the_licence(wheel):
    points = configparser.ConfigParser()
    points.read_string(wheel.read(f"{DIST_INFO}/entry_points.txt").decode())
    assert dict(points["console_scripts"]) == {"anytime": "anytime_cli.main:main"}
    assert dict(points["anytime.modalities"]) == {
        "audio": "anytime_audio.modality:AudioModality",
        "image": "anytime_image.modality:ImageModality",
    }
    assert wheel.read(f"{DIST_INFO}/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()


def test_what_the_wheel_installs_finds_its_recipes(wheel, tmp_path):
    wheel.extractall(tmp_path / "site")
    code = f"{command('recipes', 'list', '--json')}\nimport anytime_core; print(anytime_core.__file__, file=sys.stderr)"
    result = run(sys.executable, "-c", code, cwd=tmp_path, PYTHONPATH=str(tmp_path / "site"))
    assert result.stderr.startswith(str(tmp_path / "site"))
    shipped = {f"{path.parent.name}/{path.stem}" for path in (ROOT / "configs").glob("*/*.yaml")}
    assert {recipe["name"] for recipe in json.loads(result.stdout)} == shipped


# Plugins


@dataclass
class Site:
    """A folder on the import path into which made-up distributions are installed."""

    folder: Path

    def install(self, code: str = "", *, name: str = "toy", target: str = "toyplugin:Toy", points: str = "") -> None:
        """Install `toyplugin` 1.0: a package with `code`, declaring a modality, or whatever `points` says."""
        package, info = self.folder / "toyplugin", self.folder / "toyplugin-1.0.dist-info"
        package.mkdir()
        (package / "__init__.py").write_text(code)
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toyplugin\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(points or f"[anytime.modalities]\n{name} = {target}\n")

    def recipe(self, name: str, content: bytes) -> None:
        """Add a recipe to the package."""
        (self.folder / "toyplugin" / "recipes").mkdir(exist_ok=True)
        (self.folder / "toyplugin" / "recipes" / name).write_bytes(content)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    (tmp_path / "site").mkdir()
    monkeypatch.syspath_prepend(tmp_path / "site")
    yield Site(tmp_path / "site")
    sys.modules.pop("toyplugin", None)


def listed(name: str) -> Plugin:
    (plugin,) = [plugin for plugin in list_plugins() if plugin.name == name]
    return plugin


def toy(**attributes: object) -> str:
    """Code of a plugin whose class has `attributes`."""
    return "\n".join(["class Toy:", "    pass", *(f"Toy.{name} = {value!r}" for name, value in attributes.items())])


RAISES = "raise RuntimeError('kaput')"


@pytest.mark.parametrize(
    ("code", "target", "state", "cause"),
    [
        (RAISES, "toyplugin:Toy", "broken", "RuntimeError: kaput"),
        ("import no_such_library", "toyplugin:Toy", "broken", "ModuleNotFoundError: .*no_such_library"),
        ("def (", "toyplugin:Toy", "broken", "SyntaxError"),
        ("import sys; sys.exit(3)", "toyplugin:Toy", "broken", "SystemExit: 3"),
        ("", "toyplugin:Toy", "broken", "AttributeError: .*Toy"),
        ("", "toyplugin", "broken", "AttributeError"),
        (toy(name="toy", api_version=1), "toyplugin.modality:Toy", "broken", "toyplugin.modality"),
        (toy(name="toy", api_version=2), "toyplugin:Toy", "incompatible", "api_version 2, this toolkit needs 1"),
        (toy(name="toy"), "toyplugin:Toy", "incompatible", "api_version None, this toolkit needs 1"),
        (toy(name="train", api_version=1), "toyplugin:Toy", "incompatible", "calls itself 'train'"),
        (toy(api_version=1), "toyplugin:Toy", "incompatible", "calls itself None"),
    ],
)
def test_a_plugin_that_does_not_work_is_named_with_cause_and_way_out(site, code, target, state, cause):
    site.install(code, target=target)
    plugin = listed("toy")
    assert (plugin.state, plugin.problem, plugin.distribution, plugin.version) == ("ok", "", "toyplugin", "1.0")
    assert "toyplugin" not in sys.modules
    checked = check_plugin(plugin)
    assert checked.state == state
    with pytest.raises(PluginError) as refused:
        load_modality("toy")
    assert str(refused.value) == checked.problem
    assert "'toy'" in checked.problem
    assert "toyplugin 1.0" in checked.problem
    assert re.search(cause, checked.problem)
    assert re.search("update or uninstall toyplugin", checked.problem)
    assert "\n" not in checked.problem
    assert check_plugin(listed("image")).state == "ok"


def test_a_plugin_that_works_is_loaded(site):
    site.install(toy(name="toy", api_version=1))
    assert load_modality("toy").__name__ == "Toy"
    assert check_plugin(listed("toy")) == listed("toy")


def test_two_plugins_of_one_name_are_both_named(site):
    site.install(toy(name="image", api_version=1), name="image")
    plugins = [plugin for plugin in list_plugins() if plugin.name == "image"]
    assert [plugin.state for plugin in plugins] == ["duplicate", "duplicate"]
    with pytest.raises(PluginError, match="uninstall all but one") as refused:
        load_modality("image")
    for plugin in plugins:
        assert check_plugin(plugin) == plugin
        assert plugin.problem == str(refused.value)
        assert f"{plugin.distribution} {plugin.version}" in plugin.problem
    assert {plugin.distribution for plugin in plugins} >= {"toyplugin"}
    assert "toyplugin" not in sys.modules


def test_an_unknown_plugin_is_refused_with_the_nearest_name():
    with pytest.raises(UsageError, match=r"no modality 'imag' \(did you mean 'image'\?\): installed are .*image"):
        load_modality("imag")


def test_recipes_of_a_plugin_are_listed_without_importing_it(site):
    site.install(RAISES)
    site.recipe("small.yaml", b"# A small one\nmodality: toy\n")
    (own,) = [recipe for recipe in list_recipes() if recipe.name.startswith("toy/")]
    assert (own.name, own.description, own.read()) == ("toy/small", "A small one", {"modality": "toy"})


def test_each_recipe_is_listed_once_though_two_plugins_share_a_name(site):
    site.install(name="image")
    names = [recipe.name for recipe in list_recipes()]
    assert "image/digits" in names
    assert len(set(names)) == len(names)


COMMANDS = ["runs list", "runs show RUN", "recipes list", "plugins list", "plugins list --check", "doctor"]
NEEDING_IMAGE = ["sample --run RUN --num 1 --device cpu", "recipes show digits", "recipes copy digits"]


@pytest.mark.parametrize("line", [*COMMANDS, *NEEDING_IMAGE])
def test_a_broken_plugin_breaks_no_command_that_does_not_need_it(anytime, site, tiny_folder, tmp_path, line):
    site.install(RAISES)
    out = ["--out", "out"] if line.startswith("sample") else []
    result = anytime(*(str(tiny_folder) if word == "RUN" else word for word in line.split()), *out)
    assert result.status == 0, result.err


@pytest.mark.parametrize("line", COMMANDS)
def test_a_duplicate_plugin_breaks_no_command_that_does_not_need_it(anytime, site, tiny_folder, line):
    site.install(name="image")
    result = anytime(*(str(tiny_folder) if word == "RUN" else word for word in line.split()))
    assert result.status == 0, result.err


@pytest.mark.parametrize("points", ["no section at all\n", "[anytime.modalities]\ntoy = !\n", "[a]\nb=c\n[a]\nb=c\n"])
def test_a_damaged_list_of_entry_points_hides_no_other_plugin(site, points):
    site.install(points=points)
    assert load_modality("image").name == "image"
    assert {recipe.name for recipe in list_recipes()} >= {"image/digits"}


def test_an_unreadable_recipe_hides_no_other_recipe(site):
    site.install()
    site.recipe("broken.yaml", b"\xff\xfe\x00")
    assert {recipe.name for recipe in list_recipes()} >= {"image/digits"}


def test_commands_tell_the_state_of_each_plugin(anytime, site):
    site.install(RAISES)
    states = {
        "list": json.loads(anytime("plugins", "list", "--json").out),
        "check": json.loads(anytime("plugins", "list", "--check", "--json").out),
        "doctor": json.loads(anytime("doctor", "--json").out)["modalities"],
    }
    found = {call: {plugin["name"]: plugin["state"] for plugin in plugins} for call, plugins in states.items()}
    assert found["list"] == {**found["list"], "image": "ok", "toy": "ok"}
    for call in ("check", "doctor"):
        assert found[call] == {**found[call], "image": "ok", "toy": "broken"}


def test_a_command_that_needs_a_broken_plugin_says_what_is_wrong_with_it(anytime, site, tmp_path):
    site.install(RAISES)
    (tmp_path / "toy.yaml").write_text(yaml.safe_dump({"modality": "toy"}))
    result = anytime("train", "--config", "toy.yaml")
    assert result.status == 1
    (line,) = result.err.splitlines()
    assert re.search("toyplugin 1.0.*RuntimeError: kaput.*update or uninstall toyplugin", line)
    assert not (tmp_path / "runs").exists()


def test_a_plugin_that_prints_does_not_spoil_json(anytime, site):
    site.install("print('hello')\n" + RAISES)
    for arguments in (("plugins", "list", "--check", "--json"), ("doctor", "--json")):
        assert json.loads(anytime(*arguments).out)
