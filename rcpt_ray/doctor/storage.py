"""The folders that are written: write, rename, read back, lock, and the clock that stamps files.

A lock is tried from another process, because on a network file system two locks of one process do not see each other.
Nothing is left behind: what is tried is tried in a hidden folder, in the run folder or the nearest one that exists.
"""

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock

from rcpt_ray.artifacts import run_path, write_atomic
from rcpt_ray.cache import cache_folder
from rcpt_ray.doctor.check import Check

MAX_SKEW_S = 5.0
_MIN_FREE_GIB = 10
_LOCK_FROM_OUTSIDE = (
    "import sys; from filelock import FileLock, Timeout\n"
    "try: FileLock(sys.argv[1]).acquire(timeout=0)\n"
    "except Timeout: print('held')\n"
    "else: print('free')"
)


def run_checks(run: str) -> Iterator[Check]:
    """Whether a run folder can be made and worked in."""
    if "://" in run:
        fix = "give run= a folder on a disk that every node mounts; a corpus may be on s3:// or gs://, a run may not"
        yield Check("run folder", False, f"{run} is not a folder", fix)
        return
    yield from folder_checks("run folder", run_path(run), "give run= a folder that you may write")
    yield space_check("disk of the run folder", run_path(run))


def cache_checks() -> Iterator[Check]:
    """Whether models and digests can be kept."""
    yield from folder_checks("model cache", cache_folder(), "set RCPT_CACHE to a folder that you may write")
    yield space_check("disk of the cache", cache_folder())


def folder_checks(name: str, folder: Path, fix: str) -> Iterator[Check]:
    """Write, rename, read back, lock and clock, in a hidden folder that is removed again."""
    try:
        with tempfile.TemporaryDirectory(prefix=".doctor-", dir=existing(folder)) as place:
            yield from _tried(name, folder, Path(place), fix)
    except OSError as error:
        yield Check(name, False, f"{folder}: {error.strerror or error}", fix)


def _tried(name: str, folder: Path, place: Path, fix: str) -> Iterator[Check]:
    file = place / "file"
    before_s = time.time()
    for content in ("first", "second"):
        write_atomic(file, content, durable=True)
    stamp_s, after_s = file.stat().st_mtime, time.time()
    if file.read_text(encoding="utf-8") != "second":
        yield Check(name, False, f"{folder}: a renamed file reads as before", "use another file system for it")
        return
    with FileLock(place / "lock"):
        command = [sys.executable, "-c", _LOCK_FROM_OUTSIDE, str(place / "lock")]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout.strip()
    if answer != "held":
        yield Check(
            name,
            False,
            f"{folder}: a lock does not keep another process out",
            "mount it with locks (NFS 4.1, not nolock), so that two commands cannot make one stage",
        )
        return
    yield Check(name, True, f"{folder}: writes, renames, locks")
    skew_s = max(before_s - stamp_s, stamp_s - after_s, 0.0)
    if skew_s > MAX_SKEW_S:
        found = f"files in {folder} are stamped {skew_s:.0f} s off this machine's clock"
        yield Check("clock", False, found, "turn time synchronization on here and on the file server")


def space_check(name: str, place: str | Path) -> Check:
    """Free room where a folder is or will be."""
    free = shutil.disk_usage(existing(Path(place).absolute())).free / 2**30
    return Check(name, free >= _MIN_FREE_GIB, f"{free:.0f} GiB free", f"free {_MIN_FREE_GIB} GiB")


def existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder
