"""What README.md and docs/ say is what the command line and the Python API do."""

from __future__ import annotations

import contextlib
import re
import shlex
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import typer
from PIL import Image

from anytime_audio.config import AudioConfig
from anytime_cli.main import app
from anytime_core.config_parsing import apply_overrides, parse_config
from anytime_core.errors import ConfigError
from anytime_core.priors.registry import PRIORS
from anytime_image.config import ImageConfig

ROOT = Path(__file__).parents[1]
SHORT = {
    "train": shlex.split(
        "--set training.autoencoder.steps=4 --set training.autoencoder.validations=1 "
        "--set training.prior.steps=2 --set training.prior.validations=1 --set training.autoencoder.batch_size=4"
    ),
    "evaluate": ["--num", "8", "--budgets", "0.5,1"],
}


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.slow
def test_the_commands_of_the_readme_work_as_printed(anytime, tmp_path, monkeypatch):
    """Every `anytime` line, in order, in one folder with pictures, shards and sounds; what takes long is cut short."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("anytime_core.evaluation.classifier._VIEWS", 1280)
    (tmp_path / "PICTURES").mkdir()
    for index, name in enumerate("abcdefgh"):
        Image.new("RGB", (40, 30), (index * 30, 100, 50)).save(tmp_path / "PICTURES" / f"{name}.png")
    (tmp_path / "SHARDS").mkdir()
    with tarfile.open(tmp_path / "SHARDS" / "000.tar", "w") as tar:
        tar.add(tmp_path / "PICTURES", ".")
    (tmp_path / "RECORDINGS").mkdir()
    for index, name in enumerate("abcdefgh"):
        sound = np.sin(np.arange(20_000) * (0.05 + 0.01 * index))
        soundfile.write(tmp_path / "RECORDINGS" / f"{name}.flac", sound * 0.5, 16_000)
    lines = [line for block in blocks("console") for line in block.splitlines() if line.startswith("anytime ")]
    assert len(lines) >= 5
    for line in lines:
        arguments = shlex.split(line, comments=True)[1:]
        result = anytime(*arguments, *SHORT.get(arguments[0], []))
        assert result.status == 0, f"{line}\n{result.err}"
    assert list((tmp_path / "runs").iterdir())
    (python,) = blocks("python")
    namespace: dict[str, object] = {}
    exec(compile(python, "README.md", "exec"), namespace)
    assert namespace["coarse"].shape == namespace["samples"].x.shape == (16, 1, 8, 8)


def test_the_table_of_priors_has_each_kind_with_its_engines():
    page = (ROOT / "docs" / "priors.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.split("|")] for line in page.splitlines() if line.startswith("| `")]
    told = {row[1].strip("`"): set(re.findall(r"`(\w+)`", row[5])) for row in rows if len(row) == 8}
    assert told == {kind: set(PRIORS[kind].engines()) for kind in PRIORS.built_in}
    assert all(f"\n## `{kind}`\n" in page for kind in told)


PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=[page.relative_to(ROOT).as_posix() for page in PAGES])
def test_links_lead_to_files_and_headings_that_are_there(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.*)", target.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings], link


@pytest.mark.parametrize("page", ["README.md", "docs/tuning.md"])
def test_the_settings_that_pages_name_are_options_of_a_config(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    settings = set(re.findall(r"\b((?:autoencoder|data|network|prior|training)(?:\.[a-z_]+)+=[\w.\[\],]+)", text))
    for setting in settings:
        for config in (ImageConfig, AudioConfig):
            with contextlib.suppress(ConfigError):
                parse_config(apply_overrides({}, [setting]), config)
                break
        else:
            pytest.fail(f"{page} names {setting}, which neither images nor sounds have")
    assert settings


def test_the_page_of_the_command_line_names_every_command_and_option():
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^#+ `(anytime[^`]*)`\n(.*?)(?=^#|\Z)", page, re.DOTALL | re.MULTILINE))

    def check(command, path: str) -> None:
        for name, child in getattr(command, "commands", {}).items():
            child_path = f"{path} {name}"
            assert child_path in sections, f"{child_path} is not in docs/cli.md: run make docs"
            options = [option for parameter in child.params for option in parameter.opts if option.startswith("--")]
            for option in options:
                assert option in sections[child_path], f"{child_path} {option} is not in docs/cli.md: run make docs"
            check(child, child_path)

    check(typer.main.get_command(app), "anytime")
