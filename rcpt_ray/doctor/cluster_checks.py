"""The cluster that a recipe joins: is it there, does it want a token, and are its machines like this one.

Ray is asked in a process of its own (`on_ray.py`): with a wrong token or another version it ends its process or waits.
Price: the start of a worker on each machine; machines that are not up are not waited for.
"""

import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rcpt_ray.artifacts import run_path
from rcpt_ray.cache import cache_folder
from rcpt_ray.cluster import joined_address, refusal
from rcpt_ray.doctor.check import Check
from rcpt_ray.doctor.elsewhere import NoAnswer, ask
from rcpt_ray.doctor.storage import MAX_SKEW_S, existing
from rcpt_ray.doctor.token import listening_check
from rcpt_ray.recipe import Recipe

_ANSWER_S = 150.0
_REACH = (
    "start one with `ray up cluster.yaml`, run this on its head (`ray exec cluster.yaml ...`), or set "
    "cluster.address=local"
)


def cluster_checks(recipe: Recipe) -> Iterator[Check]:
    """Nothing to say where Ray is started here; else reach, token, versions, machines, shared folders, clocks."""
    address = joined_address(recipe.cluster)
    if address is None:
        yield Check("cluster", True, "none: Ray is started here for the length of a command")
        return
    refused = refusal(address)
    if refused:
        yield Check("cluster", False, f"cluster.address={address}: {refused}", _REACH)
        return
    with _Marks(run_path(recipe.run), cache_folder()) as marks:
        try:
            told = ask("rcpt_ray.doctor.on_ray", address, *marks.files, timeout_s=_ANSWER_S)
        except NoAnswer as error:
            yield Check("cluster", False, f"cluster.address={address}: {error}", _REACH)
            return
        yield from judge(address, told, marks.content, recipe)


def judge(address: str, told: dict[str, Any], content: str, recipe: Recipe) -> Iterator[Check]:
    """What the machines of a cluster told, as checks; `content` is that of the files they should have seen."""
    if "failure" in told:
        fix = told.get("fix") or _REACH
        yield Check("cluster", False, f"cluster.address={address}: {told['failure']}", fix)
        return
    nodes: list[dict[str, Any]] = told["nodes"]
    resources = ", ".join(f"{value:g} {name}" for name, value in sorted(told["resources"].items()))
    yield Check("cluster", True, f"{len(nodes)} machines up at {address}: {resources or 'no CPUs or GPUs now'}")
    yield _open_check(told["answer_without_token"])
    if told["dashboard_host"]:
        yield listening_check([told["dashboard_host"]])
    for node in nodes:
        yield from _node_checks(node, told["here"], content)
    yield from _machine_checks(told["resources"], recipe)


def _open_check(status: int | None) -> Check:
    """Whether a request without the token was refused; None where the dashboard could not be asked."""
    fix = "start every node with RAY_AUTH_MODE=token and one token file (docs/cluster.md)"
    match status:
        case None:
            return Check("cluster's token", True, "not asked: the dashboard is reached from the head alone")
        case 401 | 403:
            return Check("cluster's token", True, "who has none is refused")
        case _:
            return Check("cluster's token", False, f"a request without one was answered ({status})", fix)


def _node_checks(node: dict[str, Any], here: dict[str, Any], content: str) -> Iterator[Check]:
    name = f"machine {node['ip']}"
    if "failure" in node:
        yield Check(name, False, node["failure"], "look at its logs (`ray logs cluster`), or take it down")
        return
    different = [
        f"{package} {node['versions'].get(package)} (here {version})"
        for package, version in here["versions"].items()
        if node["versions"].get(package) != version
    ]
    if different:
        fix = "install the same versions on it: requirements/gpu.txt, or the same image"
        yield Check(name, False, ", ".join(different), fix)
    unseen = [f"{file['folder']} ({file['setting']})" for file in node["files"] if file["content"] != content]
    if unseen:
        fix = "mount the same shared disk there on every machine, and put both folders on it"
        yield Check(name, False, f"does not see what was written to {' and '.join(unseen)}", fix)
    if abs(node["skew_s"]) > MAX_SKEW_S:
        fix = "turn time synchronization on there: sudo timedatectl set-ntp true"
        yield Check(name, False, f"its clock is {node['skew_s']:+.0f} s off", fix)
    if node["shm_gib"] is not None and node["shm_gib"] < node["store_gib"]:
        fix = "give the machine or container a /dev/shm of that size, else objects go to its disk"
        found = f"/dev/shm of {node['shm_gib']:.1f} GiB is smaller than its object store, {node['store_gib']:.1f}"
        yield Check(name, False, found, fix)
    if not different and not unseen:
        cards = ", ".join(dict.fromkeys(node["cards"])) or "none seen"
        gpus = f"{node['gpus']:g} GPUs ({cards}), " if node["gpus"] else ""
        yield Check(name, True, f"{gpus}same versions, sees run folder and cache")
    if node["gpus"] and len(node["cards"]) < node["gpus"]:
        fix = "see to its NVIDIA driver, or start it with fewer --num-gpus"
        yield Check(name, False, f"Ray counts {node['gpus']:g} GPUs but its driver shows {len(node['cards'])}", fix)


def _machine_checks(resources: dict[str, float], recipe: Recipe) -> Iterator[Check]:
    """Whether machines that the recipe names are there, where none come on demand."""
    if recipe.cluster.autoscales:
        return
    named = {"evaluation.machines": recipe.evaluation.machines}
    named["evaluation.pool.machines"] = recipe.evaluation.pool.machines
    for arm in recipe.arms:
        settings = recipe.arm_settings(arm)
        named["thoughts.pool.machines"] = settings.thoughts.pool.machines
        named["training.machines"] = settings.training.machines
    for setting, machines in named.items():
        if machines is not None and machines not in resources:
            fix = f"start one with `ray start --resources='{{\"{machines}\": 1}}'`, or leave the setting out"
            yield Check(setting, False, f"no machine has the custom resource {machines}", fix)


class _Marks:
    """A file in the run folder and one in the cache (or above them) for machines to look for."""

    def __init__(self, run: Path, cache: Path) -> None:
        self._folders = {"run": existing(run), "RCPT_CACHE": existing(cache)}
        self.content = uuid.uuid4().hex
        self.files: list[str] = []
        """SETTING=FILE"""
        self._held: list[tempfile.TemporaryDirectory[str]] = []

    def __enter__(self) -> "_Marks":
        for setting, folder in self._folders.items():
            try:
                self._held.append(tempfile.TemporaryDirectory(prefix=".doctor-", dir=folder))
            except OSError:
                continue  # said by the storage checks
            place = Path(self._held[-1].name)
            place.chmod(0o755)  # workers may be other users of a shared disk
            (place / "mark").write_text(self.content, encoding="utf-8")
            self.files.append(f"{setting}={place / 'mark'}")
        return self

    def __exit__(self, *_: object) -> None:
        for folder in self._held:
            folder.cleanup()
