"""Ray's token: whether it is asked for, where it is, and who else may read it; and who may reach the dashboard.

Whoever has it may run code on the cluster, and `ray get-auth-token --generate` leaves a file that everybody on the
machine can read.
"""

import ipaddress
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import psutil

from rcpt_ray.doctor.check import Check
from rcpt_ray.ray_token import token_source

DASHBOARD_PORT = 8265
_MAKE = "ray get-auth-token --generate > /dev/null && chmod 600 ~/.ray/auth_token"


def token_checks(needs_token: bool) -> Iterator[Check]:
    """Mode and token; `needs_token` says whether a cluster is joined that others started."""
    mode = os.environ.get("RAY_AUTH_MODE", "")
    if mode and mode.lower() not in ("token", "k8s"):
        fix = "unset RAY_AUTH_MODE, or set it to token on every machine of the cluster"
        yield Check("token", False, f"RAY_AUTH_MODE={mode}: whoever reaches Ray may run code on it", fix)
        return
    source = token_source()
    if source.file is None:
        yield Check("token", True, f"in {source.words}")
    else:
        yield _file_check(source.file, is_named=source.variable is not None, needs_token=needs_token)


def _file_check(file: Path, is_named: bool, needs_token: bool) -> Check:
    try:
        mode, has_content = stat.S_IMODE(file.stat().st_mode), bool(file.read_text(encoding="utf-8").strip())
    except FileNotFoundError:
        if is_named:
            fix = "put the cluster's token there, or unset RAY_AUTH_TOKEN_PATH"
            return Check("token", False, f"RAY_AUTH_TOKEN_PATH={file} does not exist", fix)
        found = f"no {file}" + ("" if needs_token else ": Ray makes one when it is first started here")
        return Check("token", not needs_token, found, f"copy the cluster's token there, or make one: {_MAKE}")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is no text"
        return Check("token", False, f"{file}: {reason}", f"see that you own it: sudo chown $USER {file}")
    if not has_content:
        return Check("token", False, f"{file} is empty, which ends Ray", f"remove it and make one: {_MAKE}")
    if mode & 0o077:
        return Check("token", False, f"others may read {file} (mode {mode:o})", f"chmod 600 {file}")
    return Check("token", True, f"{file}, for you alone")


def dashboard_checks() -> Iterator[Check]:
    """Whether a dashboard of this machine listens to other machines."""
    try:
        listeners = [one.laddr for one in psutil.net_connections("tcp") if one.status == psutil.CONN_LISTEN]
    except (psutil.AccessDenied, OSError):
        return
    hosts = sorted({place.ip for place in listeners if place.port == DASHBOARD_PORT})
    if hosts:
        yield listening_check(hosts)


def listening_check(hosts: list[str]) -> Check:
    """Whether the addresses that a dashboard listens on are this machine's own."""
    is_open = [host for host in hosts if not ipaddress.ip_address(host).is_loopback]
    # In Kubernetes other pods come by the service: who may is the namespace's NetworkPolicy.
    well = not is_open or "KUBERNETES_SERVICE_HOST" in os.environ
    fix = "start the head with --dashboard-host=127.0.0.1 and reach it by `ray dashboard cluster.yaml`"
    return Check("dashboard", well, f"listens on {', '.join(hosts)} port {DASHBOARD_PORT}", fix)
