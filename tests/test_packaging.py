"""What an installation is made of: imports, import contracts and the wheel."""

from __future__ import annotations

import ast
import configparser
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import HEAVY
from PIL import Image

import anytime_core
from anytime_core.priors.registry import PRIORS

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
    assert "anytime_core.entry_points" in modules
    assert modules.isdisjoint({"torch", "anytime_image", "anytime_audio"})


@pytest.mark.parametrize("name", ["sample", "reconstruct"])
def test_pictures_are_drawn_read_and_written_without_what_takes_seconds_to_import(name, tiny_folder, tmp_path):
    picture = tmp_path / "seven.png"
    Image.new("L", (12, 9), 200).save(picture)
    what = {"sample": ("--num", "32"), "reconstruct": (str(picture),)}[name]
    modules = imported_by(
        command(name, *what, "--run", str(tiny_folder), "--device", "cpu", "--out", str(tmp_path / "o"))
    )
    assert (tmp_path / "o" / "preview.png").exists()
    assert "anytime_image.pixels" in modules
    assert modules.isdisjoint(HEAVY)


def test_the_console_script_is_installed():
    assert run(SCRIPTS / "anytime", "--version").stdout == "anytime 0.1.0\n"


def test_kinds_of_priors_are_told_apart_in_their_own_package_only():
    """A new kind is one new file: nothing outside of `anytime_core/priors` asks for one by its class."""
    kinds = {PRIORS[kind].__name__ for kind in PRIORS.built_in}
    assert {"TransformerPrior", "ARDMPrior"} <= kinds
    asked = []
    for folder in ("anytime_core", "cli", "plugins"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            if path.is_relative_to(ROOT / "anytime_core" / "priors"):
                continue
            names = {node.id for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name)}
            asked += [f"{path.relative_to(ROOT)}: {name}" for name in sorted(names & kinds)]
    assert asked == []


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
    assert suffixes <= {".html", ".jinja", ".py", ".typed", ".yaml"}


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
        if path.suffix in (".html", ".jinja", ".py", ".yaml")
    }
    packed = {name: wheel.read(name) for name in wheel.namelist() if name.endswith((".html", ".jinja", ".py", ".yaml"))}
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
