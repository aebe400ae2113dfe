"""Every row that is read is either in a shard or among the rejections, and stays where it is when others come."""

import json
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mixture_fixtures import quiet_bar

from rcpt_ray.artifacts import Outcome, fingerprint
from rcpt_ray.corpus.prepare import input_digests, prepare
from rcpt_ray.corpus.spec import HELDOUT_PARTS, TRAIN_PARTS, CorpusSpec
from rcpt_ray.errors import UserError
from rcpt_ray.records import DOCUMENT, DOCUMENT_REJECTION
from rcpt_ray.spread import here

Row = dict[str, Any]


def text_of(number: int, num_words: int = 25) -> str:
    """A text of so many words that no other number has."""
    return " ".join([f"document-{number}", *(f"word{place}" for place in range(num_words - 1))])


def rows_of(numbers: Iterable[int]) -> list[Row]:
    return [{"id": str(number), "text": text_of(number)} for number in numbers]


def write_jsonl(path: Path, rows: Iterable[Row]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_parquet(path: Path, rows: list[Row]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def spec_of(path: Path | str, source: Row | None = None, **settings: Any) -> CorpusSpec:
    """One source named web, nothing held out unless said."""
    web = {"path": str(path), "domain": "stem"} | (source or {})
    return CorpusSpec(**({"sources": {"web": web}, "heldout_share": 0.0, "near_duplicates": None} | settings))


def prepare_into(folder: Path, spec: CorpusSpec, seed: int = 17) -> Outcome:
    folder.mkdir(parents=True, exist_ok=True)
    return prepare(spec, seed, folder, quiet_bar(), here())


def documents(folder: Path, pattern: str = TRAIN_PARTS) -> list[Row]:
    return [row for part in sorted(folder.glob(pattern)) for row in pq.read_table(part, schema=DOCUMENT).to_pylist()]


def texts(folder: Path) -> list[str]:
    return [row["text"] for row in documents(folder)]


def rejections(folder: Path) -> list[tuple[int, str]]:
    parts = sorted(folder.glob("part-rejected-*.parquet"))
    rows = [row for part in parts for row in pq.read_table(part, schema=DOCUMENT_REJECTION).to_pylist()]
    return [(row["row"], row["reason"]) for row in rows]


def refusal_of(spec: CorpusSpec, folder: Path) -> str:
    """What a user is told who prepares this."""
    with pytest.raises(UserError) as told:
        prepare_into(folder, spec)
    assert "\n" not in str(told.value)
    return str(told.value)


@pytest.mark.parametrize("write", [write_jsonl, write_parquet])
def test_rows_become_documents_in_their_order(tmp_path: Path, write: Any) -> None:
    file = write(tmp_path / ("web.jsonl" if write is write_jsonl else "web.parquet"), rows_of(range(5)))
    outcome = prepare_into(tmp_path / "out", spec_of(file))
    assert documents(tmp_path / "out") == [
        {"doc_id": f"web/{n}", "source": "web", "domain": "stem", "text": text_of(n), "num_words": 25}
        | {"segment_ends": []}
        for n in range(5)
    ]
    assert (outcome.counts.num_in, outcome.counts.num_ok, outcome.counts.rejected) == (5, 5, {})
    assert outcome.details["num_train_words"] == 125


def test_columns_may_have_other_names_and_types(tmp_path: Path) -> None:
    rows = [{"url": 7, "body": text_of(7), "more": [1]}, {"url": 8, "body": text_of(8), "more": []}]
    spec = spec_of(write_parquet(tmp_path / "web.parquet", rows), {"text_column": "body", "id_column": "url"})
    prepare_into(tmp_path / "out", spec)
    assert [row["doc_id"] for row in documents(tmp_path / "out")] == ["web/7", "web/8"]


def test_source_larger_than_one_batch_of_reading_is_read_whole(tmp_path: Path) -> None:
    file = write_parquet(tmp_path / "web.parquet", rows_of(range(1500)))
    assert prepare_into(tmp_path / "out", spec_of(file)).counts.num_ok == 1500
    assert texts(tmp_path / "out") == [text_of(number) for number in range(1500)]


def test_folder_is_read_to_its_depth_in_order_of_names(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "in" / "b.jsonl", rows_of([2]))
    write_parquet(tmp_path / "in" / "a" / "x.parquet", rows_of([1]))
    write_jsonl(tmp_path / "in" / "c" / "d" / "y.jsonl", rows_of([3]))
    (tmp_path / "in" / "README.md").write_text("not a corpus")
    prepare_into(tmp_path / "out", spec_of(tmp_path / "in"))
    assert texts(tmp_path / "out") == [text_of(1), text_of(2), text_of(3)]


@pytest.mark.parametrize("pattern", ["2024/part-*.jsonl", "*/part-1.jsonl", "**/part-1.jsonl"])
def test_glob_names_files(tmp_path: Path, pattern: str) -> None:
    write_jsonl(tmp_path / "in" / "2024" / "part-1.jsonl", rows_of([1]))
    write_jsonl(tmp_path / "in" / "2024" / "other.jsonl", rows_of([9]))
    prepare_into(tmp_path / "out", spec_of(tmp_path / "in" / pattern))
    assert texts(tmp_path / "out") == [text_of(1)]


@pytest.mark.parametrize("name", ["nowhere.jsonl", "none-*.parquet", "no/folder/x.jsonl", "**.jsonl", "**x/*.jsonl"])
def test_path_that_names_no_file_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    assert refusal_of(spec_of(path), tmp_path / "out").startswith(f"corpus.sources.web.path={path} ")


def test_file_of_an_unknown_ending_is_refused(tmp_path: Path) -> None:
    (tmp_path / "web.doc").write_text(text_of(1))
    told = refusal_of(spec_of(tmp_path / "web.doc"), tmp_path / "out")
    assert told.startswith("corpus.sources.web.path=")
    assert "web.doc is not .parquet" in told
    assert told.endswith("convert it or leave it out")


def test_only_the_first_rows_are_read_where_so_many_are_wanted(tmp_path: Path) -> None:
    """The row after them may be broken."""
    file = write_jsonl(tmp_path / "web.jsonl", [*rows_of(range(3)), {"id": "3"}])
    outcome = prepare_into(tmp_path / "out", spec_of(file, {"max_documents": 3}))
    assert (outcome.counts.num_in, texts(tmp_path / "out")) == (3, [text_of(number) for number in range(3)])


@pytest.mark.parametrize(("num_words", "reason"), [(9, "too_short"), (10, None), (20, None), (21, "too_long")])
def test_window_of_words_includes_its_ends(tmp_path: Path, num_words: int, reason: str | None) -> None:
    rows = [{"id": "a", "text": text_of(0, num_words)}, {"id": "b", "text": text_of(1, 15)}]
    file = write_jsonl(tmp_path / "web.jsonl", rows)
    prepare_into(tmp_path / "out", spec_of(file, min_words=10, max_words=20))
    assert rejections(tmp_path / "out") == ([(0, reason)] if reason else [])


def test_texts_equal_but_for_white_space_and_case_are_duplicates(tmp_path: Path) -> None:
    text = text_of(1)
    variants = [text, text.upper(), f"\n {text.replace(' ', '   ')}\t", text.replace(" ", "\n"), text + " more"]
    file = write_jsonl(tmp_path / "web.jsonl", [{"id": str(n), "text": each} for n, each in enumerate(variants)])
    prepare_into(tmp_path / "out", spec_of(file))
    assert texts(tmp_path / "out") == [text, text + " more"]
    assert rejections(tmp_path / "out") == [(row, "duplicate_text") for row in (1, 2, 3)]


def test_duplicate_of_another_source_is_a_duplicate(tmp_path: Path) -> None:
    file = write_jsonl(tmp_path / "web.jsonl", rows_of([1]))
    sources = {name: {"path": str(file), "domain": "stem"} for name in ("web", "mirror")}
    outcome = prepare_into(tmp_path / "out", spec_of(file, sources=sources))
    assert outcome.counts.rejected == {"duplicate_text": 1}
    assert [row["doc_id"] for row in documents(tmp_path / "out")] == ["web/1"]


def test_second_row_of_an_id_is_rejected_and_the_first_stays(tmp_path: Path) -> None:
    rows = [{"id": "a", "text": text_of(1)}, {"id": "a", "text": text_of(2)}, {"id": "b", "text": text_of(3)}]
    prepare_into(tmp_path / "out", spec_of(write_jsonl(tmp_path / "web.jsonl", rows)))
    assert texts(tmp_path / "out") == [text_of(1), text_of(3)]
    assert rejections(tmp_path / "out") == [(1, "duplicate_id")]


def test_id_of_a_rejected_row_is_free_for_a_good_one(tmp_path: Path) -> None:
    rows = [{"id": "a", "text": "short"}, {"id": "a", "text": text_of(2)}]
    prepare_into(tmp_path / "out", spec_of(write_jsonl(tmp_path / "web.jsonl", rows)))
    assert texts(tmp_path / "out") == [text_of(2)]


@pytest.mark.parametrize("source", [{}, {"id_column": None}], ids=["default", "none"])
def test_document_without_id_is_named_by_its_text(tmp_path: Path, source: Row) -> None:
    """Wherever it stands, so its name does not follow the rows around it."""
    alone = write_jsonl(tmp_path / "alone.jsonl", [{"text": text_of(1)}])
    later = write_jsonl(tmp_path / "later.jsonl", [{"text": text_of(n)} for n in (0, 1)])
    for file in (alone, later):
        prepare_into(tmp_path / file.stem, spec_of(file, source))
    names = [{row["doc_id"] for row in documents(tmp_path / name)} for name in ("alone", "later")]
    assert len(names[1]) == 2
    assert names[0] < names[1]


def test_repeated_text_without_an_id_is_a_duplicate_text(tmp_path: Path) -> None:
    file = write_jsonl(tmp_path / "web.jsonl", [{"text": text_of(1)}, {"text": text_of(1)}])
    assert prepare_into(tmp_path / "out", spec_of(file)).counts.rejected == {"duplicate_text": 1}


def test_sources_whose_names_and_ids_run_together_stay_apart(tmp_path: Path) -> None:
    """a + b/1 and a/b + 1 are two documents."""
    first = write_jsonl(tmp_path / "first.jsonl", [{"id": "b/1", "text": text_of(1)}])
    second = write_jsonl(tmp_path / "second.jsonl", [{"id": "1", "text": text_of(2)}])
    sources = {"a": {"path": str(first), "domain": "stem"}, "a/b": {"path": str(second), "domain": "stem"}}
    try:
        spec = spec_of(first, sources=sources)
    except ValueError:
        return  # a name with a slash may as well be refused
    assert prepare_into(tmp_path / "out", spec).counts.num_ok == 2


def test_held_out_documents_stay_held_out_when_others_are_added(tmp_path: Path) -> None:
    before = write_jsonl(tmp_path / "before.jsonl", rows_of(range(200)))
    after = write_jsonl(tmp_path / "after.jsonl", rows_of(range(250, -50, -1)))
    held_out = {}
    for file in (before, after):
        outcome = prepare_into(tmp_path / file.stem, spec_of(file, heldout_share=0.25))
        held_out[file.stem] = {row["doc_id"] for row in documents(tmp_path / file.stem, HELDOUT_PARTS)}
        trained = {row["doc_id"] for row in documents(tmp_path / file.stem)}
        assert not trained & held_out[file.stem]
        assert outcome.details["num_train"] + outcome.details["num_heldout"] == outcome.counts.num_ok
    assert 30 <= len(held_out["before"]) <= 70
    assert held_out["before"] == held_out["after"] & {f"web/{number}" for number in range(200)}


def test_another_seed_holds_out_others(tmp_path: Path) -> None:
    file = write_jsonl(tmp_path / "web.jsonl", rows_of(range(100)))
    for seed in (1, 2):
        prepare_into(tmp_path / str(seed), spec_of(file, heldout_share=0.5), seed)
    assert documents(tmp_path / "1", HELDOUT_PARTS) != documents(tmp_path / "2", HELDOUT_PARTS)


def shards(folder: Path) -> dict[str, bytes]:
    return {part.name: part.read_bytes() for part in folder.glob("part-*.parquet")}


def test_shards_are_the_same_bytes_every_time(tmp_path: Path) -> None:
    """Also in a folder in which a killed run has left shards of other sizes."""
    file = write_jsonl(tmp_path / "web.jsonl", rows_of(range(30)))
    prepare_into(tmp_path / "twice", spec_of(file, shard_documents=3))
    for folder in ("once", "twice"):
        prepare_into(tmp_path / folder, spec_of(file, shard_documents=8, heldout_share=0.2))
    assert shards(tmp_path / "once") == shards(tmp_path / "twice")


def test_shard_holds_so_many_documents_and_the_last_one_the_rest(tmp_path: Path) -> None:
    file = write_jsonl(tmp_path / "web.jsonl", rows_of(range(10)))
    prepare_into(tmp_path / "out", spec_of(file, shard_documents=4))
    assert [pq.read_metadata(part).num_rows for part in sorted((tmp_path / "out").glob(TRAIN_PARTS))] == [4, 4, 2]


def test_added_source_changes_no_shard_of_the_others(tmp_path: Path) -> None:
    web = {"path": str(write_jsonl(tmp_path / "web.jsonl", rows_of(range(10)))), "domain": "stem"}
    law = {"path": str(write_jsonl(tmp_path / "law.jsonl", rows_of(range(10, 20)))), "domain": "law"}
    for folder, sources in (("before", {"web": web}), ("after", {"law": law, "web": web})):
        prepare_into(tmp_path / folder, spec_of("", sources=sources, shard_documents=4, heldout_share=0.3))
    assert shards(tmp_path / "before").items() < shards(tmp_path / "after").items()


def test_order_of_sources_that_share_a_text_defines_the_corpus(tmp_path: Path) -> None:
    """The first source keeps the text; so with other results comes another fingerprint, or the results are equal."""
    web = {"path": str(write_jsonl(tmp_path / "web.jsonl", rows_of([1, 2]))), "domain": "stem"}
    law = {"path": str(write_jsonl(tmp_path / "law.jsonl", rows_of([2, 3]))), "domain": "law"}
    specs = [spec_of("", sources={"web": web, "law": law}), spec_of("", sources={"law": law, "web": web})]
    for number, spec in enumerate(specs):
        prepare_into(tmp_path / str(number), spec)
    prints = [fingerprint("corpus", 1, spec.defining(), input_digests(spec)) for spec in specs]
    assert prints[0] != prints[1] or shards(tmp_path / "0") == shards(tmp_path / "1")


def test_input_digest_follows_contents_and_not_places(tmp_path: Path) -> None:
    here = write_jsonl(tmp_path / "here" / "web.jsonl", rows_of([1]))
    there = write_jsonl(tmp_path / "there" / "web.jsonl", rows_of([1]))
    other = write_jsonl(tmp_path / "other" / "web.jsonl", rows_of([2]))
    digests = [input_digests(spec_of(file))["web"] for file in (here, there, other)]
    assert digests[0] == digests[1] != digests[2]


TEXTLESS = [None, "", " \n\t "]


@pytest.mark.parametrize("text", TEXTLESS, ids=["null", "empty", "white space"])
def test_row_without_text_ends_the_stage_and_is_named(tmp_path: Path, text: str | None) -> None:
    file = write_jsonl(tmp_path / "web.jsonl", [*rows_of([1]), {"id": "x", "text": text}])
    told = refusal_of(spec_of(file), tmp_path / "out")
    assert told == f"{file} line 2 has no text; remove the row or set corpus.bad_rows=reject"


def test_rows_without_text_are_counted_and_left_out_where_that_is_wanted(tmp_path: Path) -> None:
    rows = [*rows_of([1]), *({"id": f"x{number}", "text": text} for number, text in enumerate(TEXTLESS))]
    file = write_parquet(tmp_path / "web.parquet", rows)
    outcome = prepare_into(tmp_path / "out", spec_of(file, bad_rows="reject"))
    assert (outcome.counts.num_in, outcome.counts.rejected) == (4, {"no_text": 3})
    assert rejections(tmp_path / "out") == [(row, "no_text") for row in (1, 2, 3)]


def test_row_that_lacks_the_column_which_others_have_is_a_row_without_text(tmp_path: Path) -> None:
    """JSON Lines often leave out what is null."""
    file = write_jsonl(tmp_path / "web.jsonl", [*rows_of([1]), {"id": "x"}])
    assert prepare_into(tmp_path / "out", spec_of(file, bad_rows="reject")).counts.rejected == {"no_text": 1}


def test_every_row_is_counted_once(tmp_path: Path) -> None:
    rows = [
        *rows_of(range(40)),
        *rows_of([3, 4]),
        {"id": "again", "text": text_of(5)},
        {"id": "short", "text": "short"},
        {"id": "long", "text": text_of(99, 70)},
        {"id": "none", "text": None},
    ]
    file = write_parquet(tmp_path / "web.parquet", rows)
    spec = spec_of(file, bad_rows="reject", max_words=60, heldout_share=0.3, shard_documents=7)
    counts = prepare_into(tmp_path / "out", spec).counts
    written = documents(tmp_path / "out") + documents(tmp_path / "out", HELDOUT_PARTS)
    assert counts.num_in == len(rows)
    assert counts.num_ok == len(written) == len({row["doc_id"] for row in written}) == 40
    assert counts.rejected == Counter(reason for _, reason in rejections(tmp_path / "out"))
    assert counts.rejected == {"duplicate_id": 2, "duplicate_text": 1, "no_text": 1, "too_long": 1, "too_short": 1}


@pytest.mark.parametrize("write", [write_jsonl, write_parquet])
def test_missing_text_column_is_refused_with_the_columns_that_are_there(tmp_path: Path, write: Any) -> None:
    file = write(tmp_path / ("web.jsonl" if write is write_jsonl else "web.parquet"), [{"id": "1", "body": "words"}])
    told = refusal_of(spec_of(file), tmp_path / "out")
    assert told.startswith("corpus.sources.web.text_column=text is not in ")
    assert told.endswith("which has id, body; name the column that holds the text")


@pytest.mark.parametrize("text", [3, {"en": "words"}], ids=["number", "mapping"])
def test_text_that_is_no_text_is_refused(tmp_path: Path, text: Any) -> None:
    file = write_parquet(tmp_path / "web.parquet", [{"id": "1", "text": text}])
    told = refusal_of(spec_of(file), tmp_path / "out")
    assert told.startswith(f"corpus.sources.web: {file} row 0 has a text of type {type(text).__name__}; give text")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"{'id': 1}", r"line 2 is not JSON \(.*\); mend or remove the line"),
        (b'{"id": "1", "text": "cut o', r"line 2 is not JSON"),
        (b'["a list"]', r"line 2 is not a JSON object; each line must be an object with a text"),
        (b'{"text": "M\xfcller"}', r"line 2 is not UTF-8; convert the file to UTF-8"),
    ],
    ids=["single quotes", "cut off", "list", "latin-1"],
)
def test_broken_line_is_refused_and_named(tmp_path: Path, line: bytes, said: str) -> None:
    file = write_jsonl(tmp_path / "web.jsonl", rows_of([1]))
    file.write_bytes(file.read_bytes() + line + b"\n")
    assert re.search(rf"web\.jsonl {said}", refusal_of(spec_of(file), tmp_path / "out"))


def test_empty_lines_are_no_rows(tmp_path: Path) -> None:
    file = write_jsonl(tmp_path / "web.jsonl", rows_of([1, 2]))
    file.write_text(file.read_text().replace("\n", "\n\n \r\n"))
    assert prepare_into(tmp_path / "out", spec_of(file)).counts.num_in == 2


@pytest.mark.parametrize("column", ["text", "id"])
def test_half_a_character_that_only_json_can_write_is_refused_and_named(tmp_path: Path, column: str) -> None:
    r"""JSON may hold \ud800 alone, which no UTF-8 text can."""
    row = {"id": "1", "text": text_of(1)}
    file = write_jsonl(tmp_path / "web.jsonl", [*rows_of([5]), row | {column: "\ud800 " + row[column]}])
    assert "line 2" in refusal_of(spec_of(file), tmp_path / "out")


def parquet_with_bytes(path: Path, values: list[bytes]) -> Path:
    """A Parquet file whose column `text` claims to be text, whatever its bytes are."""
    claimed = pa.Array.from_buffers(pa.string(), len(values), pa.array(values, pa.binary()).buffers())
    pq.write_table(pa.table({"id": [str(number) for number in range(len(values))], "text": claimed}), path)
    return path


def test_parquet_that_is_not_utf_8_is_refused_and_named(tmp_path: Path) -> None:
    file = parquet_with_bytes(tmp_path / "web.parquet", [text_of(1).encode(), "Müller".encode("latin-1")])
    told = refusal_of(spec_of(file), tmp_path / "out")
    assert re.fullmatch(
        rf"{re.escape(str(file))} near row \d+ is not UTF-8; convert the file to UTF-8, or set .*", told
    )


@pytest.mark.parametrize("content", [b"", b"PAR1 this is no parquet file PAR1", b"{}"], ids=["empty", "noise", "json"])
def test_file_that_is_no_parquet_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "web.parquet").write_bytes(content)
    told = refusal_of(spec_of(tmp_path / "web.parquet"), tmp_path / "out")
    assert "web.parquet cannot be read as Parquet" in told and "write it again, or set corpus.bad_rows=reject" in told


@pytest.mark.parametrize("content", ["", "\n \n"], ids=["no byte", "empty lines"])
def test_empty_file_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "web.jsonl").write_text(content)
    told = refusal_of(spec_of(tmp_path / "web.jsonl"), tmp_path / "out")
    assert told.startswith("corpus.sources") and told.endswith("give files with at least one document")


def test_empty_source_beside_a_full_one_is_refused_and_named(tmp_path: Path) -> None:
    """A domain must not be missing from a comparison without a word."""
    law = {"path": str(write_jsonl(tmp_path / "law.jsonl", [])), "domain": "law"}
    web = {"path": str(write_jsonl(tmp_path / "web.jsonl", rows_of([1]))), "domain": "stem"}
    told = refusal_of(spec_of("", sources={"web": web, "law": law}), tmp_path / "out")
    assert told.startswith("corpus.sources.law")


def test_corpus_of_which_nothing_is_left_is_refused_with_the_reasons(tmp_path: Path) -> None:
    file = write_jsonl(tmp_path / "web.jsonl", [{"id": str(n), "text": "short"} for n in range(3)])
    told = refusal_of(spec_of(file), tmp_path / "out")
    assert told.startswith("corpus: none of 3 documents is left to train on (too_short 3)")
    assert told.endswith("widen corpus.min_words to max_words")
