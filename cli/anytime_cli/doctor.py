"""`anytime doctor`: what an installation has, for people and for bug reports."""

from __future__ import annotations

from typing import Any

from anytime_cli import output

EXAMPLES = "Example: anytime doctor --json"


def doctor(json: output.JsonOption = False) -> None:
    """Show versions, devices, plugins, and where data is looked for."""
    import os

    import torch

    from anytime_core.data.locations import DATA_VARIABLE, data_candidates
    from anytime_core.devices import multiplies_bfloat16
    from anytime_core.discovery.checks import check_plugin
    from anytime_core.discovery.plugins import GROUPS, list_plugins
    from anytime_core.training.opening import library_versions

    devices = [
        torch.device("cpu"),
        *(torch.device("cuda", index) for index in range(torch.cuda.device_count())),
        *([torch.device("mps")] if torch.backends.mps.is_available() else []),
    ]
    plugins = [check_plugin(plugin) for plugin in list_plugins()]
    report: dict[str, Any] = {
        "versions": library_versions(),
        "devices": [
            {
                "device": str(device),
                "name": _device_name(device),
                "precision": "bfloat16" if multiplies_bfloat16(device) else "float32",
            }
            for device in devices
        ],
        "threads": torch.get_num_threads(),
        **{
            group.plural: [
                {"name": plugin.name, "state": plugin.state, "problem": plugin.problem}
                for plugin in plugins
                if plugin.group == group
            ]
            for group in GROUPS.values()
        },
        "data": {
            "variable": DATA_VARIABLE,
            "value": os.environ.get(DATA_VARIABLE),
            "looked_for_in": [str(path) for path in data_candidates("NAME")],
        },
    }
    if json:
        output.print_json(report)
        return
    output.print_table(("library", "version"), list(report["versions"].items()), "")
    output.print_text()
    output.print_table(
        ("device", "name", "auto precision"),
        [(device["device"], device["name"], device["precision"]) for device in report["devices"]],
        "",
    )
    output.print_text()
    output.print_table(
        ("kind", "name", "state", "problem"),
        [(plugin.group.what, plugin.name, plugin.state, plugin.problem) for plugin in plugins],
        "no plugins installed",
    )
    output.print_text()
    output.print_table(("a data set NAME is looked for in",), [(path,) for path in report["data"]["looked_for_in"]], "")
    output.print_text(f"{DATA_VARIABLE} is {report['data']['value'] or 'not set'}")


def _device_name(device: Any) -> str:
    import platform

    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return torch.cpu.get_capabilities().get("cpu_name") or platform.processor() or platform.machine()
