"""Discovery of plugins: found without importing them, told apart, and harmless if they do not work."""

from __future__ import annotations

import base64
import hashlib
import importlib
import json
import os
import re
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import yaml

from anytime_core.discovery.checks import check_plugin
from anytime_core.discovery.plugins import (
    MODALITIES,
    find_modality,
    list_plugins,
    load_modality,
)
from anytime_core.discovery.recipes import list_recipes
from anytime_core.entry_points import Plugin, import_declared, unknown_disabled
from anytime_core.errors import PluginError, UsageError

ANYTIME = Path(sys.executable).parent / "anytime"

METADATA = "Metadata-Version: 2.1\nName: toyplugin\nVersion: 1.0\n"
POINTS = "[{group}]\n{name} = {target}\n"


@dataclass
class Site:
    """A folder on the import path into which made-up distributions are installed."""

    folder: Path

    def install(
        self,
        code: str = "",
        *,
        name: str = "toy",
        target: str = "toyplugin:Toy",
        group: str = "anytime.modalities",
        points: str = "",
    ) -> None:
        """Install `toyplugin` 1.0: a package with `code`, declaring a plugin, or whatever `points` says."""
        package, info = self.folder / "toyplugin", self.folder / "toyplugin-1.0.dist-info"
        package.mkdir()
        (package / "__init__.py").write_text(code)
        info.mkdir()
        (info / "METADATA").write_text(METADATA)
        (info / "entry_points.txt").write_text(points or POINTS.format(group=group, name=name, target=target))

    def recipe(self, name: str, content: bytes) -> None:
        """Add a recipe to the package."""
        (self.folder / "toyplugin" / "recipes").mkdir(exist_ok=True)
        (self.folder / "toyplugin" / "recipes" / name).write_bytes(content)

    def anytime(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run the installed command with the made-up distributions; the toolkit's own are disabled."""
        environment = {"PYTHONPATH": str(self.folder), "ANYTIME_DISABLE_PLUGINS": "audio,image", **environment}
        return subprocess.run(
            [ANYTIME, *arguments], env={**os.environ, **environment}, capture_output=True, text=True, check=False
        )


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    (tmp_path / "site").mkdir()
    monkeypatch.syspath_prepend(tmp_path / "site")
    yield Site(tmp_path / "site")
    for name in [name for name in sys.modules if name.partition(".")[0] == "toyplugin"]:
        del sys.modules[name]


def listed(name: str) -> Plugin:
    (plugin,) = [plugin for plugin in list_plugins() if plugin.name == name]
    return plugin


def toy(**attributes: object) -> str:
    """Code of a plugin whose class has `attributes`."""
    return "\n".join(["class Toy:", "    pass", *(f"Toy.{name} = {value!r}" for name, value in attributes.items())])


WORKS = toy(name="toy", api_version=1)
RAISES = "raise RuntimeError('kaput')"
HANGS = "import time\ntime.sleep(60)"
EXITS = "import os\nos._exit(3)"
CRASHES = "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)"


# Plugins that work


def test_a_plugin_that_works_is_loaded(site):
    site.install(WORKS)
    assert check_plugin(listed("toy")) == listed("toy")
    assert "toyplugin" not in sys.modules
    assert load_modality("toy").__name__ == "Toy"
    assert check_plugin(listed("toy")) == listed("toy")


def test_a_class_inside_another_object_is_loaded(site):
    site.install(f"{WORKS}\nclass Modalities:\n    toy = Toy\n", target="toyplugin:Modalities.toy")
    assert load_modality("toy").__name__ == "Toy"


def test_a_wheel_that_pip_installs_is_found_until_it_is_gone(site, tmp_path):
    info = "toyplugin-1.0.dist-info"
    files = {
        "toyplugin/__init__.py": WORKS,
        f"{info}/METADATA": METADATA,
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": POINTS.format(group="anytime.modalities", name="toy", target="toyplugin:Toy"),
    }
    digests = {
        name: base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")
        for name, text in files.items()
    }
    files[f"{info}/RECORD"] = "".join(f"{name},sha256={digest},\n" for name, digest in digests.items())
    wheel = tmp_path / "toyplugin-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    pip = [sys.executable, "-m", "pip", "install", "--no-index", "--no-deps", "--target", site.folder, wheel]
    subprocess.run(pip, check=True, capture_output=True)
    plugin = listed("toy")
    assert plugin == Plugin(MODALITIES, "toy", "toyplugin:Toy", "toyplugin", "1.0")
    assert check_plugin(plugin).state == "ok"
    (site.folder / info).rename(tmp_path / info)
    with pytest.raises(UsageError, match="no modality 'toy'"):
        find_modality("toy")


def test_a_distribution_without_a_version_is_listed(site):
    site.install(RAISES)
    (site.folder / "toyplugin-1.0.dist-info").rename(site.folder / "toyplugin.egg-info")
    assert (listed("toy").distribution, listed("toy").version) == ("toyplugin", "unknown")


def test_an_unknown_plugin_is_refused_with_the_nearest_name():
    with pytest.raises(UsageError, match=r"no modality 'imag' \(did you mean 'image'\?\): installed are .*image"):
        load_modality("imag")


# Plugins that do not


@pytest.mark.parametrize(
    ("code", "target", "state", "cause"),
    [
        (RAISES, "toyplugin:Toy", "broken", "RuntimeError: kaput"),
        ("raise RuntimeError('one\\n  two')", "toyplugin:Toy", "broken", "RuntimeError: one two"),
        ("class Quits(BaseException): pass\nraise Quits", "toyplugin:Toy", "broken", "Quits"),
        ("import no_such_library", "toyplugin:Toy", "broken", "ModuleNotFoundError: .*no_such_library"),
        ("def (", "toyplugin:Toy", "broken", "SyntaxError"),
        ("import sys; sys.exit(3)", "toyplugin:Toy", "broken", "SystemExit: 3"),
        ("", "toyplugin:Toy", "broken", "AttributeError: .*Toy"),
        ("", "toyplugin", "broken", "AttributeError"),
        (WORKS, "toyplugin.modality:Toy", "broken", "toyplugin.modality"),
        (WORKS, "no target at all", "broken", "ModuleNotFoundError"),
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
    checked = check_plugin(plugin)
    assert "toyplugin" not in sys.modules
    assert checked.state == state
    with pytest.raises(PluginError) as refused:
        load_modality("toy")
    assert str(refused.value) == checked.problem
    assert f"'toy' ({target}" in checked.problem
    assert "toyplugin 1.0" in checked.problem
    assert re.search(cause, checked.problem)
    assert re.search("update or uninstall toyplugin", checked.problem)
    assert "\n" not in checked.problem
    assert check_plugin(listed("image")).state == "ok"


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        (HANGS, "did not finish, with no progress within 1 s"),
        ("import threading\nlock = threading.Lock()\nlock.acquire()\nlock.acquire()", "did not finish"),
        ("while True: pass", "did not finish"),
        (EXITS, "ended with status 3"),
        ("import os\nos._exit(0)", "ended with status 0"),
        (CRASHES, "ended by signal 9"),
        ("import ctypes\nctypes.string_at(0)", "ended by signal 11"),
        ("raise KeyboardInterrupt", r"ended (with status|by signal) \d+"),
        ("input()", "EOFError"),
    ],
)
def test_a_plugin_that_takes_its_process_down_is_only_broken(site, code, cause):
    site.install(f"{code}\n{WORKS}")
    checked = check_plugin(listed("toy"), limit=1)
    assert checked.state == "broken"
    assert re.search(rf"'toy' \(toyplugin:Toy, from toyplugin 1.0\) cannot be imported: .*{cause}", checked.problem)
    assert re.search("update or uninstall toyplugin", checked.problem)
    assert "toyplugin" not in sys.modules


def test_a_plugin_that_takes_long_but_goes_on_is_not_broken(site):
    slow = """
import importlib.util, time
for _ in range(8):
    time.sleep(0.2)
    importlib.util.find_spec("no_such_library")
"""
    site.install(slow + WORKS)
    assert check_plugin(listed("toy"), limit=1.5).state == "ok"


def test_a_thread_that_a_plugin_starts_keeps_no_check_waiting(site):
    site.install(f"import threading, time\nthreading.Thread(target=time.sleep, args=(60,)).start()\n{WORKS}")
    started = time.monotonic()
    assert check_plugin(listed("toy"), limit=20).state == "ok"
    assert time.monotonic() - started < 20


@pytest.mark.parametrize("points", ["no section at all\n", "[anytime.modalities]\ntoy = !\n", "[a]\nb=c\n[a]\nb=c\n"])
def test_a_damaged_list_of_entry_points_hides_no_other_plugin(site, points):
    site.install(points=points)
    assert load_modality("image").name == "image"
    assert {recipe.name for recipe in list_recipes()} >= {"image/digits"}


# Priors


NO_PRIOR = toy(kind="toy", api_version=1)
PRIOR = (
    f"from anytime_core.priors.base import CausalPrior\n{NO_PRIOR.replace('class Toy', 'class Toy(CausalPrior)')}\n"
    "Toy.__abstractmethods__ = frozenset()"
)


@pytest.mark.parametrize(
    ("code", "name", "state", "cause"),
    [
        (PRIOR, "toy", "ok", ""),
        (RAISES, "toy", "broken", "cannot be imported: RuntimeError: kaput; update or uninstall toyplugin"),
        (EXITS, "toy", "broken", "ended with status 3"),
        (toy(kind="toy", api_version=2), "toy", "incompatible", "has api_version 2, this toolkit needs 1"),
        (WORKS, "toy", "incompatible", "calls itself None"),
        (NO_PRIOR, "toy", "incompatible", "does not derive from anytime_core.priors.base.Prior; update or uninstall"),
        (PRIOR, "ardm", "duplicate", "has the name of one of the toolkit's own: update or uninstall toyplugin"),
    ],
)
def test_priors_have_the_states_of_plugins(anytime, site, code, name, state, cause):
    site.install(code, name=name, group="anytime.priors")
    plugins = {plugin["name"]: plugin for plugin in json.loads(anytime("plugins", "list", "--check", "--json").out)}
    assert (plugins[name]["group"], plugins[name]["state"]) == ("prior", state)
    assert cause in plugins[name]["problem"]
    if cause:
        assert plugins[name]["problem"].startswith(f"prior '{name}' (toyplugin:Toy, from toyplugin 1.0)")
    assert (plugins["image"]["group"], plugins["image"]["state"]) == ("modality", "ok")
    assert "toyplugin" not in sys.modules


def test_disabling_a_name_disables_what_is_called_so_in_every_group(site, monkeypatch):
    site.install(points="[anytime.modalities]\ntoy = toyplugin:Toy\n[anytime.priors]\ntoy = toyplugin:Prior\n")
    monkeypatch.setenv("ANYTIME_DISABLE_PLUGINS", "toy")
    own = [plugin for plugin in list_plugins() if plugin.name == "toy"]
    assert [(plugin.group.what, plugin.state) for plugin in own] == [("modality", "disabled"), ("prior", "disabled")]
    assert unknown_disabled(list_plugins()) == []


def test_a_name_of_two_groups_is_told_apart_by_its_kind(anytime, site):
    site.install(points="[anytime.modalities]\ntoy = toyplugin:Toy\n[anytime.priors]\ntoy = toyplugin:Prior\n")
    result = anytime("plugins", "check", "toy")
    assert (result.status, result.err) == (
        2,
        "error: 'toy' is a modality and a prior: say which one with --kind modality\n",
    )
    assert "prior 'toy' (toyplugin:Prior" in anytime("plugins", "check", "toy", "--kind", "prior").err


# Two of one name


def test_two_plugins_of_one_name_are_both_named(site):
    site.install(toy(name="image", api_version=1), name="image")
    plugins = [plugin for plugin in list_plugins() if plugin.name == "image"]
    assert [plugin.state for plugin in plugins] == ["duplicate", "duplicate"]
    with pytest.raises(PluginError, match="uninstall all but one") as refused:
        load_modality("image")
    for plugin in plugins:
        assert check_plugin(plugin) == plugin
        assert plugin.problem == str(refused.value)
        assert f"{plugin.distribution} {plugin.version} ({plugin.target})" in plugin.problem
        with pytest.raises(PluginError, match="uninstall all but one"):
            import_declared(plugin)
    assert {plugin.distribution for plugin in plugins} >= {"toyplugin"}
    assert "toyplugin" not in sys.modules


# Disabled ones


@pytest.mark.parametrize("value", ["toy", "audio,toy", " toy , audio ,", ",toy"])
def test_a_disabled_plugin_is_listed_and_not_imported(site, monkeypatch, value):
    site.install(WORKS)
    monkeypatch.setenv("ANYTIME_DISABLE_PLUGINS", value)
    plugin = listed("toy")
    assert plugin.state == "disabled"
    assert check_plugin(plugin) == plugin
    assert listed("image").state == "ok"
    for refusing in (find_modality, load_modality):
        with pytest.raises(PluginError) as refused:
            refusing("toy")
        assert str(refused.value) == plugin.problem
    with pytest.raises(PluginError, match="is disabled by"):
        import_declared(plugin)
    assert "toyplugin" not in sys.modules
    assert re.search(
        r"'toy' \(toyplugin:Toy, from toyplugin 1.0\) is disabled by ANYTIME_DISABLE_PLUGINS: unset it", plugin.problem
    )


def test_disabling_chooses_none_of_two_plugins_of_one_name(site, monkeypatch):
    site.install(WORKS, name="image")
    monkeypatch.setenv("ANYTIME_DISABLE_PLUGINS", "image")
    assert [plugin.state for plugin in list_plugins() if plugin.name == "image"] == ["disabled", "disabled"]
    with pytest.raises(PluginError, match=r"anytime_image.*is disabled by.*; .*toyplugin 1.0\) is disabled by"):
        load_modality("image")


def test_a_disabled_name_that_nobody_has_is_a_warning_where_plugins_are_listed(anytime, site, monkeypatch):
    monkeypatch.setenv("ANYTIME_DISABLE_PLUGINS", "imgae,audio")
    assert unknown_disabled(list_plugins()) == ["imgae"]
    result = anytime("plugins", "list", "--json")
    assert result.status == 0
    states = {plugin["name"]: plugin["state"] for plugin in json.loads(result.out)}
    assert (states["image"], states["audio"]) == ("ok", "disabled")
    (line,) = result.err.splitlines()
    assert re.search(r"warning: ANYTIME_DISABLE_PLUGINS names 'imgae' \(did you mean 'image'\?\)", line)
    other = anytime("recipes", "list", "--json")
    assert (other.status, other.err) == (0, "")


# Recipes


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


def test_an_unreadable_recipe_hides_no_other_recipe(site):
    site.install()
    site.recipe("broken.yaml", b"\xff\xfe\x00")
    assert {recipe.name for recipe in list_recipes()} >= {"image/digits"}


# Commands

COMMANDS = ["runs list", "runs show RUN", "recipes list", "plugins list", "plugins list --check", "doctor"]
NEEDING_IMAGE = ["sample --run RUN --num 1 --device cpu", "recipes show digits", "recipes copy digits"]
NEVER_IMPORTING = [line for line in [*COMMANDS, *NEEDING_IMAGE] if line not in ("plugins list --check", "doctor")]


@pytest.mark.parametrize("line", [*COMMANDS, *NEEDING_IMAGE])
def test_a_broken_plugin_breaks_no_command_that_does_not_need_it(anytime, site, tiny_folder, line):
    site.install(RAISES)
    out = ["--out", "out"] if line.startswith("sample") else []
    result = anytime(*(str(tiny_folder) if word == "RUN" else word for word in line.split()), *out)
    assert result.status == 0, result.err


@pytest.mark.parametrize("line", NEVER_IMPORTING)
@pytest.mark.parametrize("code", [HANGS, EXITS], ids=["hangs", "exits"])
def test_no_command_imports_a_plugin_that_it_does_not_need(anytime, site, tiny_folder, code, line):
    site.install(code)
    out = ["--out", "out"] if line.startswith("sample") else []
    result = anytime(*(str(tiny_folder) if word == "RUN" else word for word in line.split()), *out)
    assert result.status == 0, result.err
    assert "toyplugin" not in sys.modules


@pytest.mark.parametrize("line", COMMANDS)
def test_a_duplicate_plugin_breaks_no_command_that_does_not_need_it(anytime, site, tiny_folder, line):
    site.install(name="image")
    result = anytime(*(str(tiny_folder) if word == "RUN" else word for word in line.split()))
    assert result.status == 0, result.err


@pytest.mark.parametrize(
    ("code", "state"),
    [
        (WORKS, "ok"),
        (RAISES, "broken"),
        (EXITS, "broken"),
        (toy(name="toy", api_version=2), "incompatible"),
    ],
    ids=["works", "raises", "exits", "too new"],
)
def test_commands_tell_the_state_of_each_plugin(anytime, site, monkeypatch, code, state):
    site.install(code)
    monkeypatch.setenv("ANYTIME_DISABLE_PLUGINS", "audio")
    states = {
        "list": json.loads(anytime("plugins", "list", "--json").out),
        "check": json.loads(anytime("plugins", "list", "--check", "--json").out),
        "doctor": json.loads(anytime("doctor", "--json").out)["modalities"],
    }
    found = {call: {plugin["name"]: plugin["state"] for plugin in plugins} for call, plugins in states.items()}
    assert found["list"] == {**found["list"], "image": "ok", "audio": "disabled", "toy": "ok"}
    for call in ("check", "doctor"):
        assert found[call] == {**found[call], "image": "ok", "audio": "disabled", "toy": state}


def test_a_check_of_a_plugin_that_hangs_ends(anytime, site, monkeypatch):
    site.install(HANGS)
    monkeypatch.setattr("anytime_core.discovery.checks.check_plugin", partial(check_plugin, limit=1))
    result = anytime("plugins", "list", "--check")
    assert result.status == 0
    assert re.search("toy +broken +toyplugin .*did not finish, with no progress within 1 s", result.out)
    assert re.search("image +ok", result.out)


def test_a_command_that_needs_a_broken_plugin_says_what_is_wrong_with_it(anytime, site, tmp_path):
    site.install(RAISES)
    (tmp_path / "toy.yaml").write_text(yaml.safe_dump({"modality": "toy"}))
    result = anytime("train", "--config", "toy.yaml")
    assert result.status == 1
    (line,) = result.err.splitlines()
    assert re.search("toyplugin 1.0.*RuntimeError: kaput.*update or uninstall toyplugin", line)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("line", ["train", "sample --run RUN", "recipes show image/digits"])
def test_a_command_that_needs_a_disabled_plugin_says_how_to_enable_it(
    anytime, tiny_folder, monkeypatch, tmp_path, line
):
    monkeypatch.setenv("ANYTIME_DISABLE_PLUGINS", "image")
    result = anytime(*(str(tiny_folder) if word == "RUN" else word for word in line.split()))
    assert result.status == 1
    assert result.out == ""
    (error,) = result.err.splitlines()
    assert re.search(r"anytime_image\.modality:ImageModality, from anytime.toolkit 0\.1\.0", error)
    assert re.search("disabled by ANYTIME_DISABLE_PLUGINS: unset it", error)
    assert list(tmp_path.iterdir()) == []


# The installed command

PRINTS = "import os\nprint('hello')\nos.write(1, b'hello')\n"


@pytest.mark.parametrize("code", [WORKS, RAISES, EXITS], ids=["works", "raises", "exits"])
def test_a_plugin_that_prints_does_not_spoil_json(site, code):
    site.install(PRINTS + code)
    result = site.anytime("plugins", "list", "--check", "--json")
    assert result.returncode == 0, result.stderr
    states = {plugin["name"]: plugin["state"] for plugin in json.loads(result.stdout)}
    assert states == {"toy": "ok" if code == WORKS else "broken", "image": "disabled", "audio": "disabled"}


def test_what_a_plugin_prints_while_it_is_loaded_goes_to_stderr(site, capsys):
    site.install(f"print('hello')\n{WORKS}")
    load_modality("toy")
    assert capsys.readouterr() == ("", "hello\n")


def test_a_plugin_that_crashes_does_not_take_the_command_down(site):
    site.install(CRASHES)
    result = site.anytime("plugins", "list", "--check")
    assert result.returncode == 0, result.stderr
    assert re.search("toy +broken .*ended by signal 9; update or uninstall toyplugin", result.stdout)


@pytest.mark.parametrize("arguments", [("plugins", "list", "--check"), ("recipes", "show", "toy/small")], ids=" ".join)
def test_the_traceback_of_a_failed_import_is_shown_when_asked_for(site, arguments):
    site.install(f"def fail():\n    {RAISES}\nfail()")
    site.recipe("small.yaml", b"modality: toy\n")
    quiet = site.anytime(*arguments)
    assert "Traceback" not in quiet.stderr
    assert "ANYTIME_DEBUG_PLUGINS=1 shows the traceback" in quiet.stdout + quiet.stderr
    shown = site.anytime(*arguments, ANYTIME_DEBUG_PLUGINS="1")
    assert re.search(
        r"Traceback .*toyplugin.__init__\.py\", line 2, in fail\n.*RuntimeError: kaput", shown.stderr, re.DOTALL
    )
    assert (shown.returncode, shown.stdout) == (quiet.returncode, quiet.stdout)


@pytest.mark.parametrize("code", [HANGS, "import ctypes\nctypes.string_at(0)"], ids=["hangs", "crashes"])
def test_where_an_import_hangs_or_crashes_is_shown_when_asked_for(site, monkeypatch, capfd, code):
    site.install(code)
    monkeypatch.setenv("ANYTIME_DEBUG_PLUGINS", "1")
    assert check_plugin(listed("toy"), limit=1).state == "broken"
    assert re.search(r"toyplugin.__init__\.py\", line 2", capfd.readouterr().err)


@pytest.mark.parametrize("name", ["files", "shards", "user_files", "locations"])
def test_modules_of_plugins_that_have_moved_are_found_under_their_old_names_with_a_warning(name: str) -> None:
    sys.modules.pop(f"anytime_core.{name}", None)
    with pytest.warns(DeprecationWarning, match=rf"anytime_core\.{name} has moved: import anytime_core\.data\.{name}"):
        module = importlib.import_module(f"anytime_core.{name}")
    assert module is importlib.import_module(f"anytime_core.data.{name}")
