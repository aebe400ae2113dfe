"""How long the workers wait for each other, and what is told when that was in vain.

DeepSpeed makes process groups of its own, and torch gives these its default (30 minutes for gloo, 10 for NCCL) whatever
the first group was started with.
"""

import contextlib
from collections.abc import Iterator
from datetime import timedelta


class CollectiveTimeout(RuntimeError):
    """Another worker did not take part in a collective for too long."""


def limit_waits(timeout_s: float) -> None:
    """Have a collective of any process group fail after `timeout_s`; call it when all groups have been made.

    With gloo the call raises; with NCCL a watchdog ends the process.
    """
    from torch.distributed import distributed_c10d

    for group in list(distributed_c10d._world.pg_map):
        distributed_c10d._set_pg_timeout(timedelta(seconds=timeout_s), group)


@contextlib.contextmanager
def named_waits(timeout_s: float) -> Iterator[None]:
    """Inside the block, a wait in vain is a CollectiveTimeout instead of a line of gloo's sources."""
    try:
        yield
    except RuntimeError as error:
        if "Timed out waiting" not in str(error):
            raise
        raise CollectiveTimeout(
            f"another worker gave no answer for training.collective_timeout_s={timeout_s:g}; "
            "it hangs or cannot be reached"
        ) from error
