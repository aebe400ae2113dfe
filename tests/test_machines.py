"""A stage goes to the machines that it names, and to no others: two nodes that differ in a custom resource."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from processes import PROJECT, free_port, group, wait_until
from ray_cluster import RAY, STARTED, ray_head

from rcpt_ray import cluster
from rcpt_ray.cluster import ClusterSpec
from rcpt_ray.errors import UserError

ASK = """
import json, ray
from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer
from rcpt_ray.cluster import of_machines
from rcpt_ray.pool_on_ray import run_on_pool
from rcpt_ray.thoughts.spec import PoolSpec

class Where:
    def __call__(self, batch):
        return {"node": [ray.get_runtime_context().get_node_id()], "failure": [""]}

def train():
    return ray.get_runtime_context().get_node_id()

ray.init(log_to_driver=False)
kinds = {node["NodeID"]: sorted(set(node["Resources"]) & {"synthesis", "training"}) for node in ray.nodes()}
seen = []
pool = PoolSpec(min_engines=2, max_engines=2, machines="synthesis", cpus_per_engine=0.5)
run_on_pool([{"item": str(n)} for n in range(8)], Where, {}, pool, lambda row: seen.append(kinds[row["node"]]))
scaling = ScalingConfig(num_workers=1, resources_per_worker={"CPU": 1} | of_machines("training"))
trained = TorchTrainer(train, scaling_config=scaling, torch_config=TorchConfig(backend="gloo")).fit().return_value
print(json.dumps([seen, kinds[trained]]))
"""


def test_sliver_of_a_resource_stands_for_the_machines() -> None:
    assert cluster.of_machines(None) == {}
    assert cluster.of_machines("training") == {"training": 0.001}


def test_machines_that_are_nowhere_are_told_unless_they_come_on_demand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray.cluster_resources", lambda: {"CPU": 8.0, "synthesis": 1.0})
    cluster.require("thoughts.pool", 1, 0, ClusterSpec(), "synthesis")
    cluster.require("training.num_workers", 1, 0, ClusterSpec(autoscales=True), "training")
    with pytest.raises(UserError, match="training.num_workers wants machines=training but no machine of the cluster"):
        cluster.require("training.num_workers", 1, 0, ClusterSpec(), "training")


@pytest.mark.slow
def test_engines_and_workers_run_on_the_machines_that_they_name(tmp_path: Path) -> None:
    """Each of the two nodes has room for both."""
    with ray_head(tmp_path, '--resources={"synthesis": 1}', dashboard=False) as head:
        environment = os.environ | head.environment | {"RAY_ADDRESS": head.address, "HOME": str(tmp_path)}
        wait_until(lambda: STARTED in (tmp_path / "head.log").read_text(), timeout_s=180)
        node = [RAY, "start", "--block", f"--address={head.address}", "--node-ip-address=127.0.0.1", "--num-cpus=2"]
        node += [f"--dashboard-agent-listen-port={free_port()}", "--object-store-memory=100000000"]
        log = tmp_path / "node.log"
        with group([*node, '--resources={"training": 1}'], environment, log) as process:
            wait_until(lambda: process.poll() is not None or STARTED in log.read_text(), timeout_s=180)
            assert process.poll() is None, log.read_text()
            ran = subprocess.run(
                [sys.executable, "-c", ASK],
                cwd=PROJECT,
                env=environment,
                capture_output=True,
                text=True,
                timeout=600,
                check=False,
            )
    assert ran.returncode == 0, ran.stderr[-3000:]
    engines, worker = json.loads(ran.stdout.splitlines()[-1])
    assert engines == [["synthesis"]] * 8
    assert worker == ["training"]
