"""How long the workers wait for each other.

DeepSpeed makes process groups of its own, and torch gives these its default (30 minutes for gloo, 10 for NCCL) whatever
the first group was started with.
"""

from datetime import timedelta


def limit_waits(timeout_s: float) -> None:
    """Have a collective of any process group fail after `timeout_s`; call it when all groups have been made.

    With gloo the call raises; with NCCL a watchdog ends the process.
    """
    from torch.distributed import distributed_c10d

    for group in list(distributed_c10d._world.pg_map):
        distributed_c10d._set_pg_timeout(timedelta(seconds=timeout_s), group)
