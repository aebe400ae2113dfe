"""What `rcpt doctor` says of a cluster: from what its machines told, and on a real one with a token."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import ray
from processes import PROJECT, free_port, wait_until
from ray_cluster import ray_head
from test_doctor import assert_wants, recipe_of

from rcpt_ray.doctor import on_ray
from rcpt_ray.doctor.check import Check
from rcpt_ray.doctor.cluster_checks import cluster_checks, judge

MARK = "a mark"
VERSIONS = {"Python": "3.11.7", "ray": "2.60.0", "torch": "2.13.0"}


def node(**changed: Any) -> dict[str, Any]:
    files = [{"setting": "run", "folder": "/shared/runs", "content": MARK}]
    files += [{"setting": "RCPT_CACHE", "folder": "/shared/cache", "content": MARK}]
    known = {"ip": "10.0.0.7", "gpus": 1.0, "cards": ["NVIDIA L40S"], "store_gib": 4.0, "shm_gib": 16.0}
    return known | {"versions": VERSIONS, "files": files, "skew_s": 0.0} | changed


def judged(tmp_path: Path, *nodes: dict[str, Any], **changed: Any) -> list[Check]:
    told = {
        "nodes": list(nodes),
        "resources": {"CPU": 8.0, "GPU": 1.0},
        "here": {"versions": VERSIONS},
        "dashboard_host": "127.0.0.1",
        "answer_without_token": 401,
    }
    return list(judge("auto", told | changed, MARK, recipe_of(tmp_path)))


def bad(checks: list[Check]) -> Check:
    (check,) = [one for one in checks if not one.well]
    return check


def test_cluster_in_order_has_a_line_for_each_machine(tmp_path: Path) -> None:
    checks = judged(tmp_path, node(), node(ip="10.0.0.8", gpus=0, cards=[]))
    assert all(check.well for check in checks)
    assert [check.found for check in checks[-2:]] == [
        "1 GPUs (NVIDIA L40S), same versions, sees run folder and cache",
        "same versions, sees run folder and cache",
    ]


@pytest.mark.parametrize(
    ("changed", "found", "fix"),
    [
        ({"versions": VERSIONS | {"ray": "2.59.0"}}, "ray 2.59.0 (here 2.60.0)", "requirements/gpu.txt"),
        ({"skew_s": -42.0}, "its clock is -42 s off", "set-ntp"),
        ({"shm_gib": 0.1}, "/dev/shm of 0.1 GiB is smaller than its object store, 4.0", "/dev/shm of that size"),
        ({"cards": []}, "Ray counts 1 GPUs but its driver shows 0", "driver"),
        ({"failure": "no task ran on it within 120 s"}, "no task ran", "logs"),
    ],
)
def test_machine_that_differs_is_told(tmp_path: Path, changed: dict[str, Any], found: str, fix: str) -> None:
    assert_wants(bad(judged(tmp_path, node(), node(**changed))), found, fix)


def test_machine_that_mounts_another_disk_is_told(tmp_path: Path) -> None:
    files = [{"setting": "run", "folder": "/shared/runs", "content": ""}]
    check = bad(judged(tmp_path, node(files=files)))
    assert_wants(check, "does not see what was written to /shared/runs (run)", "mount the same shared disk")


def test_cluster_that_answers_without_a_token_is_told(tmp_path: Path) -> None:
    assert_wants(bad(judged(tmp_path, node(), answer_without_token=200)), "was answered (200)", "RAY_AUTH_MODE=token")


def test_machines_that_a_recipe_names_must_be_there(tmp_path: Path) -> None:
    told = {"nodes": [], "resources": {}, "here": {}, "dashboard_host": "", "answer_without_token": None}
    named = recipe_of(tmp_path, "training.machines=training")
    check = bad(list(judge("auto", told, MARK, named)))
    assert check.name == "training.machines"
    assert_wants(check, "no machine has the custom resource training", "--resources='{\"training\": 1}'")
    on_demand = recipe_of(tmp_path, "training.machines=training", "cluster.autoscales=true")
    assert all(one.well for one in judge("auto", told, MARK, on_demand))


def test_address_where_nobody_listens_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    address = f"127.0.0.1:{free_port()}"
    check = bad(list(cluster_checks(recipe_of(tmp_path, f"cluster.address={address}"))))
    assert_wants(check, f"nothing answers at {address}", "ray up cluster.yaml")


def test_machine_that_dies_while_its_clock_is_asked_breaks_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray is asked for what can never be had, within no time."""
    monkeypatch.setattr(on_ray, "_CLOCK_S", 0.0)
    ray.init(address="local", num_cpus=1, include_dashboard=False)
    try:
        gone = {"NodeID": "a" * 56, "NodeManagerAddress": "10.0.0.9", "Resources": {}}
        told = on_ray._node(ray.put({"contents": []}), gone, is_ready=True, files=[])
    finally:
        ray.shutdown()
    assert told["ip"] == "10.0.0.9" and told["failure"]


@pytest.mark.slow
def test_real_cluster_with_the_token_without_it_and_with_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same command three times; whoever has no right token learns so and sees nothing."""
    recipe_of(tmp_path)
    with ray_head(tmp_path) as head:
        environment = head.environment | {"RCPT_CACHE": str(tmp_path / "cache"), "RAY_ADDRESS": head.address}
        wait_until(lambda: "Ray runtime started" in (tmp_path / "head.log").read_text(), timeout_s=180)
        (tmp_path / "other").write_text("1" * 64)
        (tmp_path / "other").chmod(0o600)
        ours = told_of_cluster(tmp_path, environment)
        others = told_of_cluster(tmp_path, environment | {"RAY_AUTH_TOKEN_PATH": str(tmp_path / "other")})
    assert [line[:3] for line in ours] == ["ok "] * 4, ours
    assert "who has none is refused" in ours[1] and "sees run folder and cache" in ours[3]
    assert others[0].startswith("FIX  cluster") and "token" in others[0]
    # The head is gone now.
    (gone,) = told_of_cluster(tmp_path, environment)
    assert gone.startswith("FIX  cluster") and "nothing answers" in gone


def told_of_cluster(folder: Path, environment: dict[str, str]) -> list[str]:
    """The doctor's last lines, about the cluster."""
    command = [sys.executable, "-m", "rcpt_ray", "doctor", str(folder / "recipe.yaml")]
    ran = subprocess.run(
        command, cwd=PROJECT, env=os.environ | environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert "Traceback" not in ran.stdout + ran.stderr
    lines = ran.stdout.splitlines()
    return lines[next(number for number, line in enumerate(lines) if line[5:].startswith("cluster ")) :]
