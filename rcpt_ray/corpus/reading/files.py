"""Which files a path of a recipe names, and what their content is known by.

Files come in the order of their names, part by part of the path, wherever they are. In a folder the first of these
kinds that is there is taken, and the others are left: tables (.parquet, .arrow, .jsonl, .ndjson), .json, then texts;
so a README.md beside data is no document. Names that begin with a dot, and the `cache-*.arrow` of datasets, are left.
Of the files taken, one that lies out of the folder by a link is refused (links.py); one that the user names is not.

Price: a local file is read once for its digest (remembered by its time of change); a remote one is not.
"""

import glob
import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib import resources
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.fs as pa_fs

from rcpt_ray.cache import remembered_sha256
from rcpt_ray.corpus.reading.links import refuse_links_out
from rcpt_ray.corpus.reading.object_store import file_system, first_words
from rcpt_ray.corpus.reading.paths import scheme_of
from rcpt_ray.errors import UserError

TABLES = (".parquet", ".arrow", ".jsonl", ".ndjson")
TEXTS = (".txt", ".md", ".markdown", ".tex")
RECORDS = (*TABLES, ".json")
ENDINGS = (*RECORDS, *TEXTS)
_COMPRESSIONS = {".gz": "gzip", ".zst": "zstd", ".zstd": "zstd", ".bz2": "bz2"}
_SETTINGS_OF_STORES = {
    "s3": "AWS_ENDPOINT_URL, AWS_REGION and the credentials of AWS",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
}
_NEVER_COMPRESSED = (".parquet", ".arrow")


@dataclass(frozen=True)
class SourceFile:
    """A file to read: small, and the same on every machine that can reach it."""

    path: str
    """Absolute, or with its scheme: s3://bucket/key."""
    size: int
    """Bytes, as stored."""
    version: str
    """What a remote file's content is known by without reading it; empty for a local one."""
    inside: str
    """The path within the folder that the recipe names."""

    @property
    def name(self) -> str:
        """The last component of the path."""
        return self.path.rsplit("/", 1)[-1]

    @property
    def is_remote(self) -> bool:
        """Whether the file is on another machine."""
        return scheme_of(self.path) is not None

    def open(self) -> pa.NativeFile:
        """The raw bytes, with random access."""
        files, inner = file_system(self.path)
        return files.open_input_file(inner)


def format_of(name: str) -> tuple[str, str | None]:
    """The ending of a name without its compression, in small letters, and the compression by pyarrow's name."""
    path = PurePosixPath(name.lower())
    compression = _COMPRESSIONS.get(path.suffix)
    if compression is None or PurePosixPath(path.stem).suffix in _NEVER_COMPRESSED:
        return path.suffix, None
    return PurePosixPath(path.stem).suffix, compression


def local_path(path: str) -> Path:
    """A path of a recipe on this machine; `samples://x` is file x of the package's samples."""
    if path.startswith("samples://"):
        return Path(str(resources.files("rcpt_ray") / "samples" / path.removeprefix("samples://")))
    return Path(os.path.expanduser(path.removeprefix("file://"))).absolute()


def list_files(setting: str, path: str, endings: Sequence[str] = ENDINGS) -> list[SourceFile]:
    """The files that a path, folder or glob names, in order.

    Args:
        setting: What the path is called in the recipe, for the words of an error.
        path: Local, samples://, s3:// or gs://.
        endings: Those that are read, without compression.

    Raises:
        UserError: no file, one of another ending, a link out of the folder, or a store that does not answer.
    """
    match scheme_of(path):
        case None | "samples" | "file":
            found, is_folder = _list_local(local_path(path))
        case "s3" | "gs":
            try:
                found, is_folder = _list_remote(path)
            except OSError as error:
                raise UserError(
                    f"{setting}={path} cannot be listed: {first_words(error)}; look at the bucket and, in the "
                    f"environment, at {_SETTINGS_OF_STORES[path[:2]]}"
                ) from None
        case scheme:
            raise UserError(f"{setting}={path} begins with {scheme}://; give a local path, s3://, gs:// or hf://")
    files = _take(found, endings) if is_folder else found
    if not files:
        raise UserError(f"{setting}={path} names no file; give a file, folder or glob of {_either(endings)} files")
    for file in files:
        if format_of(file.name)[0] not in endings:
            raise UserError(f"{setting}={path}: {file.name} is not {_either(endings)}; convert it or leave it out")
    if not files[0].is_remote:
        named = local_path(path)
        paths = [(Path(file.path), file.inside.count("/")) for file in files]
        refuse_links_out((path, path.parents[depth]) for path, depth in paths if path != named)
    return sorted(files, key=lambda file: file.path.split("/"))


def files_left(path: str) -> dict[str, int]:
    """Files of a local folder that could be read but are of another kind than those taken, by ending."""
    if scheme_of(path) not in (None, "file") or not local_path(path).is_dir():
        return {}
    found, _ = _list_local(local_path(path))
    taken = set(_take(found, ENDINGS))
    left = Counter(format_of(file.name)[0] for file in found if file not in taken)
    return {ending: number for ending, number in sorted(left.items()) if ending in ENDINGS}


def digest_files(files: Sequence[SourceFile]) -> str:
    """sha256 of what a stage that reads files depends on, in their order.

    Local files count by content, remote ones by name, size and version; a text's name is its id, so it counts too.
    """
    whole = hashlib.sha256()
    for file in files:
        if file.is_remote:
            # A commit of the hub that leaves a file as it was changes the file's path, but not its version.
            name = file.inside if scheme_of(file.path) == "hf" else file.path
            whole.update(repr((name, file.size, file.version)).encode())
            continue
        whole.update(bytes.fromhex(remembered_sha256(Path(file.path))))
        if format_of(file.name)[0] in TEXTS:
            whole.update(file.inside.encode("utf-8", "surrogateescape"))
    return whole.hexdigest()


def _take(files: Iterable[SourceFile], endings: Sequence[str]) -> list[SourceFile]:
    """Of a folder's files those of the first kind that is there."""
    seen = [
        file
        for file in files
        if not any(part.startswith(".") for part in file.inside.split("/"))
        and not (file.name.startswith("cache-") and file.name.endswith(".arrow"))
    ]
    for kind in (TABLES, (".json",), TEXTS):
        taken = [file for file in seen if (ending := format_of(file.name)[0]) in kind and ending in endings]
        if taken:
            return taken
    return []


def _list_local(place: Path) -> tuple[list[SourceFile], bool]:
    if place.is_dir():
        return [_local(file, place) for file in place.rglob("*") if file.is_file()], True
    found = {place, *map(Path, glob.glob(str(place), recursive=True))}
    root = Path(*_fixed_parts(place.parts))
    named = [_local(file, place.parent) for file in found if file == place and file.is_file()]
    return named + [_local(file, root) for file in found if file != place and file.is_file()], False


def _local(file: Path, root: Path) -> SourceFile:
    if not is_unicode(str(file)):
        shown = str(file).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        raise UserError(f"the name of {shown} is not UTF-8, so it can be no document's id; rename the file")
    return SourceFile(str(file), file.stat().st_size, "", file.relative_to(root).as_posix())


def is_unicode(text: str) -> bool:
    """Whether a text can be written as UTF-8: half a surrogate pair, which names and JSON may hold, cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _list_remote(path: str) -> tuple[list[SourceFile], bool]:
    scheme, _, inner = path.partition("://")
    parts = inner.strip("/").split("/")
    if not parts[0]:
        raise OSError("it names no bucket")
    files, inner = file_system(f"{scheme}://{'/'.join(parts)}")
    info = files.get_file_info(inner)
    if info.type == pa_fs.FileType.File:
        return [_remote(scheme, info, inner.rpartition("/")[0])], False
    if info.type == pa_fs.FileType.NotFound and files.get_file_info(parts[0]).type == pa_fs.FileType.NotFound:
        raise OSError(f"there is no bucket {parts[0]}")
    root = inner if info.type == pa_fs.FileType.Directory else "/".join(_fixed_parts(parts))
    below = files.get_file_info(pa_fs.FileSelector(root, recursive=True, allow_not_found=True))
    found = [_remote(scheme, each, root) for each in below if each.type == pa_fs.FileType.File]
    if root == inner:
        return found, True
    pattern = parts[len(root.split("/")) :]
    return [file for file in found if _matches(file.inside.split("/"), pattern)], False


def _remote(scheme: str, info: pa_fs.FileInfo, root: str) -> SourceFile:
    # A listing tells the time of change to the millisecond, a look at one key to the second.
    version = str((info.mtime_ns or 0) // 10**9)
    return SourceFile(f"{scheme}://{info.path}", info.size, version, info.path.removeprefix(root).lstrip("/"))


def _fixed_parts(parts: Sequence[str]) -> list[str]:
    """The folders of a path before the first one with a wildcard, the last component left out."""
    folders = list(parts[:-1])
    wild = [place for place, part in enumerate(folders) if glob.has_magic(part)]
    return folders[: wild[0]] if wild else folders


def _matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return any(_matches(parts[start:], pattern[1:]) for start in range(len(parts) + 1))
    return bool(parts) and fnmatchcase(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])


def _either(endings: Sequence[str]) -> str:
    return f"{', '.join(endings[:-1])} or {endings[-1]}"
