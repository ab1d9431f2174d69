"""`nas doctor`: what this machine has; asks no network."""

import os
import platform
import re
import shutil
import sys
from importlib.metadata import requires
from pathlib import Path
from typing import Any

from nas_suite import __version__
from nas_suite.cli.answer import answer
from nas_suite.cli.common import Json
from nas_suite.cli.layout import Prose, Table
from nas_suite.errors import BadInput, Missing
from nas_suite.registry import installed
from nas_suite.run import runs_root
from nas_suite.words import plural


def doctor(as_json: Json = False) -> None:
    """Check this machine: Python, packages, device and precision, room on the disk, data, benchmarks."""
    checks = software()
    if all(c["ok"] is not False for c in checks):
        checks += [*hardware(), *disks(), *data(), *benchmarks(), remembered()]
    rows = [(c["check"], "ok" if c["ok"] else "–" if c["ok"] is None else "missing", Prose(c["found"])) for c in checks]
    fine = all(c["ok"] is not False for c in checks)
    answer("doctor", {"ok": fine, "checks": checks}, as_json, [Table(("check", "", "found"), rows)])


def check(name: str, ok: bool | None, found: Any) -> dict[str, Any]:
    """`ok`: whether it is as it must be; None where it need not be."""
    return {"check": name, "ok": ok, "found": str(found)}


def remembered() -> dict[str, Any]:
    """Where the history is, and what it holds; it need not be there."""
    from nas_suite.history.place import switched_off

    if switched_off():
        return check("history", None, "switched off")
    try:
        from nas_suite.history import History

        found = History.open().stats()
        return check("history", True, f"{plural(found['evaluations'], 'evaluation')} in {found['where']}")
    except Missing:
        return check("history", None, "none yet")
    except BadInput as error:
        return check("history", False, error)


def software() -> list[dict[str, Any]]:
    found = [check("nas-suite", True, __version__), check("python", sys.version_info >= (3, 11), platform.python_version())]
    for wanted in requires("nas-suite") or ():
        name, optional = re.split(r"[^\w.-]", wanted, maxsplit=1)[0], "extra ==" in wanted
        if "dev" not in wanted.partition("extra ==")[2]:
            found.append(
                check(name, bool(installed(name)) or (None if optional else False), installed(name) or hint(optional, name))
            )
    return found


def hint(optional: bool, package: str) -> str:
    return "optional" if optional else f"pip install {package}"


def hardware() -> list[dict[str, Any]]:
    import torch

    from nas_suite.engine import Compute, has_bf16

    compute = Compute.choose()
    name = torch.cuda.get_device_name() if compute.device.type == "cuda" else platform.processor() or platform.machine()
    half = has_bf16(compute.device)
    return [
        check("device", True, f"{compute.device} ({name})"),
        check("threads", True, f"{torch.get_num_threads()} of {plural(os.cpu_count() or 1, 'processor')}"),
        check("bf16", True if half else None, "in hardware" if half else "not in hardware: auto means fp32"),
    ]


def disks() -> list[dict[str, Any]]:
    from nas_suite.data.place import data_folder

    return [room("runs", runs_root()), room("data folder", data_folder())]


def room(what: str, folder: Path) -> dict[str, Any]:
    """Room at a folder, or where it would be made."""
    there = folder.resolve()
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there).free
    writable = os.access(there, os.W_OK)
    return check(what, writable and free > 1e9, f"{folder}: {free / 1e9:,.1f} GB free{'' if writable else ', not writable'}")


def data() -> list[dict[str, Any]]:
    from nas_suite import catalogue

    return [check(f"data {d['name']}", d["present"] or None, d["where"]) for d in catalogue.data_sets()]


def benchmarks() -> list[dict[str, Any]]:
    from nas_suite.pipeline import benches

    return [check(f"benchmark {b['name']}", b["present"] or None, b["about"]) for b in benches.listed()]
