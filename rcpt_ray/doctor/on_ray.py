"""What the machines of a cluster say of themselves, as JSON.

`python -m rcpt_ray.doctor.on_ray ADDRESS SETTING=FILE ...`, the files being those that every machine should see. A task
on every machine that is up, the head too: it asks for no CPUs and imports the standard library alone, so it runs where
packages are missing.
"""

import json
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rcpt_ray.cluster import refusal

_TASK_S = 120.0
_CLOCK_S = 30.0
"""For a worker that is warm."""
_COPY_TOKEN = "copy the head's ~/.ray/auth_token here (mode 600), or set RAY_AUTH_TOKEN_PATH to it"
_PACKAGES = ("ray", "torch", "transformers", "vllm", "deepspeed", "rcpt-ray")


def ask_cluster(address: str, files: Sequence[str]) -> dict[str, Any]:
    """Resources, machines with what each says, and what the dashboard answers to who has no token."""
    import ray
    from ray._private.services import canonicalize_bootstrap_address

    found = canonicalize_bootstrap_address(address)
    if found is None:
        return {"failure": "no Ray is up on this machine"}
    if refused := refusal(found):
        return {"failure": refused}
    try:
        context = ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except ConnectionError:
        # Something listens there: to a client with another token Ray 2.60 says no more than this.
        return {"failure": f"what listens at {found} lets nobody in with this token, or is no Ray", "fix": _COPY_TOKEN}
    except ray.exceptions.AuthenticationError as error:
        return {"failure": f"the token is not taken ({_first_line(error)})", "fix": _COPY_TOKEN}
    except RuntimeError as error:  # Python or Ray of another version
        return {"failure": " ".join(str(error).split()), "fix": "use the versions of requirements/ on both sides"}
    task = ray.remote(num_cpus=0, max_retries=0)(describe_node)
    answers = {}
    for node in ray.nodes():
        if node["Alive"]:
            there = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            answers[task.options(scheduling_strategy=there).remote(list(files), _PACKAGES)] = node
    ready, _ = ray.wait(list(answers), num_returns=len(answers), timeout=_TASK_S)
    nodes = [_node(reference, node, reference in ready, files) for reference, node in answers.items()]
    kinds = {name: amount for name, amount in ray.cluster_resources().items() if not _is_of_ray(name)}
    dashboard = context.dashboard_url
    return {
        "nodes": nodes,
        "resources": kinds,
        "here": {"versions": describe_node([], _PACKAGES)["versions"]},
        "dashboard_host": dashboard.rpartition(":")[0].strip("[]") if dashboard else "",
        "answer_without_token": _status(f"http://{dashboard}/api/jobs/") if dashboard else None,
    }


def describe_node(files: Sequence[str], packages: Sequence[str]) -> dict[str, Any]:
    """Versions, time, room for objects, cards of the driver, and the content of files, on the machine where it runs."""
    import platform
    import shutil
    import subprocess
    import time
    from importlib import metadata
    from pathlib import Path

    versions = {"Python": platform.python_version()}
    for package in packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    contents = []
    for file in files:
        try:
            contents.append(Path(file.partition("=")[2]).read_text(encoding="utf-8"))
        except OSError:
            contents.append("")
    cards: list[str] = []
    tool = shutil.which("nvidia-smi")
    if tool is not None:
        query = [tool, "--query-gpu=name", "--format=csv,noheader"]
        told = subprocess.run(query, capture_output=True, text=True, timeout=60, check=False)
        cards = told.stdout.splitlines() if told.returncode == 0 else []
    shm = shutil.disk_usage("/dev/shm").total / 2**30 if Path("/dev/shm").is_dir() else None
    return {"versions": versions, "contents": contents, "time_s": time.time(), "cards": cards, "shm_gib": shm}


def _node(reference: Any, node: dict[str, Any], is_ready: bool, files: Sequence[str]) -> dict[str, Any]:
    """What one machine said, beside what Ray knows of it."""
    import ray

    known = {"ip": node["NodeManagerAddress"], "gpus": node["Resources"].get("GPU", 0)}
    known["store_gib"] = node["Resources"].get("object_store_memory", 0) / 2**30
    if not is_ready:
        return known | {"failure": f"no task ran on it within {_TASK_S:.0f} s"}
    try:
        said = ray.get(reference, timeout=_TASK_S)
        skew_s = _skew_s(node["NodeID"])
    except ray.exceptions.RayError as error:
        return known | {"failure": _first_line(error)}
    marks = zip(files, said.pop("contents"), strict=True)
    said["files"] = [
        {"setting": setting, "folder": str(Path(path).parents[1]), "content": content}
        for (setting, _, path), content in ((file.partition("="), content) for file, content in marks)
    ]
    return known | said | {"skew_s": skew_s}


def _skew_s(node_id: str) -> float:
    """How far its clock is ahead of ours: outside of the seconds between question and answer, from a warm worker."""
    import ray

    there = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node_id, soft=False)
    task = ray.remote(num_cpus=0, max_retries=0, scheduling_strategy=there)(lambda: time.time())
    asked_s = time.time()
    said_s = float(ray.get(task.remote(), timeout=_CLOCK_S))
    return min(0.0, said_s - asked_s) or max(0.0, said_s - time.time())


def _status(url: str) -> int | None:
    """The status that a request without a token gets, None where nothing answers."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return int(error.code)
    except OSError:
        return None


def _is_of_ray(name: str) -> bool:
    return name in ("memory", "object_store_memory") or name.startswith(("node:", "accelerator_type"))


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"


if __name__ == "__main__":
    said = ask_cluster(sys.argv[1], sys.argv[2:])
    print(json.dumps(said))
