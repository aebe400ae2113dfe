"""How items are grouped into blocks of a dataset: one a block, unless there are very many.

A block costs Ray Data's driver a millisecond of CPU and 3 to 7 KiB of memory before anything is done, and some
milliseconds more when its task ends (Ray 2.60, `from_items`, on a busy machine: benchmarks/README.md). So of very many
items the first share blocks, and those that come last have one each: a pool ends with small pieces, which hides its
tail.

    >>> block_ends(3)
    [1, 2, 3]
    >>> block_ends(8, most=6)
    [2, 4, 5, 6, 7, 8]
"""

MOST_BLOCKS = 10_000


def block_ends(num_items: int, most: int = MOST_BLOCKS) -> list[int]:
    """Where each block ends among the items, in order; at most `most` (at least 2) blocks.

    The last half of `most` blocks hold one item each wherever the first half cannot hold one each too.
    """
    if num_items <= most:
        return list(range(1, num_items + 1))
    num_shared = most // 2
    num_alone = most - num_shared
    together = num_items - num_alone
    per_block, more = divmod(together, num_shared)
    ends = [number * per_block + min(number, more) for number in range(1, num_shared + 1)]
    return ends + list(range(together + 1, num_items + 1))
