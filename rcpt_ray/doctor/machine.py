"""CPUs, memory, temporary files, room for Ray's object store, and the clock, of this machine."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil

from rcpt_ray import hardware
from rcpt_ray.doctor.check import Check
from rcpt_ray.doctor.storage import space_check

_MIN_MEMORY_GIB = 8
_MIN_STORE_GIB = 1.0
_SHM = Path("/dev/shm")


def machine_checks() -> Iterator[Check]:
    """What every command needs of the machine it is typed on."""
    machine = hardware.describe()
    yield Check("CPUs", machine["num_cpus"] >= 2, f"{machine['num_cpus']} x {machine['cpu']}", "2 or more are needed")
    memory = psutil.virtual_memory().available / 2**30
    yield Check("free memory", memory >= _MIN_MEMORY_GIB, f"{memory:.1f} GiB", f"free {_MIN_MEMORY_GIB} GiB")
    yield space_check("disk of temporary files", tempfile.gettempdir())
    if _SHM.is_dir():
        yield store_check(shutil.disk_usage(_SHM).free / 2**30)
    clock = _clock()
    if clock is not None:
        yield clock


def store_check(free_gib: float) -> Check:
    """Whether /dev/shm holds a local Ray's object store; without it Ray goes to disk, many times slower."""
    fix = (
        f"give /dev/shm {_MIN_STORE_GIB:g} GiB or more: remove what is left in it, or start the container with "
        "--shm-size=8g (Kubernetes: an emptyDir with medium Memory mounted at /dev/shm)"
    )
    return Check("object store", free_gib >= _MIN_STORE_GIB, f"{free_gib:.1f} GiB free in /dev/shm", fix)


def _clock() -> Check | None:
    """Whether the system keeps its clock by the network; None where it does not tell, as in a container."""
    tool = shutil.which("timedatectl")
    if tool is None:
        return None
    command = [tool, "show", "--property=NTPSynchronized", "--value"]
    told = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False).stdout.strip()
    if told not in ("yes", "no"):
        return None
    found = "kept by the network" if told == "yes" else "not kept by the network"
    return Check("clock", told == "yes", found, "turn time synchronization on: sudo timedatectl set-ntp true")
