"""The process group of the ranks, made at the addresses by which their nodes know each other.

gloo takes the address that a machine's own name resolves to, and where that is none (or, as on many systems,
127.0.0.1) the loopback's: ranks of two machines then wait for each other in vain. Ray knows each node by an address
that the others reach, so gloo is told of the interface that has it. NCCL is left to itself: it passes over loopback,
and may use several interfaces at once. Whoever sets GLOO_SOCKET_IFNAME on a machine is heard.
"""

import os
import socket
from typing import Any

import psutil
import ray.util
from ray.train.torch import TorchConfig

_INTERFACE = "GLOO_SOCKET_IFNAME"


class NodeAddressConfig(TorchConfig):
    """TorchConfig whose ranks meet at their nodes' addresses."""

    @property
    def backend_cls(self) -> type:
        """What Ray Train sets the ranks up with."""
        return _NodeAddressBackend


class _NodeAddressBackend(TorchConfig().backend_cls):  # type: ignore[misc]
    def on_start(self, worker_group: Any, backend_config: TorchConfig) -> None:
        # One machine's ranks meet on loopback, which stays when its network changes.
        if len(set(worker_group.execute(ray.util.get_node_ip_address))) > 1:
            worker_group.execute(use_address_of_node)
        super().on_start(worker_group, backend_config)


def use_address_of_node() -> None:
    """Have the gloo groups of this process use the interface with the node's address, where it has one."""
    interface = interface_with(ray.util.get_node_ip_address())
    if interface is not None:
        os.environ.setdefault(_INTERFACE, interface)


def interface_with(address: str) -> str | None:
    """The network interface of this machine that has an IP address, None where none has (as behind NAT)."""
    families = (socket.AF_INET, socket.AF_INET6)
    for name, addresses in psutil.net_if_addrs().items():
        if any(one.family in families and one.address.partition("%")[0] == address for one in addresses):
            return name
    return None
