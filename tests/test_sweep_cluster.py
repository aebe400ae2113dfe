"""After a sweep on a cluster that others use too, nothing of it is left there, with the dashboard on and off."""

import json
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from processes import rcpt, wait_until
from ray_cluster import ray_head
from test_sweep_run import results_of, write_recipe

_USE_RAY_DATA = """
import ray
class Same:
    def __call__(self, batch):
        return batch
ray.init(address="{address}", log_to_driver=False)
ray.data.range(2).map_batches(Same, compute=ray.data.ActorPoolStrategy(size=1)).materialize()
"""
_LOOK = """
import json, ray, time
ray.init(address="{address}", log_to_driver=False)
end = time.monotonic() + 60
while ray.available_resources().get("CPU") != ray.cluster_resources()["CPU"] and time.monotonic() < end:
    time.sleep(0.5)
groups = [one for one in ray.util.placement_group_table().values() if one["state"] != "REMOVED"]
print(json.dumps({{"free": ray.available_resources()["CPU"], "all": ray.cluster_resources()["CPU"], "groups": groups}}))
"""


@pytest.mark.slow
@pytest.mark.parametrize("dashboard", [True, False])
def test_no_group_actor_or_process_is_left_behind(dashboard: bool, tmp_path: Path) -> None:
    file = write_recipe(
        tmp_path,
        {
            # Two trials are refused, one fails, one goes well.
            "space": {
                "training.learning_rate": {"values": [0.001, 0.9]},
                "mixture.num_tokens": {"values": [2000, 10_000_000]},
            },
            "add_baselines": False,
        },
        training={"global_batch_rows": 2, "num_workers": 1, "num_epochs": 20, "schedule": "constant"},
    )
    with ray_head(tmp_path, dashboard=dashboard) as head, pytest.MonkeyPatch.context() as patched:
        patched.delenv("RAY_ADDRESS", raising=False)
        for name, value in head.environment.items():
            patched.setenv(name, value)
        look = [sys.executable, "-c", _LOOK.format(address=head.address)]

        def answers() -> bool:
            return subprocess.run(look, capture_output=True, timeout=120, check=False).returncode == 0

        wait_until(answers, timeout_s=120)
        # Ray Data leaves actors of its own for the whole cluster, whoever uses it first.
        subprocess.run([sys.executable, "-c", _USE_RAY_DATA.format(address=head.address)], check=True, timeout=120)
        before = _working(head.process_id)
        command = rcpt("sweep", str(file), f"cluster.address={head.address}", timeout_s=900)
        assert command.returncode == 1, command.stdout + command.stderr
        left = json.loads(subprocess.check_output(look, timeout=120).splitlines()[-1])
        busy = _working(head.process_id) - before
    statuses = sorted(result.status for result in results_of(tmp_path / "run").values())
    assert statuses == ["failed", "ok", "refused", "refused"], command.stdout + command.stderr
    assert left["free"] == left["all"] and left["groups"] == [], left
    assert {name for _, name in busy} == set()


def _working(head: int) -> set[tuple[int, str]]:
    """Processes of tasks and actors on a cluster, those of Ray itself included, by id and name."""
    named = [
        (child.pid, " ".join(child.cmdline()).strip())
        for child in psutil.Process(head).children(recursive=True)
        if child.status() != psutil.STATUS_ZOMBIE
    ]
    return {(pid, name) for pid, name in named if name.startswith("ray::") and "IDLE" not in name}
