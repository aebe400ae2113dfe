"""A run folder tells the truth about what is finished, whoever was killed in between."""

import json
import os
import resource
import select
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from rcpt_ray.artifacts import (
    LAYOUT_VERSION,
    Counts,
    Manifest,
    fingerprint,
    hold,
    open_run,
    output_digest,
    read_manifest,
    read_parts,
    read_run_recipe,
    write_atomic,
    write_table,
)
from rcpt_ray.errors import UserError

TABLE = pa.table({"text": [f"document {number}" for number in range(1000)]})


def manifest(**changed: Any) -> Manifest:
    values: dict[str, Any] = {
        "stage": "corpus",
        "fingerprint": "0" * 16,
        "stage_version": 1,
        "inputs": {},
        "config": {},
        "counts": Counts(unit="document", num_in=1, num_ok=1),
        "output_digest": "0" * 64,
        "seconds": 1.0,
    }
    return Manifest(**(values | changed))


@contextmanager
def disk_that_fills_up(num_bytes: int) -> Iterator[None]:
    """Writing more than so many bytes to a file fails inside the block, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_counts_that_add_up_are_taken() -> None:
    counts = Counts(unit="document", num_in=5, num_ok=2, rejected={"too_short": 2, "no_text": 1})
    assert counts.num_in == counts.num_ok + sum(counts.rejected.values())


@pytest.mark.parametrize(("num_in", "num_ok", "rejected"), [(5, 4, {}), (5, 5, {"no_text": 1}), (0, 1, {})])
def test_counts_that_do_not_add_up_are_refused(num_in: int, num_ok: int, rejected: dict[str, int]) -> None:
    with pytest.raises(ValidationError, match=f"in={num_in} is not ok={num_ok}"):
        Counts(unit="document", num_in=num_in, num_ok=num_ok, rejected=rejected)


def test_fingerprint_is_the_same_tomorrow() -> None:
    """A changed value here means that every finished run would be made again."""
    assert fingerprint("corpus", 1, {"min_words": 20, "seed": 17}, {"stem": "ab"}) == "7b0a8bf5939bd1c8"


def test_fingerprint_does_not_follow_the_order_of_settings() -> None:
    assert fingerprint("corpus", 1, {"a": 1, "b": 2}, {"x": "1", "y": "2"}) == fingerprint(
        "corpus", 1, {"b": 2, "a": 1}, {"y": "2", "x": "1"}
    )


@pytest.mark.parametrize(
    "changed",
    [
        ("mixture", 1, {"a": 1}, {"x": "1"}),
        ("corpus", 2, {"a": 1}, {"x": "1"}),
        ("corpus", 1, {"a": 2}, {"x": "1"}),
        ("corpus", 1, {"a": None}, {"x": "1"}),
        ("corpus", 1, {"a": 1}, {"x": "2"}),
        ("corpus", 1, {"a": 1}, {"y": "1"}),
        ("corpus", 1, {"a": 1, "x": "1"}, {}),
    ],
)
def test_fingerprint_follows_stage_version_settings_and_inputs(changed: tuple[str, int, Any, Any]) -> None:
    assert fingerprint(*changed) != fingerprint("corpus", 1, {"a": 1}, {"x": "1"})


def test_new_run_folder_records_the_recipe(tmp_path: Path) -> None:
    run = open_run(tmp_path / "deep" / "run", {"name": "demo"})
    assert read_run_recipe(run) == {"name": "demo"}


def test_run_folder_is_reopened_with_the_newest_recipe(tmp_path: Path) -> None:
    open_run(tmp_path / "run", {"name": "old"})
    (tmp_path / "run" / "corpus").mkdir()
    assert read_run_recipe(open_run(tmp_path / "run", {"name": "new"})) == {"name": "new"}
    assert (tmp_path / "run" / "corpus").is_dir()


def test_empty_folder_may_become_a_run_folder(tmp_path: Path) -> None:
    assert open_run(tmp_path, {}) == tmp_path


@pytest.mark.parametrize("others", [["thesis.tex"], ["logs/training.log", "thesis.tex"]], ids=["file", "file and logs"])
def test_folder_with_other_files_is_refused_and_left_alone(tmp_path: Path, others: list[str]) -> None:
    for name in others:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("precious")
    with pytest.raises(UserError, match="is a folder that holds other files; give a new folder or one made by rcpt"):
        open_run(tmp_path, {})
    assert not (tmp_path / "recipe.json").exists()


@pytest.mark.parametrize("content", ["[1, 2]", '{"flour": "500 g"}', "not json", "\udcff"])
def test_folder_with_a_recipe_of_another_kind_is_refused_and_left_alone(tmp_path: Path, content: str) -> None:
    written = content.encode("utf-8", "surrogateescape")
    (tmp_path / "recipe.json").write_bytes(written)
    with pytest.raises(UserError, match=r"recipe\.json is not a recipe of rcpt; give another run folder"):
        open_run(tmp_path, {})
    assert (tmp_path / "recipe.json").read_bytes() == written


def test_folder_of_an_incompatible_layout_is_refused_and_left_alone(tmp_path: Path) -> None:
    written = json.dumps({"layout": LAYOUT_VERSION + 1, "recipe": {}})
    (tmp_path / "recipe.json").write_text(written)
    with pytest.raises(UserError, match=f"has layout {LAYOUT_VERSION + 1} but this version reads layout"):
        open_run(tmp_path, {})
    assert (tmp_path / "recipe.json").read_text() == written


@pytest.mark.parametrize("below", ["", "run", "deep/run"], ids=["a file", "below a file", "deep below a file"])
def test_path_that_cannot_be_written_is_refused(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"^run=.* cannot be written .*; give a folder that you may write"):
        open_run(tmp_path / "file" / below, {})


def test_address_in_place_of_a_path_is_refused() -> None:
    with pytest.raises(UserError, match=r"run=s3://bucket/run is not a local folder"):
        open_run("s3://bucket/run", {})


@pytest.mark.parametrize("name", ["folder", "nowhere", "file"])
def test_place_that_is_no_run_folder_is_told(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=rf"{name} is not a run folder.*; give a folder made by rcpt"):
        read_run_recipe(tmp_path / name)


def test_stage_without_manifest_is_not_finished(tmp_path: Path) -> None:
    assert read_manifest(tmp_path) is None


def test_manifest_comes_back_as_written(tmp_path: Path) -> None:
    written = manifest(tokens={"all": 3}, details={"share": 0.5})
    write_atomic(tmp_path / "manifest.json", written.model_dump_json())
    assert read_manifest(tmp_path) == written


def write_text(path: Path) -> None:
    write_atomic(path, "new " * 10_000)


def write_rows(path: Path) -> None:
    write_table(path, TABLE)


@pytest.mark.parametrize("write", [write_text, write_rows])
def test_write_that_fails_half_way_leaves_the_old_file(tmp_path: Path, write: Callable[[Path], None]) -> None:
    path = tmp_path / "part-0.parquet"
    path.write_text("old")
    with disk_that_fills_up(100), pytest.raises(OSError):
        write(path)
    assert path.read_text() == "old"


@pytest.mark.parametrize("write", [write_text, write_rows])
def test_half_file_of_a_killed_process_is_no_part_and_in_nobodys_way(
    tmp_path: Path, write: Callable[[Path], None]
) -> None:
    """Killed while it wrote: its file has a name of its own, which may even be the one that we choose."""
    write(tmp_path / "whole.parquet")
    whole = (tmp_path / "whole.parquet").read_bytes()
    for pid in (os.getpid(), 1):
        (tmp_path / f".part-0.parquet.{pid}.tmp").write_bytes(whole * 2)
    assert read_parts(tmp_path) == []
    write(tmp_path / "part-0.parquet")
    assert read_parts(tmp_path) == [tmp_path / "part-0.parquet"]
    assert (tmp_path / "part-0.parquet").read_bytes() == whole


def test_text_is_written_as_utf_8_and_bytes_as_they_are(tmp_path: Path) -> None:
    write_atomic(tmp_path / "new" / "a", "größer\r\n")
    write_atomic(tmp_path / "new" / "b", b"\x00\xff")
    assert (tmp_path / "new" / "a").read_bytes() == "größer\r\n".encode()
    assert (tmp_path / "new" / "b").read_bytes() == b"\x00\xff"


def test_table_comes_back_as_written(tmp_path: Path) -> None:
    write_table(tmp_path / "new" / "part.parquet", TABLE)
    assert pq.read_table(tmp_path / "new" / "part.parquet").equals(TABLE)


HOLDER = """
import sys
from pathlib import Path
from rcpt_ray.artifacts import hold
with hold(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_stage_is_held_by_one_process_until_that_ends_or_is_killed(tmp_path: Path) -> None:
    folder = tmp_path / "corpus" / "0123"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert select.select([holder.stdout], [], [], 30)[0], "the holder did not start"
        assert holder.stdout.readline() == "held\n"
        refused = pytest.raises(UserError, match="is being made by another rcpt process; wait for it or give another")
        with refused, hold(folder):
            pass
        holder.kill()
        holder.wait()
        with hold(folder):
            pass


def test_stage_whose_making_failed_is_free_again(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), hold(tmp_path):
        raise RuntimeError("the stage failed")
    with hold(tmp_path):
        pass


def digest_of(folder: Path, files: dict[str, str]) -> str:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return output_digest((folder / name for name in files), folder)


def test_output_digest_is_the_same_elsewhere_and_in_any_order(tmp_path: Path) -> None:
    files = {"part-0": "a", "part-1": "b", "deep/part-0": "c"}
    backwards = dict(reversed(files.items()))
    assert digest_of(tmp_path / "here", files) == digest_of(tmp_path / "there", backwards)


@pytest.mark.parametrize(
    "files",
    [
        {"part-0": "a", "part-1": "x"},
        {"part-0": "b", "part-1": "a"},
        {"part-0": "a", "part-2": "b"},
        {"part-0": "a"},
        {"part-0": "a", "part-1": "b", "part-2": ""},
        {"part-0": "ab", "part-1": ""},
    ],
    ids=["content", "swapped", "name", "fewer", "more", "moved"],
)
def test_output_digest_follows_contents_and_names(tmp_path: Path, files: dict[str, str]) -> None:
    before = digest_of(tmp_path / "before", {"part-0": "a", "part-1": "b"})
    assert digest_of(tmp_path / "after", files) != before
