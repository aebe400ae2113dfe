"""Best-fit-decreasing packing of documents into rows of T tokens.

Longest first, each document goes into the open row with the least space that still holds it. No document is split
unless it is longer than T; then its pieces of T tokens are documents of their own with positions from 0.
Best-fit decreasing as in Ding et al., arXiv 2404.10830. Price: O(N log R) for N documents and R rows; the token
arrays of all documents are in memory.
"""

from bisect import bisect_left, insort
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from rcpt_ray.mixture.tokenize import TokenizedDocument
from rcpt_ray.records import PACKED_ROW, PADDING


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


def split_long(documents: Sequence[TokenizedDocument], row_tokens: int) -> list[TokenizedDocument]:
    """The documents, those longer than a row cut into pieces of at most `row_tokens`."""
    return [
        TokenizedDocument(
            document.doc_id, document.ids_N[start : start + row_tokens], document.kinds_N[start : start + row_tokens]
        )
        for document in documents
        for start in range(0, len(document), row_tokens)
    ]


def pack(documents: Sequence[TokenizedDocument], row_tokens: int, padding_id: int) -> pa.Table:
    """Packed rows (records.PACKED_ROW) that hold every token of the documents once."""
    pieces = split_long(documents, row_tokens)
    columns: dict[str, list[object]] = {name: [] for name in PACKED_ROW.names}
    for row in assign_rows([len(piece) for piece in pieces], row_tokens):
        input_ids_T = np.full(row_tokens, padding_id, np.int32)
        position_ids_T = np.zeros(row_tokens, np.int32)
        segment_kind_T = np.full(row_tokens, PADDING, np.int8)
        segment_id_T = np.full(row_tokens, len(row), np.int32)
        start = 0
        for segment, index in enumerate(row):
            piece = pieces[index]
            here = slice(start, start + len(piece))
            input_ids_T[here], segment_kind_T[here] = piece.ids_N, piece.kinds_N
            position_ids_T[here], segment_id_T[here] = np.arange(len(piece)), segment
            start += len(piece)
        position_ids_T[start:] = np.arange(row_tokens - start)
        doc_ids = [pieces[index].doc_id for index in row]
        row_values = (input_ids_T, position_ids_T, segment_kind_T, segment_id_T, doc_ids)
        for name, values in zip(PACKED_ROW.names, row_values, strict=True):
            columns[name].append(values)
    return pa.table(columns, schema=PACKED_ROW)
