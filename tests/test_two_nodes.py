"""A cluster of nodes with addresses of their own; one is cut off in the middle of the work, without a word.

Each node has one CPU, so that two ranks, and two engines, are on two nodes.
"""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from network_hosts import Host, network_of_hosts
from processes import PROJECT, group, wait_until
from ray_cluster import token_environment
from run_folder import manifests, only_folder
from synthesis_runs import assert_each_row_once, receipts, synthesis_of, write_corpus

from rcpt_ray.training.attempt import ATTEMPTS
from rcpt_ray.training.row_file import Row, read_rows
from rcpt_ray.training.saved import latest_checkpoint

RECIPE = str(PROJECT / "jobs" / "recipes" / "tiny.yaml")
TRAINING = (
    "thoughts.engine=fake",
    "thoughts.pool={cpus_per_engine: 0.5}",
    "training.num_epochs=20",
    "training.checkpoint_every_steps=2",
    "report.baseline=reasoning",
    "arms={reasoning: {}}",
)
RANK = "RayTrainWorker"
PATIENT = {
    "RAY_worker_register_timeout_seconds": "300",
    "RAY_agent_register_timeout_ms": "300000",
    "RAY_worker_niceness": "0",
}
"""What lets a cluster come up beside other tests: time, and workers that are not nicer than all else."""


@dataclass(frozen=True)
class Cluster:
    """A head on the first host; the others join when they are asked to."""

    hosts: list[Host]
    environment: dict[str, str]
    log: Path

    @property
    def address(self) -> str:
        return f"{self.hosts[0].address}:6379"

    def join(self, host: Host) -> None:
        host.start_ray(self.environment, f"--address={self.address}", "--num-cpus=1")

    @contextlib.contextmanager
    def rcpt(self, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        """A command on the head's host; it must be done with the block, and well."""
        words = [sys.executable, "-m", "rcpt_ray", *arguments, f"cluster.address={self.address}"]
        with group(self.hosts[0].command(words), self.environment, self.log) as process:
            yield process
            process.wait(timeout=1500)
            assert process.returncode == 0, self.log.read_text()

    def until(self, condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
        """Wait for what is to happen while a command is under way."""
        wait_until(lambda: condition() or process.poll() is not None, timeout_s=1200)
        assert process.poll() is None, self.log.read_text()


@contextlib.contextmanager
def cluster_of(num_hosts: int, folder: Path) -> Iterator[Cluster]:
    """A cluster of two nodes, with a token, and hosts for more."""
    environment = os.environ | token_environment(folder) | PATIENT
    environment.pop("RAY_ADDRESS", None)
    with network_of_hosts(num_hosts, folder) as hosts:
        cluster = Cluster(hosts, environment, folder / "rcpt.log")
        hosts[0].start_ray(environment, "--head", "--port=6379", "--num-cpus=1", "--include-dashboard=false")
        cluster.join(hosts[1])
        yield cluster


def attempts_of(run: Path) -> list[Row]:
    """The attempts at the only training, none before it has begun."""
    return [row for file in run.glob(f"training/*/{ATTEMPTS}") for row in read_rows(file)]


def steps_saved(run: Path) -> int:
    return max((latest_checkpoint(folder) or 0 for folder in run.glob("training/*/checkpoints")), default=0)


def assert_same_training(one: Path, other: Path) -> None:
    """Model and losses to the bit."""
    assert manifests(one, "training")[0].output_digest == manifests(other, "training")[0].output_digest
    losses = [pq.read_table(only_folder(run, "training") / "steps.parquet")["loss"] for run in (one, other)]
    assert losses[0].equals(losses[1])


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run as it should come out, on two nodes that stay."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with cluster_of(2, folder) as cluster, cluster.rcpt("train", RECIPE, f"run={folder / 'run'}", *TRAINING):
        pass
    return folder / "run"


MEET = """
import sys
from datetime import timedelta
import torch
from rcpt_ray.training.process_group_on_ray import use_address_of_node

use_address_of_node()
own = int(sys.argv[1])
torch.distributed.init_process_group(
    "gloo", init_method="tcp://198.51.100.1:7000", rank=own, world_size=2, timeout=timedelta(seconds=120)
)
total = torch.tensor([own + 1])
torch.distributed.all_reduce(total)
assert total.item() == 3
"""


def test_process_groups_meet_at_the_addresses_of_their_hosts(tmp_path: Path) -> None:
    """By the machine's own name, which is the loopback's on many, each would look for the other on itself."""
    with network_of_hosts(2, tmp_path) as hosts:
        ranks = [
            subprocess.Popen(host.command([sys.executable, "-c", MEET, str(rank)])) for rank, host in enumerate(hosts)
        ]
        assert [rank.wait(timeout=240) for rank in ranks] == [0, 0]


@pytest.mark.slow
def test_the_ranks_of_a_training_are_on_two_nodes(undisturbed: Path) -> None:
    (attempt,) = attempts_of(undisturbed)
    assert len(set(attempt["nodes"])) == 2
    (manifest,) = manifests(undisturbed, "training")
    assert (manifest.details["num_nodes"], manifest.details["num_attempts"]) == (2, 1)


@pytest.mark.slow
@pytest.mark.parametrize("successor", ["a new node", "the same node"])
def test_training_goes_on_after_a_node_is_cut_off(tmp_path: Path, undisturbed: Path, successor: str) -> None:
    run = tmp_path / "run"
    with cluster_of(3, tmp_path) as cluster, cluster.rcpt("train", RECIPE, f"run={run}", *TRAINING) as process:
        lost = cluster.hosts[1]
        cluster.until(lambda: steps_saved(run) >= 4, process)
        lost.unplug()
        cut_s, num_saved = time.time(), steps_saved(run)
        (rank,) = lost.processes(RANK)
        if successor == "a new node":
            cluster.join(cluster.hosts[2])
        else:
            cluster.until(lambda: not lost.processes("raylet"), process)
            print(f"the node that was cut off gave itself up after {time.time() - cut_s:.0f} s")
            lost.plug_in()
            cluster.join(lost)
        cluster.until(lambda: len(attempts_of(run)) > 1, process)
        outlived = "still lived" if rank in lost.processes(RANK) else "had ended"
        again = attempts_of(run)[1]
        print(f"on {successor}, from the cut to the steps that follow: {again['time_s'] - cut_s:.0f} s")
        print(f"of {num_saved} steps saved {again['steps_done']} were gone on from; the lost rank {outlived} then")
    first, second = attempts_of(run)
    assert second["steps_done"] >= num_saved
    assert len(set(second["nodes"])) == 2
    assert len(set(first["nodes"]) | set(second["nodes"])) == 3
    assert_same_training(undisturbed, run)


@pytest.mark.slow
def test_a_node_that_is_away_for_ten_seconds_costs_no_attempt(tmp_path: Path, undisturbed: Path) -> None:
    run = tmp_path / "run"
    with cluster_of(2, tmp_path) as cluster, cluster.rcpt("train", RECIPE, f"run={run}", *TRAINING) as process:
        cluster.until(lambda: steps_saved(run) >= 4, process)
        cluster.hosts[1].unplug()
        back_s = time.monotonic() + 10
        cluster.until(lambda: time.monotonic() > back_s, process)
        num_saved = steps_saved(run)
        cluster.hosts[1].plug_in()
    assert num_saved < manifests(run, "training")[0].details["num_steps"]
    assert len(attempts_of(run)) == 1
    assert_same_training(undisturbed, run)


@pytest.mark.slow
def test_synthesis_goes_on_after_a_node_is_cut_off(tmp_path: Path) -> None:
    run, corpus = tmp_path / "run", tmp_path / "corpus.jsonl"
    num_documents, shard_documents = 2_000, 50
    write_corpus(corpus, num_documents)
    _, *overrides = synthesis_of(
        run,
        corpus,
        f"corpus.shard_documents={shard_documents}",
        "thoughts.engine=fake",
        "thoughts.fake.delay_s=5.0",
        "thoughts.pool={max_engines: 2, cpus_per_engine: 0.8, shards_in_flight: 2}",
    )
    with cluster_of(2, tmp_path) as cluster, cluster.rcpt("synthesize", RECIPE, *overrides) as process:
        lost = cluster.hosts[1]
        cluster.until(lambda: len(receipts(run)) >= 4 and bool(lost.processes("EngineActor")), process)
        lost.unplug()
        cut_s, num_done = time.time(), len(receipts(run))
    more_s, num_shards = time.time() - cut_s, num_documents // shard_documents
    print(f"{num_done} of {num_shards} shards were done at the cut; the others took {more_s:.0f} s more")
    in_flight = 2 * 2 * shard_documents
    assert_each_row_once(run, num_documents, num_again_at_most=2 * in_flight)
