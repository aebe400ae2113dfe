"""What this machine keeps between runs: the cache folder, and the digests of files that were read before.

A digest is remembered by a file's path, size and time of change, so a command that finds its corpus unchanged reads
none of it. Price: the first digest of a file reads every byte (about 1 GB/s); later ones cost a `stat` and a small
read.
"""

import contextlib
import hashlib
import os
import time
from pathlib import Path

from rcpt_ray.artifacts import file_sha256, write_atomic

_SETTLED_NS = 2_000_000_000


def cache_folder() -> Path:
    """$RCPT_CACHE, else ~/.cache/rcpt_ray."""
    return Path(os.environ.get("RCPT_CACHE") or "~/.cache/rcpt_ray").expanduser().absolute()


def remembered_sha256(path: Path) -> str:
    """Hex sha256 of a file's content, read only where path, size or time of change are new.

    A file changed a moment ago may change again within one tick of its clock: such a state is not remembered. Nor is
    anything where the cache folder cannot be written; then every call reads the file.
    """
    status = path.stat()
    state = repr((str(path.resolve()), status.st_size, status.st_mtime_ns, status.st_ino))
    note = cache_folder() / "digests" / hashlib.sha256(state.encode("utf-8", "surrogateescape")).hexdigest()
    settled = status.st_mtime_ns < time.time_ns() - _SETTLED_NS
    if settled:
        with contextlib.suppress(OSError):
            return note.read_text(encoding="ascii")
    digest = file_sha256(path)
    if settled:
        with contextlib.suppress(OSError):
            write_atomic(note, digest)
    return digest
