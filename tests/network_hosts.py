"""Hosts with addresses of their own on one machine: network namespaces around a switch that can be unplugged.

    host 1 (198.51.100.1) --+
    host 2 (198.51.100.2) --+-- switch: a bridge in a namespace of its own
    host 3 (198.51.100.3) --+

A host shares this machine's files but for /tmp/ray, where Ray keeps its sockets, and /etc/hosts, which names the others
because there is no name server to ask. The machine's own name goes on to mean what it does, often 127.0.0.1.

A host that is unplugged is cut off without a word: its cable's other end leads nowhere, so what is sent is neither
delivered nor refused, and its neighbours' addresses are known for good, so that ARP does not tell either. Its processes
go on.

Namespaces bear this process's id, nothing is put into the machine's own network, and they are removed at the block's
end with every process in them. Needs root and iproute2; tests skip where these are missing.
"""

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from processes import wait_until
from ray_cluster import RAY

_RAY_FOLDER = Path("/tmp/ray")
_NAMES = Path("/etc/hosts")
_BRIDGE = "bridge"
_TRIES = 4


@dataclass(frozen=True)
class Host:
    """One of the hosts."""

    namespace: str
    address: str
    switch: str
    port: str
    folder: Path

    def command(self, words: Sequence[str]) -> list[str]:
        """A command as it runs on this host, in the process that it is started in."""
        # `ip netns exec` gives it mounts of its own too.
        script = f'mount --bind "$0/ray" {_RAY_FOLDER} && mount --bind "$0/hosts" {_NAMES} && exec "$@"'
        return ["ip", "netns", "exec", self.namespace, "sh", "-c", script, str(self.folder), *words]

    def start_ray(self, environment: Mapping[str, str], *options: str) -> None:
        """`ray start` with further options; what it starts goes on until the host ends."""
        words = [
            RAY,
            "start",
            f"--node-ip-address={self.address}",
            "--disable-usage-stats",
            "--object-store-memory=200000000",
            *options,
        ]
        log = self.folder / "ray-start.log"
        # Ray gives a node 30 seconds to come up, whatever it is told, which a busy machine may not manage.
        for _ in range(_TRIES):
            with log.open("ab") as output:
                done = subprocess.run(
                    self.command(words), env=environment, stdout=output, stderr=output, timeout=400, check=False
                )
            if done.returncode == 0:
                return
            self.end_processes()
        raise AssertionError(log.read_text())

    def unplug(self) -> None:
        """Cut the host off, silently."""
        _ip("-n", self.switch, "link", "set", self.port, "nomaster")

    def plug_in(self) -> None:
        """Connect it again."""
        _ip("-n", self.switch, "link", "set", self.port, "master", _BRIDGE)

    def processes(self, name: str = "") -> list[int]:
        """Ids of the host's processes whose command line holds `name`."""
        ids = [int(line) for line in _ip("netns", "pids", self.namespace).split()]
        return [process_id for process_id in ids if name in _command_line(process_id)]

    def end_processes(self) -> None:
        """Kill all that runs on the host."""

        def none_is_left() -> bool:
            left = self.processes()
            for process_id in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process_id, signal.SIGKILL)
            return not left

        wait_until(none_is_left, timeout_s=60)


@contextlib.contextmanager
def network_of_hosts(number: int, folder: Path) -> Iterator[list[Host]]:
    """So many hosts that reach each other; what they keep to themselves is in `folder`. Skips where it cannot be."""
    if os.geteuid() != 0:
        pytest.skip("hosts with addresses of their own need root, for network namespaces")
    if shutil.which("ip") is None:
        pytest.skip("hosts with addresses of their own need iproute2's `ip`")
    _RAY_FOLDER.mkdir(exist_ok=True)
    prefix = f"rcpt-{os.getpid()}"
    switch, made = f"{prefix}-switch", list[str]()
    hosts = [
        Host(f"{prefix}-{place}", f"198.51.100.{place}", switch, f"port{place}", folder / f"host-{place}")
        for place in range(1, number + 1)
    ]
    try:
        for namespace in (switch, *(host.namespace for host in hosts)):
            try:
                _ip("netns", "add", namespace)
            except subprocess.CalledProcessError as error:
                pytest.skip(f"network namespaces cannot be made here: {error.stderr.strip()}")
            made.append(namespace)
        _connect(switch, hosts)
        yield hosts
    finally:
        for host in hosts:
            if host.namespace in made:
                host.end_processes()
        for namespace in made:
            _ip("netns", "del", namespace)


def _connect(switch: str, hosts: Sequence[Host]) -> None:
    _ip("-n", switch, "link", "add", _BRIDGE, "type", "bridge")
    _ip("-n", switch, "link", "set", _BRIDGE, "up")
    names = "".join(f"{host.address} {host.namespace}\n" for host in hosts)
    for host in hosts:
        (host.folder / "ray").mkdir(parents=True)
        (host.folder / "hosts").write_text(_NAMES.read_text() + names)
        ends = ["link", "add", host.port, "netns", switch, "type", "veth", "peer", "eth0", "netns", host.namespace]
        _ip(*ends)
        _ip("-n", switch, "link", "set", host.port, "up")
        host.plug_in()
        inside = ["-n", host.namespace]
        _ip(*inside, "link", "set", "lo", "up")
        _ip(*inside, "link", "set", "eth0", "address", _hardware_address(host), "up")
        _ip(*inside, "address", "add", f"{host.address}/24", "dev", "eth0")
        # Leads nowhere, but a program that asks which address it has to the outside finds this one.
        _ip(*inside, "route", "add", "default", "dev", "eth0")
        for other in hosts:
            if other != host:
                to_other = [other.address, "lladdr", _hardware_address(other), "nud", "permanent", "dev", "eth0"]
                _ip(*inside, "neighbour", "replace", *to_other)


def _hardware_address(host: Host) -> str:
    return f"02:00:00:00:00:{int(host.address.rpartition('.')[2]):02x}"


def _ip(*words: str) -> str:
    return subprocess.run(["ip", *words], capture_output=True, text=True, check=True).stdout


def _command_line(process_id: int) -> str:
    try:
        return Path(f"/proc/{process_id}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except (FileNotFoundError, ProcessLookupError):
        return ""
