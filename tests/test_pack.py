"""Packing loses, invents and repeats no token, whatever the rows."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rcpt_ray.mixture.pack import Documents, pack
from rcpt_ray.records import PACKED_ROW, PADDING

FIRST = 1000


def documents_of(lengths: Sequence[int]) -> Documents:
    """Documents in which no token occurs twice; a token's kind is 1 to 4 by its number."""
    ids = np.arange(FIRST, FIRST + sum(lengths), dtype=np.int32)
    starts = np.append(0, np.cumsum(lengths)).astype(np.int64)
    return Documents([f"d{n}" for n in range(len(lengths))], ids, (ids % 4 + 1).astype(np.int8), starts)


def packed_table(lengths: Sequence[int], row_tokens: int, concatenate: bool = False, seed: int = 5) -> pa.Table:
    return pa.concat_tables(pack(documents_of(lengths), row_tokens, 7, [seed, 0], concatenate))


PACKINGS: dict[str, Any] = {
    "lengths": st.lists(st.integers(1, 60), min_size=1, max_size=30),
    "row_tokens": st.integers(16, 32),
    "concatenate": st.booleans(),
}


@settings(max_examples=100, deadline=None)
@given(**PACKINGS)
def test_no_token_is_lost_invented_or_repeated_and_each_keeps_its_kind(
    lengths: list[int], row_tokens: int, concatenate: bool
) -> None:
    rows = packed_table(lengths, row_tokens, concatenate).to_pydict()
    ids, kinds = np.array(rows["input_ids"]), np.array(rows["segment_kind"])
    assert ids.shape == kinds.shape == (len(ids), row_tokens)
    assert sorted(ids[kinds != PADDING]) == list(range(FIRST, FIRST + sum(lengths)))
    assert (kinds == np.where(ids == 7, PADDING, ids % 4 + 1)).all()


@settings(max_examples=100, deadline=None)
@given(**PACKINGS)
def test_each_piece_is_a_document_of_its_own_from_position_0(
    lengths: list[int], row_tokens: int, concatenate: bool
) -> None:
    """Best-fit splits only what is longer than a row, into pieces as long as they can be."""
    documents = documents_of(lengths)
    pieces: dict[str, list[list[int]]] = {doc_id: [] for doc_id in documents.doc_ids}
    for row in packed_table(lengths, row_tokens, concatenate).to_pylist():
        segments = np.array(row["segment_id"])
        assert (np.diff(segments) >= 0).all()
        for segment, doc_id in enumerate(row["doc_ids"]):
            here = np.flatnonzero(segments == segment)
            assert np.array(row["position_ids"])[here].tolist() == list(range(len(here)))
            pieces[doc_id].append(np.array(row["input_ids"])[here].tolist())
        padding = np.flatnonzero(segments == len(row["doc_ids"]))
        assert padding.tolist() == np.flatnonzero(np.array(row["segment_kind"]) == PADDING).tolist()
        assert np.array(row["position_ids"])[padding].tolist() == list(range(len(padding)))
    for number, doc_id in enumerate(documents.doc_ids):
        whole, length = sorted(pieces[doc_id]), lengths[number]
        start = documents.starts[number]
        assert [token for piece in whole for token in piece] == documents.ids_N[start : start + length].tolist()
        if not concatenate:
            assert [len(piece) for piece in whole] == [
                min(row_tokens, length - first) for first in range(0, length, row_tokens)
            ]


def test_concatenation_pads_only_the_last_row() -> None:
    rows = packed_table([5, 30, 7, 7, 16, 1, 50], 16, concatenate=True)
    assert len(rows) == -(-116 // 16)
    kinds = np.array(rows["segment_kind"].to_pylist())
    assert (kinds == PADDING).any(axis=1).sum() == 1


def test_packing_is_the_same_every_time_and_another_seed_orders_the_rows_anew() -> None:
    lengths = [5, 30, 7, 7, 16, 1, 50] * 3
    first, second, other = (packed_table(lengths, 16, seed=seed) for seed in (5, 5, 6))
    assert first.equals(second)
    assert first.schema.equals(PACKED_ROW)
    by_ids = [sorted(map(str, table.to_pylist())) for table in (first, other)]
    assert by_ids[0] == by_ids[1]
    assert not first.equals(other)


def test_rows_of_several_chunks_are_those_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = [5, 30, 7, 7, 16, 1, 50] * 3
    whole = packed_table(lengths, 16)
    monkeypatch.setattr("rcpt_ray.mixture.pack._CHUNK_TOKENS", 32)
    assert packed_table(lengths, 16).equals(whole)


@pytest.mark.parametrize(("mean_log", "num_documents", "row_tokens"), [(5.0, 3000, None), (5.0, 40_000, 32_768)])
def test_padding_is_under_two_percent_where_a_row_holds_eight_documents(
    mean_log: float, num_documents: int, row_tokens: int | None
) -> None:
    """The bound that the design gives, on lengths as they are in a corpus; also in rows of 32k."""
    lengths = np.random.default_rng(3).lognormal(mean_log, 0.6, num_documents).astype(int).clip(1, 4000)
    row_tokens = row_tokens or int(8 * lengths.mean())
    num_rows = sum(len(table) for table in pack(documents_of(lengths.tolist()), row_tokens, 7, [5, 0]))
    assert num_rows * row_tokens < 1.02 * lengths.sum()


def test_nothing_to_pack_gives_no_rows() -> None:
    assert list(pack(documents_of([]), 16, 7, [1])) == []
