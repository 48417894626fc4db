"""New plugins from the templates that lie beside this file: packages that install, pass the contract and train."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import keyword
import os
import re
import sys
import tempfile
from pathlib import Path

import anytime_core
from anytime_core.discovery.plugins import MODALITIES
from anytime_core.display import shown
from anytime_core.entry_points import Group, list_declared
from anytime_core.errors import UsageError
from anytime_core.spelling import argument

_TEMPLATES = Path(__file__).parent / "template"
_SUFFIX = ".jinja"


def write_plugin(name: str, folder: Path, group: Group = MODALITIES) -> list[Path]:
    """Write a complete distribution with a plugin called `name`, which works as it is.

    Args:
        name: lower-case letters, digits, `-` and `_`, such as `motion`.
        folder: made; must not exist.
        group: what it is to be; each group has a template.

    Returns:
        The files, relative to the folder.

    Raises:
        UsageError: a name that no plugin can have or one of the group has already, that would give the distribution or
            its package the name of an installed one, or a folder that exists.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    if not re.fullmatch(r"[a-z][a-z0-9]*([_-][a-z0-9]+)*", name):
        raise UsageError(
            f"name '{shown(name)}' is not lower-case letters, digits, - and _, such as motion or heart-beats"
        )
    if name in {*group.own, *(plugin.name for plugin in list_declared(group))}:
        raise UsageError(f"{group.what} '{name}' is installed already: choose another name")
    words = re.split(r"[_-]", name)
    _refuse_taken(name, words)
    if os.path.lexists(folder):
        raise UsageError(f"{shown(folder)} exists: choose another {argument('folder', option='out')}")
    title = "".join(word.capitalize() for word in words)
    values: dict[str, str] = {
        "name": name,
        "distribution": f"anytime-{'-'.join(words)}",
        "package": f"anytime_{'_'.join(words)}",
        "class_name": f"{title}{group.what.capitalize()}",
        "config_name": f"{title}Config",
        "api_version": str(group.api_version),
        "toolkit_version": anytime_core.__version__,
    }
    templates = _TEMPLATES / group.what
    environment = Environment(
        loader=FileSystemLoader(templates), undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False
    )
    folder.parent.mkdir(parents=True, exist_ok=True)
    written = []
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as temporary:
        partial = Path(temporary) / "new"
        for source in sorted(templates.rglob(f"*{_SUFFIX}")):
            template = source.relative_to(templates)
            parts = [values["package"] if part == "package" else part for part in template.parts]
            target = Path(*parts).with_suffix("")
            (partial / target).parent.mkdir(parents=True, exist_ok=True)
            text = environment.get_template(template.as_posix()).render(values)
            (partial / target).write_text(text, encoding="utf-8")
            written.append(target)
        partial.rename(folder)
    return written


def _refuse_taken(name: str, words: list[str]) -> None:
    """Raise UsageError where something installed would be replaced or hidden, or Python has the word for itself."""
    package, distribution, module = f"anytime_{'_'.join(words)}", f"anytime-{'-'.join(words)}", "_".join(words)
    if importlib.util.find_spec(package) is not None:
        taken = f"package {package} is installed already, and the plugin's would take its place"
    elif _is_installed(distribution):
        taken = f"distribution {distribution} is installed already, and the plugin's would take its place"
    elif keyword.iskeyword(module) or keyword.issoftkeyword(module):
        taken = f"'{module}' is a word of Python's own"
    elif module in sys.stdlib_module_names or importlib.util.find_spec(module) is not None:
        taken = f"'{module}' is a module that can be imported already"
    else:
        return
    raise UsageError(f"name '{name}' is taken: {taken}; choose another name")


def _is_installed(distribution: str) -> bool:
    try:
        importlib.metadata.distribution(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
