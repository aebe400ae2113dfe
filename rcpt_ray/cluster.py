"""Where the stages run: the only place that starts or joins Ray, and what the cluster offers.

Inside `ray job submit` the job's cluster is used; otherwise `local` starts Ray for the length of the command, with
its own processes only, for nobody else (local_on_ray.py), and ends those. Starting takes about five seconds, so it
happens when the first stage that needs Ray begins.
"""

import contextlib
import os
import socket
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from rcpt_ray.errors import UserError
from rcpt_ray.settings import Machines, PositiveInt, Settings

if TYPE_CHECKING:
    from rcpt_ray.local_on_ray import LocalRay

_SLIVER = 0.001  # of one, so that a thousand fit on a machine; CPUs and GPUs are what counts
_OPEN = (
    "warning: the Ray of this command asks nobody for a token, so whoever reaches its ports can run code here; "
    "set RAY_AUTH_MODE=token (docs/security.md)"
)
_CONNECT_S = 5.0
_started = False
_local: "LocalRay | None" = None
_say: Callable[[str], object] = print


class ClusterSpec(Settings):
    """Where the stages run."""

    address: str = "local"
    """`local` starts Ray on this machine for the length of the command; `auto` or an address joins a running cluster.
    Inside `ray job submit` the job's own cluster is always used."""
    autoscales: bool = False
    """Whether the cluster brings up machines on demand, so that a stage may ask for more than is there now."""
    num_cpus: PositiveInt | None = None
    """CPUs that a local Ray may use; null takes the machine's."""
    cpu_machines: Machines = None
    """The machines for work that needs CPUs alone, which is corpora, the selection of thoughts and mixtures."""


def joined_address(spec: ClusterSpec) -> str | None:
    """The cluster that a command joins, None where it starts a Ray of its own."""
    address = os.environ.get("RAY_ADDRESS") or spec.address
    return None if address == "local" else address


def connect(spec: ClusterSpec) -> None:
    """Start or join Ray, once; UserError if the cluster of `cluster.address` cannot be joined."""
    global _started, _local
    import ray

    from rcpt_ray.local_on_ray import LocalRay, asks_for_token

    if ray.is_initialized():  # by us, or by Ray, where this is a process of its own
        _set_data_context()
        return
    # A worker that takes long to import its libraries on a busy machine is not a dead worker.
    os.environ.setdefault("RAY_worker_register_timeout_seconds", "300")
    address = joined_address(spec)
    if address is None:
        _local = LocalRay(spec.num_cpus)
    else:
        _join(address)
    _started = True
    if not asks_for_token():
        _say(_OPEN)
    _set_data_context()


def _join(address: str) -> None:
    import ray
    from ray._private.services import canonicalize_bootstrap_address

    from rcpt_ray.local_on_ray import take_token

    # Ray itself asks an address at which nobody listens for many minutes.
    found = canonicalize_bootstrap_address(address)
    refused = refusal(found) if found else "no Ray is up on this machine"
    if refused:
        raise UserError(f"cluster.address={address}: {refused}; start one or set cluster.address=local")
    take_token()
    try:
        ray.init(address=address)
    except ConnectionError:  # Ray 2.60 says no more than this to who has another token
        raise UserError(
            f"cluster.address={address}: no Ray cluster answers there, or none that knows this token; start one, set "
            "cluster.address=local, or ask rcpt doctor RECIPE"
        ) from None
    except ray.exceptions.AuthenticationError:
        raise UserError(
            f"cluster.address={address} asks for a token and there is none here; copy the head's ~/.ray/auth_token "
            "(mode 600), or set RAY_AUTH_TOKEN_PATH to it"
        ) from None
    except RuntimeError as error:
        if "ersion mismatch" not in str(error):
            raise
        versions = " ".join(str(error).split())
        raise UserError(
            f"cluster.address={address} runs other versions ({versions}); install the same here and there"
        ) from None


def refusal(address: str) -> str:
    """Why nothing listens at host:port, in seconds; nothing where it does or where the address has no such form."""
    host, separator, port = address.rpartition(":")
    if not separator or not port.isdecimal() or "/" in host:
        return ""
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_S).close()
    except OSError as error:
        return f"nothing answers at {address} ({error.strerror or error})"
    return ""


def _set_data_context() -> None:
    import ray

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    # A shard of long thoughts, or a machine that is slow to come, may take longer than Ray Data's half hour, and a pool
    # begins with the engines that are there, however long the others take.
    context.execution_no_progress_timeout_s = -1
    context.wait_for_min_actors_s = -1


@contextlib.contextmanager
def session(say: Callable[[str], object] = print) -> Iterator[None]:
    """At its end, leave or stop what `connect` joined or started inside the block; `say` hears of warnings."""
    global _started, _local, _say
    _say = say
    try:
        yield
    finally:
        if _local is not None:
            _local.stop()
        elif _started:
            import ray

            ray.shutdown()
        _started, _local, _say = False, None, print


def of_machines(machines: str | None) -> dict[str, float]:
    """What Ray is asked for besides CPUs and GPUs: a sliver of the custom resource that only those machines have."""
    return {} if machines is None else {machines: _SLIVER}


def require(setting: str, cpus: float, gpus: float, spec: ClusterSpec, machines: str | None = None) -> None:
    """UserError unless the cluster has so many CPUs and GPUs and such machines, or autoscales; call after `connect`."""
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
    if machines is not None and not total.get(machines):
        raise UserError(
            f"{setting} wants machines={machines} but no machine of the cluster has a custom resource of that name; "
            f"start one with `ray start --resources='{{\"{machines}\": 1}}'`, or leave machines out"
        )
