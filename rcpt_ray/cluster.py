"""The only place that starts Ray, and what the cluster offers.

Inside `ray job submit` the job's cluster is used; otherwise `local` starts Ray for the length of the command, with
its own processes only, and ends those. Starting takes about five seconds, so it happens when the first stage that
needs Ray begins.
"""

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rcpt_ray.errors import UserError

if TYPE_CHECKING:
    from rcpt_ray.recipe import ClusterSpec

_LOCAL_OBJECT_STORE_BYTES = 2**30
_started = False


def connect(spec: "ClusterSpec") -> None:
    """Start or join Ray, once; UserError if the cluster of `cluster.address` is not there."""
    global _started
    import ray

    if ray.is_initialized():  # by us, or by Ray, where this is a process of its own
        _set_data_context()
        return
    # A worker that takes long to import its libraries on a busy machine is not a dead worker.
    os.environ.setdefault("RAY_worker_register_timeout_seconds", "300")
    if "RAY_ADDRESS" in os.environ or spec.address != "local":
        address = os.environ.get("RAY_ADDRESS", spec.address)
        try:
            ray.init(address=address)
        except ConnectionError:
            raise UserError(
                f"cluster.address={address}: no Ray cluster answers there; start one or set cluster.address=local"
            ) from None
    else:
        ray.init(
            address="local",
            num_cpus=spec.num_cpus,
            include_dashboard=False,
            object_store_memory=_LOCAL_OBJECT_STORE_BYTES,
        )
    _started = True
    _set_data_context()


def _set_data_context() -> None:
    import ray

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    # A shard of long thoughts, or a machine that is slow to come, may take longer than Ray Data's half hour, and a pool
    # begins with the engines that are there, however long the others take.
    context.execution_no_progress_timeout_s = -1
    context.wait_for_min_actors_s = -1


@contextlib.contextmanager
def session() -> Iterator[None]:
    """At its end, leave or stop what `connect` joined or started inside the block."""
    global _started
    try:
        yield
    finally:
        if _started:
            import ray

            ray.shutdown()
            _started = False


def require(setting: str, cpus: float, gpus: float, spec: "ClusterSpec") -> None:
    """UserError unless the cluster has so many CPUs and GPUs, or autoscales; call after `connect`."""
    import ray

    if spec.autoscales:
        return
    total = ray.cluster_resources()
    for name, wanted in (("CPU", cpus), ("GPU", gpus)):
        if wanted > total.get(name, 0):
            raise UserError(
                f"{setting} asks for {wanted:g} {name}s but the cluster has {total.get(name, 0):g}; "
                "ask for less, or set cluster.autoscales=true where machines come on demand"
            )
