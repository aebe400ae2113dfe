"""A corpus in a bucket is read as the same corpus on disk; the server is a real one that speaks S3."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from object_store import CREDENTIALS, object_store, upload

from rcpt_ray.corpus.reading.files import digest_files
from rcpt_ray.corpus.reading.pieces import pieces_of, source_files
from rcpt_ray.corpus.reading.read import read_piece, read_source
from rcpt_ray.corpus.spec import SourceSpec
from rcpt_ray.errors import UserError

pytest.importorskip("moto.server", reason="the S3 server moto is not installed; see requirements/dev.txt")
ROWS = [{"id": str(number), "text": f"Text {number} " + f"{number * 7919 % 10007:x} " * 30} for number in range(3000)]


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that are in the bucket too."""
    folder = tmp_path_factory.mktemp("corpus")
    (folder / "in" / "deep").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(ROWS), folder / "in" / "a.parquet", row_group_size=1000)
    content = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
    (folder / "in" / "c d?.jsonl").write_bytes(content)
    packed = zstandard.compress(content)
    (folder / "in" / "deep" / "b.jsonl.zst").write_bytes(packed)
    (folder / "cut.jsonl.zst").write_bytes(packed[: len(packed) * 2 // 3])
    (folder / "README.md").write_text("no document")
    return folder


@pytest.fixture(scope="module")
def endpoint(disk: Path) -> Iterator[str]:
    with object_store() as started:
        upload(started, disk, "bucket")
        yield started


@pytest.fixture(autouse=True)
def environment(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)


def rows_of(path: str, bad_rows: Any = "fail", **fields: Any) -> list[Any]:
    rows = read_source("web", SourceSpec(path=path, domain="stem", **fields), bad_rows)
    return [(row.row, row.row_id, row.texts, row.problem) for row in rows]


def refusal_of(path: str) -> str:
    with pytest.raises(UserError) as told:
        rows_of(path)
    assert "\n" not in str(told.value)
    return str(told.value)


@pytest.mark.parametrize(
    ("place", "num_rows"),
    [
        ("in", 9000),
        ("in/", 9000),
        ("in/a.parquet", 3000),
        ("in/c d?.jsonl", 3000),
        ("in/deep/b.jsonl.zst", 3000),
        ("in/*.parquet", 3000),
        ("in/*", 6000),
        ("in/**/*.zst", 3000),
        ("*/deep/b*", 3000),
    ],
)
def test_rows_of_a_bucket_are_those_of_the_disk(disk: Path, place: str, num_rows: int) -> None:
    found = rows_of(f"s3://bucket/{place}")
    assert found == rows_of(str(disk / place))
    assert len(found) == num_rows


def test_cut_file_in_a_bucket_is_found_and_named(disk: Path) -> None:
    found = rows_of("s3://bucket/cut.jsonl.zst", "reject")
    assert found == rows_of(str(disk / "cut.jsonl.zst"), "reject")
    assert [problem for *_, problem in found] == [None] * (len(found) - 1) + ["unreadable"]
    assert refusal_of("s3://bucket/cut.jsonl.zst").startswith(
        f"s3://bucket/cut.jsonl.zst is cut off or damaged after {len(found) - 1} lines"
    )


def test_digest_is_the_same_however_a_file_is_named() -> None:
    paths = ("s3://bucket/in/a.parquet", "s3://bucket/in/*.parquet")
    digests = {digest_files(source_files("web", SourceSpec(path=path, domain="stem"))) for path in paths}
    assert len(digests) == 1


@pytest.mark.parametrize("place", ["", "/in", "/in/*.parquet"])
def test_missing_bucket_is_told_in_one_sentence(place: str) -> None:
    told = refusal_of(f"s3://nowhere{place}")
    assert told.startswith(f"corpus.sources.web.path=s3://nowhere{place} cannot be listed: there is no bucket nowhere;")


@pytest.mark.parametrize("place", ["none.jsonl", "none/*.jsonl"])
def test_missing_key_is_told_in_one_sentence(place: str) -> None:
    assert refusal_of(f"s3://bucket/{place}").startswith(
        f"corpus.sources.web.path=s3://bucket/{place} names no file; give"
    )


def test_endpoint_that_does_not_answer_is_told_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """The endpoint of S3 alone goes before that of all services."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    started = time.monotonic()
    assert "cannot be listed: AWS Error NETWORK_CONNECTION" in refusal_of("s3://bucket/in")
    assert time.monotonic() - started < 30


def test_store_that_fails_in_the_middle_rejects_no_row(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = SourceSpec(path="s3://bucket/in/deep/b.jsonl.zst", domain="stem")
    (piece,) = pieces_of("web", spec)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"b\.jsonl\.zst cannot be read: AWS Error .*; try again when it can"):
        list(read_piece(piece, spec, "reject"))
