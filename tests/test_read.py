"""Whatever a corpus is written in, every row comes once and in order, or is named with what is wrong with it."""

import bz2
import gzip
import json
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from rcpt_ray.corpus.reading import pieces
from rcpt_ray.corpus.reading.files import RECORDS, SourceFile, digest_files, list_files
from rcpt_ray.corpus.reading.lines import lines
from rcpt_ray.corpus.reading.pieces import expected_size, pieces_of
from rcpt_ray.corpus.reading.read import RawRow, read_piece, read_records, read_source
from rcpt_ray.corpus.reading.stretch import Found, Stretch
from rcpt_ray.corpus.spec import SourceSpec
from rcpt_ray.errors import UserError
from rcpt_ray.recipe import first_sentence

Row = dict[str, Any]
ROWS: list[Row] = [{"id": f"r{number}", "text": f"Text {number} – ü"} for number in range(50)]
JSON_LINES = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "": lambda content: content,
    ".gz": gzip.compress,
    ".zst": zstandard.compress,
    ".zstd": zstandard.compress,
    ".bz2": bz2.compress,
}


def spec_of(path: Path | str, **fields: Any) -> SourceSpec:
    return SourceSpec(**({"path": str(path), "domain": "stem"} | fields))


def rows_of(path: Path | str, bad_rows: Any = "fail", **fields: Any) -> list[RawRow]:
    return list(read_source("web", spec_of(path, **fields), bad_rows))


def texts_of(path: Path | str, **fields: Any) -> list[tuple[str, ...]]:
    return [row.texts for row in rows_of(path, **fields)]


def refusal_of(path: Path | str, **fields: Any) -> str:
    with pytest.raises(UserError) as told:
        rows_of(path, **fields)
    assert "\n" not in str(told.value)
    return str(told.value)


def write(path: Path, content: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def write_json_lines(path: Path, rows: list[Row]) -> Path:
    return write(path, "".join(json.dumps(row) + "\n" for row in rows))


def write_arrow(path: Path, rows: list[Row]) -> Path:
    """As `Dataset.save_to_disk` does: a stream of batches."""
    table = pa.Table.from_pylist(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    with pa.ipc.new_stream(str(path), table.schema) as writer:
        writer.write_table(table, max_chunksize=7)
    return path


# Formats


@pytest.mark.parametrize("packing", PACKERS)
@pytest.mark.parametrize("ending", [".jsonl", ".ndjson", ".json"])
def test_json_lines_are_read_packed_or_not(tmp_path: Path, ending: str, packing: str) -> None:
    file = write(tmp_path / f"web{ending}{packing}", PACKERS[packing](JSON_LINES))
    assert [(row.row, row.row_id, row.texts) for row in rows_of(file)] == [
        (number, row["id"], (row["text"],)) for number, row in enumerate(ROWS)
    ]


@pytest.mark.parametrize("packing", [".gz", ".zst", ".bz2"])
def test_file_packed_in_several_members_is_read_to_its_end(tmp_path: Path, packing: str) -> None:
    """As parallel packers write them."""
    file = write(tmp_path / f"web.jsonl{packing}", PACKERS[packing](JSON_LINES) * 2)
    assert len(rows_of(file)) == 2 * len(ROWS)


@pytest.mark.parametrize("indent", [None, 1])
def test_json_array_and_json_object_are_documents(tmp_path: Path, indent: int | None) -> None:
    write(tmp_path / "in" / "array.json", json.dumps(ROWS, indent=indent))
    write(tmp_path / "in" / "object.json", json.dumps({"text": "alone"}, indent=indent))
    assert texts_of(tmp_path / "in") == [*((row["text"],) for row in ROWS), ("alone",)]


def test_parquet_and_saved_datasets_are_read(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "web.parquet", row_group_size=8)
    saved = tmp_path / "saved"
    write_arrow(saved / "data-00000-of-00001.arrow", ROWS)
    write_arrow(saved / "cache-0123.arrow", ROWS[:3])
    for name in ("state.json", "dataset_info.json"):
        write(saved / name, json.dumps({"text": "no document"}))
    assert texts_of(tmp_path / "web.parquet") == texts_of(saved) == [(row["text"],) for row in ROWS]


def test_texts_are_documents_named_by_their_path_within_the_folder(tmp_path: Path) -> None:
    write(tmp_path / "in" / "b" / "one.tex", r"\section{One}")
    write(tmp_path / "in" / "a.md", "# Two")
    write(tmp_path / "in" / "c.txt.gz", gzip.compress("\ufeffThree".encode()))
    write(tmp_path / "in" / "picture.png", "no text")
    write(tmp_path / "in" / ".git" / "notes.txt", "hidden")
    rows = rows_of(tmp_path / "in")
    assert [(row.row_id, row.texts) for row in rows] == [
        ("a.md", ("# Two",)),
        ("b/one.tex", (r"\section{One}",)),
        ("c.txt.gz", ("Three",)),
    ]
    assert [row.row_id for row in rows_of(tmp_path / "in", id_column=None)] == [None] * 3


def test_readme_beside_data_is_no_document(tmp_path: Path) -> None:
    """A dataset's repository as it is downloaded."""
    write(tmp_path / "README.md", "# A dataset")
    (tmp_path / "data").mkdir()
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "data" / "train-00000-of-00001.parquet")
    assert len(rows_of(tmp_path)) == len(ROWS)


# Files


def test_files_come_in_the_order_of_their_names_part_by_part(tmp_path: Path) -> None:
    for name in ("a/z.jsonl", "a.jsonl", "a-b/c.jsonl", "b.jsonl"):
        write(tmp_path / name, JSON_LINES)
    names = [file.inside for file in list_files("x", str(tmp_path))]
    assert names == ["a/z.jsonl", "a-b/c.jsonl", "a.jsonl", "b.jsonl"]


def test_ending_that_is_not_read_is_refused_with_those_that_are(tmp_path: Path) -> None:
    file = write(tmp_path / "quiz.csv", "a,b")
    with pytest.raises(UserError) as told:
        list_files("quiz.path", str(file), RECORDS)
    assert str(told.value) == (
        f"quiz.path={file}: quiz.csv is not .parquet, .arrow, .jsonl, .ndjson or .json; convert it or leave it out"
    )


@pytest.mark.parametrize("path", ["s3://user:word@bucket/in", "s3://bucket/in?secret_key=word", "hf://me:word@o/n"])
def test_secret_in_a_path_is_refused_and_not_repeated(path: str) -> None:
    """Before anything is written: recipes are recorded."""
    with pytest.raises(ValidationError) as mistake:
        SourceSpec(path=path, domain="law")
    told = first_sentence(mistake.value)
    assert told.startswith("path: holds a user, password or key")
    assert "word@" not in told and "=word" not in told


def test_id_column_that_is_named_must_be_there(tmp_path: Path) -> None:
    """The default one need not."""
    file = write(tmp_path / "web.jsonl", '{"docid": "7", "text": "words"}\n')
    with pytest.raises(UserError, match=r"id_column=doc_id is not in .* which has docid, text; .* the id, or null"):
        list(read_source("web", SourceSpec(path=str(file), domain="law", id_column="doc_id")))
    (row,) = read_source("web", SourceSpec(path=str(file), domain="law"))
    assert (row.row_id, row.texts) == (None, ("words",))


def test_unknown_scheme_is_refused() -> None:
    assert refusal_of("az://bucket/in").startswith("corpus.sources.web.path=az://bucket/in begins with az://")


def test_digest_follows_contents_and_the_names_that_are_ids(tmp_path: Path) -> None:
    def digest(*parts: tuple[str, str]) -> str:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        return digest_files([file for name, text in parts for file in list_files("x", str(write(folder / name, text)))])

    assert digest(("a.jsonl", "{}")) == digest(("b.jsonl", "{}")) != digest(("a.jsonl", "{ }"))
    assert digest(("a.txt", "one")) != digest(("b.txt", "one"))
    assert digest(("a.jsonl", "{}"), ("b.jsonl", "[]")) != digest(("a.jsonl", "[]"), ("b.jsonl", "{}"))


def test_digest_of_remote_files_follows_name_size_and_version() -> None:
    file = SourceFile("s3://b/k.jsonl", 5, "1", "k.jsonl")
    others = [SourceFile(*each) for each in (("s3://b/l.jsonl", 5, "1", "x"), ("s3://b/k.jsonl", 6, "1", "x"))]
    later = SourceFile("s3://b/k.jsonl", 5, "2", "k.jsonl")
    assert len({digest_files([each]) for each in (file, *others, later)}) == 4


# Columns


CASE: Row = {
    "case": {"number": 7, "opinions": [{"text": "We affirm."}, {"text": None}, {"text": "I dissent."}]},
    "a.b": "dotted",
    "problem": "What is 2 + 2?",
    "steps": ["Take two.", " ", "Add two."],
    "kind": ["opinion", "order"],
    "final": True,
}


@pytest.fixture(params=["parquet", "jsonl"])
def case_file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == "jsonl":
        return write_json_lines(tmp_path / "case.jsonl", [CASE])
    pq.write_table(pa.Table.from_pylist([CASE]), tmp_path / "case.parquet")
    return tmp_path / "case.parquet"


def test_dotted_path_walks_through_lists_and_joins_their_texts(case_file: Path) -> None:
    (row,) = rows_of(case_file, text_column="case.opinions.text", id_column="case.number")
    assert (row.row_id, row.texts) == ("7", ("We affirm.\n\nI dissent.",))


def test_column_whose_name_has_a_dot_is_found(case_file: Path) -> None:
    assert texts_of(case_file, text_column="a.b") == [("dotted",)]


def test_segments_come_in_the_order_of_their_columns(case_file: Path) -> None:
    found = texts_of(case_file, segment_columns=["problem", "steps"])
    assert found == [("What is 2 + 2?", "Take two.", "Add two.")]


@pytest.mark.parametrize(
    ("where", "problem"),
    [
        ({"kind": ["order"]}, None),
        ({"kind": ["brief"]}, "not_wanted"),
        ({"final": ["true"], "case.number": ["7"]}, None),
    ],
)
def test_rows_are_chosen_by_the_values_of_columns(case_file: Path, where: Row, problem: str | None) -> None:
    """Under bad_rows: fail too: a row that is not wanted is not a bad one."""
    (row,) = rows_of(case_file, text_column="problem", where=where)
    assert row.problem == problem


def test_only_the_columns_that_are_needed_are_read(tmp_path: Path) -> None:
    """The other column claims to be text and is not, so reading it would fail."""
    noise = pa.Array.from_buffers(pa.string(), 1, pa.array([b"\xff"], pa.binary()).buffers())
    pq.write_table(pa.table({"text": ["fine"], "noise": noise}), tmp_path / "web.parquet")
    assert texts_of(tmp_path / "web.parquet") == [("fine",)]


def test_missing_column_of_a_filter_is_refused_with_those_that_are_there(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": ["1"], "text": ["fine"]}), tmp_path / "web.parquet")
    told = refusal_of(tmp_path / "web.parquet", where={"court": ["x"]})
    assert told.startswith("corpus.sources.web.where=court is not in ")
    assert "which has id, text" in told


# What cannot be read


BAD_LINES = {
    "not_json": b'{"id": "x", "text": "cut o',
    "not_utf8": '{"id": "x", "text": "Müller"}'.encode("latin-1"),
    "not_text": b'{"id": "x", "text": 3}',
    "no_text": b'{"id": "x", "text": " "}',
}


@pytest.mark.parametrize("problem", BAD_LINES)
def test_bad_line_is_named_and_reading_goes_on(tmp_path: Path, problem: str) -> None:
    file = write(tmp_path / "web.jsonl", b'{"text": "one"}\n' + BAD_LINES[problem] + b'\n{"text": "three"}\n')
    rows = rows_of(file, "reject")
    assert [(row.row, row.texts, row.problem) for row in rows] == [
        (0, ("one",), None),
        (1, (), problem),
        (2, ("three",), None),
    ]
    assert rows[1].where == f"{file} line 2"
    assert f"{file} line 2" in refusal_of(file)


def test_half_of_a_surrogate_pair_is_no_text(tmp_path: Path) -> None:
    file = write(tmp_path / "web.jsonl", rb'{"text": "\ud800"}' + b"\n" + rb'{"text": "\ud83d\ude00"}')
    assert [(row.texts, row.problem) for row in rows_of(file, "reject")] == [((), "not_utf8"), (("\U0001f600",), None)]


def test_one_text_of_a_parquet_file_that_is_not_utf_8_costs_that_row_alone(tmp_path: Path) -> None:
    values = [b"one", "Müller".encode("latin-1"), b"three"]
    claimed = pa.Array.from_buffers(pa.string(), 3, pa.array(values, pa.binary()).buffers())
    pq.write_table(pa.table({"text": claimed}), tmp_path / "web.parquet")
    problems = [row.problem for row in rows_of(tmp_path / "web.parquet", "reject")]
    assert problems == [None, "not_utf8", None]
    assert "web.parquet near row 1 is not UTF-8" in refusal_of(tmp_path / "web.parquet")


@pytest.mark.parametrize("packing", [".gz", ".zst", ".bz2"])
def test_cut_file_is_found_and_named_with_the_lines_read(tmp_path: Path, packing: str) -> None:
    """Where it was cut nothing can be read; what was read before stays."""
    many = [{"id": str(number), "text": f"{number * 7919 % 10007:x} " * 40} for number in range(8_000)]
    whole = PACKERS[packing]("".join(json.dumps(row) + "\n" for row in many).encode())
    file = write(tmp_path / f"web.jsonl{packing}", whole[: len(whole) * 2 // 3])
    *good, last = rows_of(file, "reject")
    assert len(good) > 2_000
    assert [row.texts[0] for row in good] == [row["text"] for row in many[: len(good)]]
    assert (last.row, last.texts, last.problem) == (len(good), (), "unreadable")
    assert refusal_of(file).startswith(
        f"{file} is cut off or damaged after {len(good)} lines (Truncated compressed stream); copy it again"
    )


@pytest.mark.parametrize(
    "name", ["web.jsonl.gz", "web.jsonl.zst", "web.parquet", "web.arrow", "web.json", "web.txt.gz"]
)
def test_file_that_is_something_else_is_one_unreadable_row_beside_the_others(tmp_path: Path, name: str) -> None:
    write(tmp_path / "in" / name, b"neither this \xff nor that\n")
    assert [row.problem for row in rows_of(tmp_path / "in" / name, "reject")] in (["unreadable"], ["not_utf8"])
    assert name in refusal_of(tmp_path / "in" / name)


@pytest.mark.parametrize("ending", ["parquet", "arrow"])
def test_column_that_stands_twice_is_told_where_it_is_read(tmp_path: Path, ending: str) -> None:
    def written(*names: str) -> Path:
        table = pa.Table.from_arrays([pa.array(["words"]), pa.array(["others"]), pa.array(["x"])], names=list(names))
        file = tmp_path / f"{'-'.join(names)}.{ending}"
        if ending == "parquet":
            pq.write_table(table, file)
        else:
            with pa.ipc.new_stream(str(file), table.schema) as stream:
                stream.write_table(table)
        return file

    assert texts_of(written("text", "more", "more")) == [("words",)]
    assert "there are 2 columns of the name text" in refusal_of(written("text", "text", "more"))


def test_cut_parquet_file_does_not_hide_the_files_after_it(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "a.parquet")
    write(tmp_path / "a.parquet", (tmp_path / "a.parquet").read_bytes()[:-20])
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "b.parquet")
    problems = [row.problem for row in rows_of(tmp_path, "reject")]
    assert problems == ["unreadable", *[None] * len(ROWS)]


def test_file_that_is_gone_is_not_a_bad_row(tmp_path: Path) -> None:
    """A disk or a network that fails must not thin out a corpus."""
    file = write(tmp_path / "web.jsonl", JSON_LINES)
    (piece,) = pieces_of("web", spec_of(file))
    file.unlink()
    with pytest.raises(UserError, match=r"web\.jsonl cannot be read: .*; try again when it can"):
        list(read_piece(piece, spec_of(file), "reject"))


# Pieces


def read_in_pieces(path: Path, **fields: Any) -> list[tuple[str | None, tuple[str, ...]]]:
    spec = spec_of(path, **fields)
    found = []
    for number, piece in enumerate(pieces_of("web", spec)):
        assert piece.id.startswith(f"web-{number:06d}-")
        rows = list(read_piece(pickle.loads(pickle.dumps(piece)), spec, "fail"))
        assert [row.row for row in rows] == list(range(len(rows)))
        found += [(row.row_id, row.texts) for row in rows]
    return found


@pytest.mark.parametrize("max_documents", [None, 1, 16, 17, 130, 1000])
def test_pieces_hold_every_row_once_and_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, max_documents: int | None
) -> None:
    """Parquet is cut between row groups, small files are put together, and the first rows are the first rows."""
    monkeypatch.setattr(pieces, "PIECE_ROWS", 20)
    for name in ("a", "b"):
        rows = [{"id": f"{name}{number}", "text": f"Text {number}"} for number in range(50)]
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / f"{name}.parquet", row_group_size=8)
    write(tmp_path / "c.jsonl.gz", gzip.compress(JSON_LINES))
    expected = [(f"{name}{number}", (f"Text {number}",)) for name in "ab" for number in range(50)]
    expected += [(row["id"], (row["text"],)) for row in ROWS]
    assert read_in_pieces(tmp_path, max_documents=max_documents) == expected[:max_documents]
    assert len(pieces_of("web", spec_of(tmp_path))) == 6


def test_files_after_the_first_rows_are_not_read(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", JSON_LINES)
    write(tmp_path / "b.jsonl.gz", "this is not packed")
    assert len(rows_of(tmp_path, max_documents=len(ROWS))) == len(ROWS)


@settings(max_examples=60, deadline=None)
@given(
    content=st.lists(st.sampled_from([b"", b" ", b"a", b"bb", b"c" * 9, "ü".encode()]), max_size=12).map(b"\n".join),
    size=st.integers(1, 12),
)
def test_every_line_belongs_to_one_stretch_of_bytes(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, size: int
) -> None:
    """Wherever the file is cut: within a line, a character, or at a line's end."""
    file = write(tmp_path_factory.getbasetemp() / "cut.jsonl", content)
    (source,) = list_files("x", str(file))
    starts = [*range(0, len(content), size)] or [0]
    found: list[bytes] = []
    for start, end in zip(starts, [*starts[1:], None], strict=True):
        for line in lines(Stretch(source, start, end)):
            assert not isinstance(line, Found)
            found.append(line[1].strip())
    assert found == [line.strip() for line in content.split(b"\n") if line.strip()]


def test_long_json_lines_are_cut_and_their_lines_are_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "PIECE_BYTES", 400)
    file = write(tmp_path / "web.jsonl", JSON_LINES + b"no json")
    spec = spec_of(file)
    found = [row for piece in pieces_of("web", spec) for row in read_piece(piece, spec, "reject")]
    assert len(pieces_of("web", spec)) == len(JSON_LINES + b"no json") // 400 + 1
    assert [row.texts for row in found[:-1]] == [(row["text"],) for row in ROWS]
    matched = re.fullmatch(rf"{re.escape(str(file))} line (\d+) after byte (\d+)", found[-1].where)
    assert matched
    after = file.read_bytes()[int(matched[2]) - 1 :].split(b"\n")
    assert after[int(matched[1])] == b"no json"


def test_expected_size_counts_what_can_be_counted(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "a.parquet")
    write(tmp_path / "b.jsonl", JSON_LINES)
    assert expected_size("web", spec_of(tmp_path))[0] == 100
    assert expected_size("web", spec_of(tmp_path, max_documents=25))[0] == pytest.approx(25)


def test_records_of_a_sample_have_all_columns() -> None:
    (file,) = list_files("x", "samples://corpus/stem.jsonl")
    records = [record for record, _ in read_records(file)]
    assert records and all({"id", "text"} <= set(record) for record in records)


# Presets: files with the columns of the public releases


def test_openwebmath_is_read_as_it_is_published(tmp_path: Path) -> None:
    row = {
        "url": "https://a.b/c",
        "text": "Let $x$ be.",
        "date": "2023-03-20 20:00:00",
        "metadata": '{"extraction": {}}',
    }
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "train-00000-of-00114.parquet")
    spec = SourceSpec(preset="openwebmath", path=str(tmp_path))  # type: ignore[call-arg]
    (read,) = read_source("stem", spec)
    assert (read.row_id, read.texts, spec.domain) == ("https://a.b/c", ("Let $x$ be.",), "stem")


COMMON_PILE: Row = {
    "id": "a2d_100/html/0001-01.html",
    "text": "BROWN v. STATE\nWe affirm.",
    "source": "Caselaw Access Project",
    "created": "2024-08-24T03:28:44",
    "added": "2024-08-24T03:28:44",
    "metadata": {"license": "Public Domain", "url": "https://static.case.law/", "author": "PER CURIAM"},
}
PILE: Row = {"text": "We affirm.", "meta": {"pile_set_name": "FreeLaw"}}
CASE_LAW: Row = {"id": 12, "casebody": {"head_matter": "BROWN v. STATE", "opinions": [{"text": "We affirm."}]}}


@pytest.mark.parametrize(
    ("row", "more", "row_id", "text"),
    [
        (COMMON_PILE, {}, COMMON_PILE["id"], COMMON_PILE["text"]),
        (PILE, {"where": {"meta.pile_set_name": ["FreeLaw"]}}, None, "We affirm."),
        (CASE_LAW, {"text_column": "casebody.opinions.text"}, "12", "We affirm."),
    ],
    ids=["common-pile", "the-pile", "case.law"],
)
def test_freelaw_is_read_as_it_is_published(tmp_path: Path, row: Row, more: Row, row_id: str | None, text: str) -> None:
    write(tmp_path / "cap.jsonl.gz", gzip.compress(json.dumps(row).encode()))
    spec = SourceSpec(preset="freelaw", path=str(tmp_path), **more)
    (read,) = read_source("law", spec)
    assert (read.row_id, read.texts, spec.domain, spec.furniture) == (row_id, (text,), "law", ["court", "page"])
