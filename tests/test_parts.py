"""A part counts only with its receipt, and no thought is bought twice."""

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from thoughts_fixtures import document, keys, rows_of, thought, write_shard

from rcpt_ray.corpus.digest import shard_digest
from rcpt_ray.records import DOCUMENT
from rcpt_ray.thoughts.parts import (
    Receipt,
    Tally,
    adopt_parts,
    read_receipts,
    remove_unnamed,
    tally_rows,
    write_part,
)


def make(folder: Path, shard: str = "5a", *, key: str = "key-1", round_: int = 0, **changed: Any) -> Receipt:
    """A part of one row and its receipt."""
    folder.mkdir(parents=True, exist_ok=True)
    return write_part(folder, shard, key, round_, [thought(**changed)], seconds=1.0)


def test_shard_digest_follows_ids_and_texts_and_not_names(tmp_path: Path) -> None:
    documents = [document(1), document(2)]
    same = write_shard(tmp_path, documents), write_shard(tmp_path / "elsewhere", documents, "other.parquet")
    assert shard_digest(same[0]) == shard_digest(same[1])
    others = [[document(1)], documents[::-1], [document(1), document(2, "text 3")], [document(1), document(3)]]
    digests = {shard_digest(write_shard(tmp_path, other, f"{n}.parquet")) for n, other in enumerate(others)}
    assert len(digests | {shard_digest(same[0])}) == 5


def test_characters_that_move_between_documents_change_the_digest(tmp_path: Path) -> None:
    first = write_shard(tmp_path, [document(1, "ab"), document(2, "c")], "first.parquet")
    second = write_shard(tmp_path, [document(1, "a"), document(2, "bc")], "second.parquet")
    assert shard_digest(first) != shard_digest(second)


def test_shard_without_a_digest_in_it_is_read_for_one(tmp_path: Path) -> None:
    shard = write_shard(tmp_path, [document(1), document(2)])
    pq.write_table(pq.read_table(shard).cast(DOCUMENT).replace_schema_metadata(None), tmp_path / "plain.parquet")
    assert pq.read_schema(tmp_path / "plain.parquet").metadata is None
    assert shard_digest(tmp_path / "plain.parquet") == shard_digest(shard)


def test_rows_become_a_part_and_a_receipt_that_agree(tmp_path: Path) -> None:
    rows = [thought("a"), thought("b", status="rejected", reason="empty_text", num_tokens=0), thought("c")]
    receipt = write_part(tmp_path, "5a", "key-1", 0, rows, seconds=1.23456)
    assert keys(rows_of(tmp_path, receipt)) == [("a", 0), ("b", 0), ("c", 0)]
    assert (receipt.num_rows, receipt.num_ok, receipt.rejected) == (3, 2, {"empty_text": 1})
    assert (receipt.shard, receipt.generation, receipt.round, receipt.seconds) == ("5a", "key-1", 0, 1.235)
    assert read_receipts(tmp_path, "key-1") == {"5a": receipt}


def test_part_written_again_is_the_same_bytes(tmp_path: Path) -> None:
    first, again = ((tmp_path / name / make(tmp_path / name).part).read_bytes() for name in ("a", "b"))
    assert first == again


def test_receipt_is_written_after_its_part(tmp_path: Path) -> None:
    """Where the part cannot be put into its place there is no receipt."""
    part = make(tmp_path / "elsewhere").part
    (tmp_path / "here" / part).mkdir(parents=True)
    with pytest.raises(OSError):
        make(tmp_path / "here")
    assert not (tmp_path / "here" / "part-5a.json").exists()
    assert read_receipts(tmp_path / "here", "key-1") == {}


def test_rows_are_tallied_by_source() -> None:
    rows = [
        thought("a", num_tokens=20),
        thought("b", num_tokens=30),
        thought("c", status="rejected", reason="empty_thought", num_tokens=7),
        thought("d", source="law", domain="law", status="rejected", reason="engine_died", num_tokens=0),
    ]
    names = ("num_text_tokens", "num_prompt_tokens", "num_thought_tokens", "num_rejected_tokens")
    assert tally_rows(rows) == (
        Tally("law", "law", 0, {"engine_died": 1}, **dict(zip(names, (5, 9, 0, 0), strict=True))),
        Tally("web", "stem", 2, {"empty_thought": 1}, **dict(zip(names, (15, 27, 57, 7), strict=True))),
    )


ROWS = st.lists(
    st.builds(
        lambda source, reason, tokens: thought(
            source=source, reason=reason, status="rejected" if reason else "ok", num_tokens=tokens
        ),
        st.sampled_from(["web", "law"]),
        st.sampled_from(["", "empty_text", "engine_died"]),
        st.integers(0, 9),
    ),
    max_size=9,
)


@given(rows=ROWS)
def test_tallies_account_for_every_row_whatever_their_order(rows: list[dict[str, Any]]) -> None:
    tallies = tally_rows(rows)
    receipt = Receipt("part-5a-0123abcd.parquet", "5a", "key-1", 0, tallies, 1.0)
    assert receipt.num_rows == len(rows)
    assert receipt.rejected == Counter(row["reason"] for row in rows if row["reason"])
    assert sum(tally.num_thought_tokens for tally in tallies) == sum(row["num_thought_tokens"] for row in rows)
    rejected = [row["num_thought_tokens"] for row in rows if row["status"] == "rejected"]
    assert sum(tally.num_rejected_tokens for tally in tallies) == sum(rejected)
    assert [tally.source for tally in tallies] == sorted({row["source"] for row in rows})
    assert tally_rows(rows[::-1]) == tallies


@given(rows=ROWS, round_=st.integers(0, 3))
def test_receipt_is_read_as_it_was_written(rows: list[dict[str, Any]], round_: int) -> None:
    receipt = Receipt("part-5a-0123abcd.parquet", "5a", "key-1", round_, tally_rows(rows), 0.125)
    assert Receipt.from_json(receipt.to_json()) == receipt


def test_part_without_receipt_does_not_count(tmp_path: Path) -> None:
    make(tmp_path)
    (tmp_path / "part-5a.json").unlink()
    assert read_receipts(tmp_path, "key-1") == {}


def test_receipt_without_part_does_not_count(tmp_path: Path) -> None:
    (tmp_path / make(tmp_path).part).unlink()
    assert read_receipts(tmp_path, "key-1") == {}


def test_receipt_of_another_generation_does_not_count(tmp_path: Path) -> None:
    make(tmp_path, key="key-2")
    assert read_receipts(tmp_path, "key-1") == {}


def test_receipt_as_an_earlier_version_wrote_it_does_not_count(tmp_path: Path) -> None:
    """Its generation has another key, and its fields need not be today's."""
    receipt = make(tmp_path)
    earlier = {"part": receipt.part, "shard": "5a", "generation": "key-0", "num_ok": 1, "rejected": {}, "seconds": 1.0}
    (tmp_path / "part-5a.json").write_text(json.dumps(earlier), encoding="utf-8")
    assert read_receipts(tmp_path, "key-1") == {}


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"\xff", b"null", b"[]", b'"part"', b"{}", b'{"generation": "key-1", "part": "part-5a.parquet"}'],
    ids=["empty", "cut off", "not text", "null", "a list", "a string", "no fields", "too few fields"],
)
def test_receipt_that_cannot_be_read_counts_as_absent(tmp_path: Path, text: bytes) -> None:
    """As after a loss of power; the shard is done again, and its new receipt counts."""
    make(tmp_path, "5a")
    other = make(tmp_path, "6b")
    (tmp_path / "part-5a.json").write_bytes(text)
    assert read_receipts(tmp_path, "key-1") == read_receipts(tmp_path) == {"6b": other}
    again = make(tmp_path, "5a")
    assert read_receipts(tmp_path, "key-1") == {"5a": again, "6b": other}


def test_receipts_of_all_generations_are_read_where_none_is_named(tmp_path: Path) -> None:
    first, second = make(tmp_path, "5a", key="key-1"), make(tmp_path, "6b", key="key-2")
    assert read_receipts(tmp_path) == {"5a": first, "6b": second}


def test_folder_that_is_not_there_has_no_receipts(tmp_path: Path) -> None:
    assert read_receipts(tmp_path / "nowhere", "key-1") == {}


def test_part_is_named_by_its_shard_and_its_content(tmp_path: Path) -> None:
    receipt = make(tmp_path)
    content = hashlib.sha256((tmp_path / receipt.part).read_bytes()).hexdigest()
    assert receipt.part == f"part-5a-{content[:8]}.parquet"
    assert {file.name for file in tmp_path.iterdir()} == {receipt.part, "part-5a.json"}


def test_of_two_row_sets_for_a_shard_the_last_receipt_decides(tmp_path: Path) -> None:
    """Two engines had the shard at once: neither spoils the other's part, and the one that is not named goes."""
    first, last = make(tmp_path, thought="one"), make(tmp_path, thought="another")
    assert [rows_of(tmp_path, receipt)[0]["thought"] for receipt in (first, last)] == ["one", "another"]
    receipts = read_receipts(tmp_path, "key-1")
    assert receipts == {"5a": last}
    remove_unnamed(tmp_path, receipts.values())
    assert [file.name for file in tmp_path.glob("*.parquet")] == [last.part]


def test_part_of_a_later_round_takes_the_place_of_the_earlier(tmp_path: Path) -> None:
    """Until its receipt is written the earlier one counts; both parts are there."""
    first = make(tmp_path, status="rejected", reason="engine_died")
    second = make(tmp_path, round_=1)
    assert (tmp_path / first.part).exists()
    assert read_receipts(tmp_path, "key-1") == {"5a": second}
    assert rows_of(tmp_path, second)[0]["status"] == "ok"


def test_part_of_a_later_round_without_receipt_leaves_the_earlier_in_force(tmp_path: Path) -> None:
    first = make(tmp_path, status="rejected", reason="engine_died")
    second = make(tmp_path / "elsewhere", round_=1)
    (tmp_path / second.part).write_bytes((tmp_path / "elsewhere" / second.part).read_bytes())
    assert read_receipts(tmp_path, "key-1") == {"5a": first}


def test_parts_that_no_receipt_names_are_removed_and_nothing_else(tmp_path: Path) -> None:
    make(tmp_path, "5a", status="rejected", reason="engine_died")
    second, other = make(tmp_path, "5a", round_=1), make(tmp_path, "6b")
    (tmp_path / "progress.json").write_text("{}")
    remove_unnamed(tmp_path, [second, other])
    assert {file.name for file in tmp_path.iterdir()} == {
        *(second.part, "part-5a.json", other.part, "part-6b.json", "progress.json")
    }
    assert read_receipts(tmp_path, "key-1") == {"5a": second, "6b": other}


def test_finished_part_is_taken_over_from_a_folder_beside(tmp_path: Path) -> None:
    """The corpus grew by a shard: the stage has another fingerprint, the old shard's thoughts are there already."""
    receipt = make(tmp_path / "before", "5a")
    after = tmp_path / "after"
    after.mkdir()
    assert adopt_parts(after, ["5a", "6b"], "key-1") == {"5a": receipt}
    assert read_receipts(after, "key-1") == {"5a": receipt}
    assert (after / receipt.part).read_bytes() == (tmp_path / "before" / receipt.part).read_bytes()


def test_parts_are_taken_over_from_several_folders_beside_own_ones(tmp_path: Path) -> None:
    beside = [make(tmp_path / "a", "5a"), make(tmp_path / "b", "6b")]
    own = make(tmp_path / "c", "7c")
    assert adopt_parts(tmp_path / "c", ["5a", "6b", "7c"], "key-1") == {"5a": beside[0], "6b": beside[1], "7c": own}


def test_part_of_a_later_round_is_taken_over_as_such(tmp_path: Path) -> None:
    make(tmp_path / "before", status="rejected", reason="engine_died")
    second = make(tmp_path / "before", round_=1)
    (tmp_path / "after").mkdir()
    assert adopt_parts(tmp_path / "after", ["5a"], "key-1") == {"5a": second}
    assert {file.name for file in (tmp_path / "after").iterdir()} == {second.part, "part-5a.json"}


def test_of_several_folders_the_one_that_tried_most_often_gives_the_part(tmp_path: Path) -> None:
    """Whatever the order of their names."""
    made = {name: make(tmp_path / name, round_=round_, thought=name) for name, round_ in (("a", 1), ("b", 2), ("c", 0))}
    (tmp_path / "after").mkdir()
    assert adopt_parts(tmp_path / "after", ["5a"], "key-1") == {"5a": made["b"]}
    assert rows_of(tmp_path / "after", made["b"])[0]["thought"] == "b"
    assert {file.name for file in (tmp_path / "after").iterdir()} == {made["b"].part, "part-5a.json"}


def test_part_taken_over_outlives_the_folder_it_came_from(tmp_path: Path) -> None:
    receipt = make(tmp_path / "before")
    (tmp_path / "after").mkdir()
    adopt_parts(tmp_path / "after", ["5a"], "key-1")
    (tmp_path / "before" / receipt.part).unlink()
    assert pq.read_table(tmp_path / "after" / receipt.part).num_rows == 1


def test_nothing_else_is_taken_over(tmp_path: Path) -> None:
    """Not another generation's part, not a part without receipt, not a shard that nobody asked for."""
    before, after = tmp_path / "before", tmp_path / "after"
    make(before, "other-key", key="key-2")
    make(before, "unfinished")
    (before / "part-unfinished.json").unlink()
    make(before, "unasked")
    after.mkdir()
    (tmp_path / "notes.txt").write_text("no folder")
    assert adopt_parts(after, ["other-key", "unfinished"], "key-1") == {}
    assert list(after.iterdir()) == []


def test_own_part_comes_before_one_beside(tmp_path: Path) -> None:
    make(tmp_path / "a", thought="theirs")
    own = make(tmp_path / "b", thought="my own words")
    assert adopt_parts(tmp_path / "b", ["5a"], "key-1") == {"5a": own}
    assert rows_of(tmp_path / "b", own)[0]["thought"] == "my own words"


def test_own_part_that_nobody_asked_for_any_more_is_not_reported(tmp_path: Path) -> None:
    make(tmp_path / "a", "5a")
    own = make(tmp_path / "a", "6b")
    assert adopt_parts(tmp_path / "a", ["6b"], "key-1") == {"6b": own}
