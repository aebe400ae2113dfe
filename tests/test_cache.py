"""Digests of files: read once, and again whenever the file may have changed."""

import hashlib
import os
from pathlib import Path

import pytest

from rcpt_ray.cache import remembered_sha256


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of an hour ago, beside an empty cache."""
    monkeypatch.setenv("RCPT_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "corpus.jsonl"
    _write(path, "first", age_s=3600)
    return path


def _write(path: Path, content: str, age_s: float) -> None:
    path.write_text(content)
    then = path.stat().st_mtime - age_s
    os.utime(path, (then, then))


def _digest(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()


def test_unchanged_file_is_not_read_again(file: Path) -> None:
    before = file.stat()
    assert remembered_sha256(file) == _digest("first")
    file.write_text("other")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert remembered_sha256(file) == _digest("first")


@pytest.mark.parametrize(("content", "age_s"), [("first!", 3600.0), ("other", 1800.0)], ids=["size", "time"])
def test_change_of_size_or_time_is_seen(file: Path, content: str, age_s: float) -> None:
    remembered_sha256(file)
    _write(file, content, age_s)
    assert remembered_sha256(file) == _digest(content)


def test_file_changed_a_moment_ago_is_read_every_time(file: Path) -> None:
    file.write_text("first")
    now = file.stat()
    remembered_sha256(file)
    file.write_text("other")
    os.utime(file, ns=(now.st_atime_ns, now.st_mtime_ns))
    assert remembered_sha256(file) == _digest("other")


def test_cache_that_cannot_be_written_costs_reading_only(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RCPT_CACHE", str(file))
    assert remembered_sha256(file) == remembered_sha256(file) == _digest("first")
