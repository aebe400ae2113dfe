"""The order of the rows in an epoch: blocks of neighbours in random order, and random order within a block.

    N rows, blocks of K: rows 0 1 2 3 4 5 6 7 with K = 3, turned by 2     [2 3 4] [5 6 7] [0 1]
    blocks in random order, the short one last                            [5 6 7] [2 3 4] [0 1]
    rows in random order within each                                       6 5 7   3 2 4   1 0

A mixture's rows are in random order already; what is drawn here makes epochs differ from each other, and each epoch is
turned by another number, so that blocks begin elsewhere. Rows that are read one after the other lie within K of each
other, so few pieces of the files are looked at. Every row stands once in an epoch. Price: 8 bytes a block.
"""

from functools import lru_cache

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.int64]


def rows_between(seed: int, epoch: int, first: int, stop: int, num_rows: int, block_rows: int) -> Rows:
    """The rows at places first to stop (excluded) of an epoch, int64[stop - first]; a place alone decides its row."""
    assert 0 <= first <= stop <= num_rows
    turn, blocks = _blocks(seed, epoch, num_rows, block_rows)
    found = [np.empty(0, np.int64)]
    while first < stop:
        place = first // block_rows
        begin, end = place * block_rows, min((place + 1) * block_rows, num_rows)
        block = int(blocks[place]) if place < len(blocks) else place
        within = _within(seed, epoch, block, end - begin)[first - begin : min(stop, end) - begin]
        found.append((turn + block * block_rows + within) % num_rows)
        first = min(stop, end)
    return np.concatenate(found)


@lru_cache(maxsize=4)
def _blocks(seed: int, epoch: int, num_rows: int, block_rows: int) -> tuple[int, Rows]:
    """By how much the epoch is turned, and its whole blocks in their order."""
    random = np.random.default_rng([seed, epoch])
    return int(random.integers(num_rows)), random.permutation(num_rows // block_rows)


@lru_cache(maxsize=16)
def _within(seed: int, epoch: int, block: int, size: int) -> Rows:
    # A seed of zeros at its end is the shorter seed, so blocks count from 1 here.
    return np.random.default_rng([seed, epoch, block + 1]).permutation(size)
