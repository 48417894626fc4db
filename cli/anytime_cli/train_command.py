"""The command line of `anytime train`: `--resume` without a value, and its help."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from anytime_cli import option_types, output

EXAMPLES = """Examples:

anytime train

anytime train --config image/mnist --set data.root=DIR

anytime train --config image/mnist --set data.root=DIR --baseline unordered

anytime train --modality audio

anytime train --config image/folder --set data.root=PICTURES --set data.size=32

anytime train --config audio/folder --set data.root=RECORDINGS --quick

anytime train --config image/folder --set data.root=PICTURES --dry-run

anytime train --resume runs/image-mnist-1

anytime train --resume runs/image-folder-1 --set data.root=MOVED

anytime train --resume runs/image-mnist-1 --stage prior --set training.prior.steps=9000

anytime train --autoencoder runs/image-mnist-1 --set prior.kind=ardm
"""

OTHER_OPTIONS = """The values that --set changes, with those of a modality: anytime train --modality audio --help"""

OWN_DEFAULTS = "Values are its own defaults. A recipe may have others: anytime recipes show NAME"

LATEST = "latest"
AUTO: Literal["auto"] = "auto"
"""Values of `--resume` that are no run folder."""


class TrainCommand(option_types.Command):
    """`train`. Its help also lists what a config may say of the modality and of the prior that are named."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """The option `--resume` without a value stands for the latest run."""
        parsed = []
        for argument, following in itertools.pairwise([*args, "-"]):
            parsed.append(argument)
            if argument == "--resume" and following.startswith("-"):
                parsed.append(LATEST)
        return super().parse_args(ctx, parsed)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help, with what a config may say of the modality and of the prior that are named."""
        options = [_modality_options(sys.argv) or OTHER_OPTIONS, _prior_options(sys.argv)]
        self.epilog = "\n\n".join(filter(None, (EXAMPLES, _kinds(), *options)))
        super().format_help(ctx, formatter)


def _kinds() -> str:
    """The kinds of priors, of quantizers, and of networks if the modality that is named or trained offers any."""
    from anytime_core.priors.registry import PRIORS
    from anytime_core.quantizers.registry import QUANTIZERS
    from anytime_core.value_networks import NETWORKS

    lines = []
    registries: dict[str, Any] = {
        "prior.kind": PRIORS,
        "autoencoder.quantizer.kind": QUANTIZERS,
        "prior.network.kind": NETWORKS,
    }
    for key, registry in registries.items():
        if not list(registry):
            continue
        lines.append(f"Kinds of {registry.what}s, for --set {key}=KIND:")
        lines += [f"{kind}  {description}" for kind, description in sorted(registry.described().items())]
    lines.append("The values of one: anytime train --set prior.kind=KIND --help")
    return "\n\n".join(map(output.without_markup, lines))


def _modality_options(arguments: Sequence[str]) -> str:
    """The values that `--set` changes in the sections of the modality in `arguments`; empty if none is named."""
    from anytime_core.config_fields import described_fields
    from anytime_core.discovery.plugins import load_modality

    name = output.value_of(["--modality"], arguments)
    if not name:
        return ""
    return _options(f"modality {name}", OWN_DEFAULTS, described_fields(load_modality(name).Config))


def _prior_options(arguments: Sequence[str]) -> str:
    """What `--set` may change of the section of the prior, if `arguments` name its kind, or that of its network."""
    from anytime_core.config_fields import described_fields
    from anytime_core.priors.registry import PRIORS

    changes = [change.partition("=") for change in output.values_of(["--set"], arguments)]
    kinds = {
        key.strip(): kind.strip() for key, _, kind in changes if key.strip() in ("prior.kind", "prior.network.kind")
    }
    if not kinds:
        return ""
    used = _used_by(arguments)
    name, values = used or ("", kinds)
    kind = values.get("prior.kind", PRIORS.default)
    fields = described_fields(PRIORS.section_of(kind), "prior.", values)
    if not name:
        return _options(f"prior {kind}", OWN_DEFAULTS, fields)
    taken = ((key, json.dumps(values[key]) if key in values else default, told) for key, default, told in fields)
    return _options(f"prior {kind}", f"Values are those of {name}.", taken)


def _used_by(arguments: Sequence[str]) -> tuple[str, dict[str, Any]] | None:
    """The name of what `arguments` would train, and its values by dotted key; None if they name nothing that works."""
    from anytime_core.config_differences import flattened
    from anytime_core.discovery.resolve import resolve, resolve_run
    from anytime_core.errors import AnytimeError

    overrides = list(output.values_of(["--set"], arguments))
    run = output.value_of(["--autoencoder"], arguments)
    try:
        subject = (
            resolve_run(option_types.path(run), overrides=overrides)
            if run
            else resolve(
                output.value_of(["--config"], arguments),
                overrides=overrides,
                modality=output.value_of(["--modality"], arguments),
                baseline=output.value_of(["--baseline"], arguments),
                quick="--quick" in arguments,
            )
        )
    except AnytimeError:
        return None
    return run or subject.name, flattened(subject.config.to_dict())


def _options(what: str, source: str, fields: Iterable[tuple[str, str, str]]) -> str:
    """Lines of a key, its value and its description each, below a line that says where the values are from."""
    lines = [f"What --set may change for {what}:", source]
    lines += [f"{key}={value}  {description}" for key, value, description in dict.fromkeys(fields)]
    return "\n\n".join(map(output.without_markup, lines))
