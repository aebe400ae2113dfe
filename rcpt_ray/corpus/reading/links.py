"""Links that lead out of a folder: a corpus from elsewhere could take in any file of this machine by one.

Only the snapshots of the hub's cache are made of links out of them. Price: each folder and each link is looked up once.
"""

from collections.abc import Iterable
from functools import cache
from pathlib import Path

from rcpt_ray.errors import UserError


def refuse_links_out(found: Iterable[tuple[Path, Path]]) -> None:
    """UserError where a file lies out of the folder that it was found in, by a link of its own or of a folder.

    Args:
        found: Each file with that folder.
    """
    folder_stays_in = cache(_stays_in)
    for path, root in found:
        is_link = path.is_symlink()
        if not folder_stays_in(path.parent, root) or (is_link and not _stays_in(path, root)):
            what = "is" if is_link else "lies behind"
            raise UserError(
                f"{path} {what} a link out of {root}; name it by itself if it is meant, or put a copy in its place"
            )


def _stays_in(path: Path, root: Path) -> bool:
    """Whether a path leads into the folder, or into the blobs of the hub's cache where that is a snapshot."""
    target, home = path.resolve(), root.resolve()
    blobs = [parent.parent / "blobs" for parent in (home, *home.parents) if parent.name == "snapshots"]
    return any(target.is_relative_to(folder) for folder in (home, *blobs))
