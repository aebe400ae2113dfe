"""Packing documents into rows of T tokens, best-fit decreasing or end to end.

    P pieces (documents, or parts of those that are split), R rows of T tokens, N tokens in all

Best-fit: longest first, each document goes into the open row with the least space that still holds it; none is split
unless it is longer than T. Concatenate: one after the other, split where a row ends. A split document's pieces are
documents of their own with positions from 0. Best-fit decreasing as in Ding et al., arXiv 2404.10830. Price:
O(P log R); the tokens of the documents, and one chunk of rows, are in memory.
"""

from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rcpt_ray.records import PACKED_ROW, PADDING

Array = npt.NDArray[np.int64]
_CHUNK_TOKENS = 2**20


@dataclass(frozen=True)
class Documents:
    """Tokenized documents in their order; document d has tokens starts[d] to starts[d+1]."""

    doc_ids: Sequence[str]
    ids_N: npt.NDArray[np.int32]
    kinds_N: npt.NDArray[np.int8]
    starts: Array
    """int64[D + 1]"""


@dataclass(frozen=True)
class Pieces:
    """What is put into rows whole: parts of documents by their first token and length."""

    document_P: Array
    start_P: Array
    length_P: Array


def assign_rows(lengths: Sequence[int], row_tokens: int) -> list[list[int]]:
    """Rows as lists of indices into `lengths`, none longer than `row_tokens` in all.

    >>> assign_rows([5, 3, 4, 2], row_tokens=7)
    [[0, 3], [2, 1]]
    """
    assert all(0 < length <= row_tokens for length in lengths)
    rows: list[list[int]] = []
    open_rows: list[tuple[int, int]] = []
    """(space left, -row): sorted; of rows with equal space the latest comes first."""
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        place = bisect_left(open_rows, (lengths[index], -len(rows)))
        if place == len(open_rows):
            space, row = row_tokens, len(rows)
            rows.append([])
        else:
            space, negative_row = open_rows.pop(place)
            row = -negative_row
        rows[row].append(index)
        if space > lengths[index]:
            insort(open_rows, (space - lengths[index], -row))
    return rows


def cut_pieces(starts: Array, row_tokens: int, concatenate: bool) -> Pieces:
    """Documents as pieces of at most `row_tokens`; to concatenate, also cut wherever a row ends."""
    begin, total = int(starts[0]), int(starts[-1])
    if concatenate:
        extra = np.arange(begin, total, row_tokens)
    else:
        long_L = np.flatnonzero(np.diff(starts) > row_tokens)
        extra = np.concatenate(
            [np.empty(0, np.int64), *(np.arange(starts[d], starts[d + 1], row_tokens) for d in long_L)]
        )
    bounds = np.union1d(starts, extra).astype(np.int64)
    start_P, length_P = bounds[:-1], np.diff(bounds)
    return Pieces(np.searchsorted(starts, start_P, side="right") - 1, start_P, length_P)


def pack(
    documents: Documents, row_tokens: int, padding_id: int, seed: Sequence[int], concatenate: bool = False
) -> Iterator[pa.Table]:
    """Packed rows (records.PACKED_ROW) that hold every token of the documents once, in an order drawn by `seed`."""
    if not len(documents.ids_N):
        return
    pieces = cut_pieces(documents.starts, row_tokens, concatenate)
    if concatenate:
        row_P = np.cumsum(pieces.length_P) - pieces.length_P
        split = np.flatnonzero(np.diff(row_P // row_tokens)) + 1
        rows = [part.tolist() for part in np.split(np.arange(len(row_P)), split)]
    else:
        rows = assign_rows(pieces.length_P.tolist(), row_tokens)
    order = np.random.default_rng(list(seed)).permutation(len(rows))
    padded = _with_padding(documents, row_tokens, padding_id)
    per_chunk = max(1, _CHUNK_TOKENS // row_tokens)
    for first in range(0, len(rows), per_chunk):
        yield _rows_table(padded, pieces, [rows[row] for row in order[first : first + per_chunk]], row_tokens)


def rows_of(documents: Documents, rows: Sequence[Sequence[int]], row_tokens: int, padding_id: int) -> pa.Table:
    """Packed rows (records.PACKED_ROW) given as lists of documents, which fit into them whole."""
    pieces = cut_pieces(documents.starts, row_tokens, concatenate=False)
    return _rows_table(_with_padding(documents, row_tokens, padding_id), pieces, rows, row_tokens)


def _with_padding(documents: Documents, row_tokens: int, padding_id: int) -> Documents:
    """The documents with a row of padding behind their tokens."""
    return replace(
        documents,
        ids_N=np.append(documents.ids_N, np.full(row_tokens, padding_id, np.int32)),
        kinds_N=np.append(documents.kinds_N, np.full(row_tokens, PADDING, np.int8)),
    )


def _rows_table(documents: Documents, pieces: Pieces, rows: Sequence[Sequence[int]], row_tokens: int) -> pa.Table:
    """Rows given as indices of pieces; what a row has left is padding, with positions and a segment of its own.

    Padding counts as one more piece of each row, taken from the row of padding that stands after the documents' tokens:
    then the rows are all pieces one after the other, and nothing has to be put into its place.
    """
    num_rows, num_tokens = len(rows), int(documents.starts[-1])
    num_pieces_R = np.array([len(row) for row in rows])
    piece_Q = np.fromiter((piece for row in rows for piece in row), np.int64)  # Q pieces in these rows
    last_R = np.cumsum(num_pieces_R + 1) - 1  # where the padding of each row stands among the pieces and it
    is_piece_S = np.ones(len(piece_Q) + num_rows, np.bool_)
    is_piece_S[last_R] = False
    # A chunk and a window have fewer than 2^31 tokens, and half the bytes are moved in half the time.
    length_S, start_S = np.zeros(len(is_piece_S), np.int32), np.full(len(is_piece_S), num_tokens, np.int32)
    length_S[is_piece_S], start_S[is_piece_S] = pieces.length_P[piece_Q], pieces.start_P[piece_Q]
    first_R = last_R - num_pieces_R
    length_S[last_R] = row_tokens - np.add.reduceat(length_S, first_R)
    before_S = np.cumsum(length_S, dtype=np.int32) - length_S
    within_N = np.arange(num_rows * row_tokens, dtype=np.int32) - np.repeat(before_S, length_S)
    source_N = within_N + np.repeat(start_S, length_S)
    segment_S = np.arange(len(length_S), dtype=np.int32) - np.repeat(first_R, num_pieces_R + 1).astype(np.int32)
    names = [documents.doc_ids[document] for document in pieces.document_P[piece_Q]]
    flat = (
        documents.ids_N[source_N],
        within_N,
        documents.kinds_N[source_N],
        np.repeat(segment_S, length_S),
    )
    offsets = pa.array(np.arange(num_rows + 1) * row_tokens, pa.int32())
    columns = [pa.ListArray.from_arrays(offsets, pa.array(each)) for each in flat]
    ends = pa.array(np.append(0, np.cumsum(num_pieces_R)), pa.int32())
    return pa.table([*columns, pa.ListArray.from_arrays(ends, pa.array(names, pa.string()))], schema=PACKED_ROW)
