"""GPUs: what the driver shows, what torch was built for, and whether these two fit."""

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from rcpt_ray import hardware
from rcpt_ray.doctor.check import Check
from rcpt_ray.doctor.elsewhere import NoAnswer, ask

_TORCH_S = 120.0
_INSTALL = 'pip install -c requirements/gpu.txt ".[gpu]"'


@dataclass(frozen=True)
class Found:
    """What the driver's tool and torch said."""

    driver_cards: list[str] = field(default_factory=list)
    """A line a card: name, memory, version of the driver."""
    driver_says: str = ""
    """Why the tool failed, where it did."""
    torch: dict[str, Any] = field(default_factory=dict)
    """What torch_facts.py told; empty where torch does not import."""
    torch_says: str = ""
    """Why it does not."""


def look() -> Found:
    """Ask the driver's tool and torch, each in a process of its own."""
    cards, driver_says = _driver_cards()
    try:
        return Found(cards, driver_says, ask("rcpt_ray.doctor.torch_facts", timeout_s=_TORCH_S))
    except NoAnswer as error:
        return Found(cards, driver_says, {}, str(error))


def gpu_checks(found: Found, are_wanted: bool) -> Iterator[Check]:
    """Cards, CUDA and NCCL; `are_wanted` says whether the recipe puts something on GPUs of this machine."""
    if found.driver_says:
        yield Check("GPUs", False, f"nvidia-smi: {found.driver_says}", "install or restart the NVIDIA driver")
        return
    if not found.torch:
        yield Check("torch", False, f"does not import: {found.torch_says}", "make install, or " + _INSTALL)
        return
    if not found.driver_cards:
        said = "none: everything runs on the CPU, small models only"
        fix = "run it on a machine with GPUs, join a cluster (cluster.address=auto), or set gpus_per_engine=0 and so on"
        yield Check("GPUs", not are_wanted, said if not are_wanted else "none, but the recipe wants some here", fix)
        is_bf16 = hardware.cpu_flags() & {"avx512_bf16", "amx_bf16"}
        yield Check("number format", True, "bf16" if is_bf16 else "fp32: this CPU does not multiply bf16")
        return
    yield Check("GPUs", True, f"{len(found.driver_cards)} x {found.driver_cards[0]}")
    yield from _cuda_checks(found.torch)


def _cuda_checks(torch: dict[str, Any]) -> Iterator[Check]:
    built_for, driver = torch["built_for"], torch["driver_cuda"]
    if built_for is None:
        yield Check("CUDA", False, f"torch {torch['torch']} is built for CPUs", _INSTALL)
        return
    said = f"torch is built for {built_for}, the driver runs {driver or 'none'}"
    if driver is None or int(driver.partition(".")[0]) < int(built_for.partition(".")[0]):
        yield Check("CUDA", False, said, f"update the NVIDIA driver to one that runs CUDA {built_for}")
        return
    fix = "see that no other program holds the cards, that CUDA_VISIBLE_DEVICES is not empty, and restart the machine"
    yield Check("CUDA", torch["available"], said if torch["available"] else f"{said}, but torch sees no card", fix)
    if torch["available"]:
        yield Check("NCCL", torch["nccl"] is not None, torch["nccl"] or "none", _INSTALL)
        yield Check("number format", True, "bf16" if torch["bf16"] else "fp32: these cards do not multiply bf16")


def _driver_cards() -> tuple[list[str], str]:
    """A line a card, and what the tool said where it failed."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return [], ""
    query = [tool, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        ran = subprocess.run(query, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return [], f"{type(error).__name__} ({error})"
    lines = [line.strip() for line in ran.stdout.splitlines() if line.strip()]
    if ran.returncode:
        return [], (lines or ran.stderr.splitlines() or [f"ended with code {ran.returncode}"])[0]
    return lines, ""
