"""`rcpt doctor`: what this machine has, what is missing, and what to do about it."""

import importlib.util
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from rcpt_ray import hardware
from rcpt_ray.errors import UserError

_PACKAGES = {
    "ray": "runs every stage",
    "torch": "training and evaluation",
    "transformers": "models and tokenizers",
    "vllm": "writes thoughts",
    "deepspeed": "training",
    "lm_eval": "evaluation",
    "datasets": "evaluation",
}
_MIN_FREE_GIB = 10
_MIN_MEMORY_GIB = 8


@dataclass(frozen=True)
class Check:
    """One finding; `fix` says what to do where it is not well."""

    name: str
    well: bool
    found: str
    fix: str = ""


def checks() -> Iterator[Check]:
    """Every check of this machine."""
    python = ".".join(map(str, sys.version_info[:3]))
    yield Check("Python", sys.version_info[:2] == (3, 11), python, "use Python 3.11, for which versions are pinned")
    versions = hardware.versions()
    for package, use in _PACKAGES.items():
        installed = importlib.util.find_spec(package) is not None
        found = versions.get(package, versions.get(f"{package}-cpu", "installed")) if installed else "missing"
        yield Check(package, installed, f"{found} ({use})", "make install, or see requirements/README.md for a GPU")
    machine = hardware.describe()
    yield Check("CPUs", machine["num_cpus"] >= 2, f"{machine['num_cpus']} x {machine['cpu']}", "2 or more are needed")
    yield Check("number format", True, "bf16" if _fast_bf16() else "fp32: this CPU does not multiply bf16")
    yield Check("GPUs", True, ", ".join(machine["gpus"]) or "none: everything runs on the CPU, small models only")
    memory = psutil.virtual_memory().available / 2**30
    yield Check("free memory", memory >= _MIN_MEMORY_GIB, f"{memory:.1f} GiB", f"free {_MIN_MEMORY_GIB} GiB")
    for place in (".", tempfile.gettempdir()):
        free = shutil.disk_usage(place).free / 2**30
        name = "disk of this folder" if place == "." else "disk of temporary files"
        yield Check(name, free >= _MIN_FREE_GIB, f"{free:.0f} GiB free", f"free {_MIN_FREE_GIB} GiB")
    yield _cache_check()


def print_checks() -> None:
    """Print every check; UserError if one is not well."""
    found = list(checks())
    for check in found:
        print(
            f"{'ok ' if check.well else 'FIX'}  {check.name:24} {check.found}"
            + ("" if check.well else f"; {check.fix}")
        )
    bad = [check.name for check in found if not check.well]
    if bad:
        raise UserError(f"doctor: {', '.join(bad)} need attention; what to do stands beside each")


def _fast_bf16() -> bool:
    return importlib.util.find_spec("torch") is not None and hardware.fast_number_format("auto") == "bf16"


def _cache_check() -> Check:
    cache = Path(os.environ.get("RCPT_CACHE", "~/.cache/rcpt_ray")).expanduser()
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=cache):
            pass
    except OSError as error:
        return Check("model cache", False, f"{cache}: {error.strerror}", "set RCPT_CACHE to a folder you may write")
    return Check("model cache", True, str(cache))
