"""A real autoscaler on one machine: nodes come when a stage asks for them, are replaced when lost, and go after it."""

import contextlib
import os
import random
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from autoscaling_cluster import Cluster, autoscaling_cluster
from processes import group, start_rcpt, wait_until
from ray_cluster import RAY, ray_head
from run_folder import assert_adds_up, manifests, only_folder
from synthesis_runs import assert_each_row_once, receipts, synthesis_of, write_corpus

from rcpt_ray.thoughts.meter import read_meters
from rcpt_ray.training.saved import latest_checkpoint

FAKE = ["thoughts.engine=fake", "thoughts.fake.delay_s=1.0"]


@contextlib.contextmanager
def clients_of(environment: Mapping[str, str]) -> Iterator[None]:
    """The commands that are started meanwhile have the token of a cluster."""
    with pytest.MonkeyPatch.context() as patched:
        patched.delenv("RAY_ADDRESS", raising=False)
        for name, value in environment.items():
            patched.setenv(name, value)
        yield


def on(cluster: Cluster, max_engines: int, shards_in_flight: int = 2) -> list[str]:
    """Settings of a pool of engines with a GPU each."""
    pool = {"max_engines": max_engines, "gpus_per_engine": 1, "shards_in_flight": shards_in_flight}
    return [f"cluster.address={cluster.address}", "cluster.autoscales=true", f"thoughts.pool={pool}"]


def end_of(process: subprocess.Popen[str], timeout_s: float = 900) -> str:
    """The output of a command that must end well."""
    output, _ = process.communicate(timeout=timeout_s)
    assert process.returncode == 0, output
    return output


def kill_a_node(cluster: Cluster, process: subprocess.Popen[str], drawn: random.Random, node_type: str = "") -> None:
    """Kill one node of a command that still runs, and wait until there are as many as before."""
    nodes = cluster.nodes(node_type)
    assert process.poll() is None, "the command ended before a node could be killed"
    lost = drawn.choice(nodes)
    cluster.kill_node(lost)
    wait_until(
        lambda: (
            process.poll() is not None
            or (len(now := cluster.nodes(node_type)) == len(nodes) and lost.pid not in {one.pid for one in now})
        ),
        300,
    )
    assert process.poll() is None, "the command ended before the node was replaced"


def assert_nothing_is_left(cluster: Cluster) -> None:
    """Nobody asks for anything any more, well before a request lapses by itself after three minutes; the nodes go."""
    wait_until(lambda: cluster.demands() == [], 60)
    cluster.wait_for_nodes(0)


def test_a_pool_brings_its_machines_up_together_and_leaves_none(tmp_path: Path) -> None:
    write_corpus(tmp_path / "corpus.jsonl", 60)
    with autoscaling_cluster(tmp_path, max_nodes=2, idle_s=4) as cluster, clients_of(cluster.environment):
        assert cluster.nodes() == []
        arguments = synthesis_of(
            tmp_path / "run", tmp_path / "corpus.jsonl", "corpus.shard_documents=2", *FAKE, *on(cluster, max_engines=2)
        )
        process = start_rcpt("synthesize", *arguments)
        try:
            cluster.wait_for_nodes(2)
            end_of(process)
        finally:
            process.kill()
        assert cluster.launches_before_first() == 2
        assert_nothing_is_left(cluster)
    assert_each_row_once(tmp_path / "run", 60, num_again_at_most=0)
    (manifest,) = manifests(tmp_path / "run", "thoughts")
    engines = read_meters(only_folder(tmp_path / "run", "thoughts"))
    assert all(engine.num_rows for engine in engines) and len(engines) == 2
    assert manifest.details["first_engine_s"] > 0


@pytest.mark.slow
def test_nodes_killed_in_the_middle_are_replaced_and_the_ledger_adds_up(tmp_path: Path) -> None:
    write_corpus(tmp_path / "corpus.jsonl", 1_200)
    drawn = random.Random(7)
    with autoscaling_cluster(tmp_path) as cluster, clients_of(cluster.environment):
        run = tmp_path / "run"
        arguments = synthesis_of(
            run, tmp_path / "corpus.jsonl", "corpus.shard_documents=5", *FAKE, *on(cluster, max_engines=3)
        )
        process = start_rcpt("synthesize", *arguments)
        try:
            cluster.wait_for_nodes(3)
            for target in (20, 60, 100):
                wait_until(lambda target=target: len(receipts(run)) >= target or process.poll() is not None, 300)
                before = receipts(run)
                kill_a_node(cluster, process, drawn)
            end_of(process)
        finally:
            process.kill()
        assert cluster.launches_before_first() == 3
        assert_nothing_is_left(cluster)
    after = receipts(run)
    assert {path: after[path] for path in before} == before, "a finished shard was made again"
    assert_each_row_once(run, 1_200, num_again_at_most=3 * 2 * 5)


@pytest.mark.slow
def test_vllm_on_three_machines_of_which_one_is_lost(tmp_path: Path) -> None:
    write_corpus(tmp_path / "corpus.jsonl", 240)
    with autoscaling_cluster(tmp_path) as cluster, clients_of(cluster.environment):
        run = tmp_path / "run"
        arguments = synthesis_of(
            run,
            tmp_path / "corpus.jsonl",
            "corpus.shard_documents=4",
            "thoughts.sampling.max_thought_tokens=400",
            "thoughts.select.min_thought_tokens=0",
            *on(cluster, max_engines=3),
        )
        process = start_rcpt("synthesize", *arguments)
        try:
            wait_until(lambda: _engines_of_vllm(cluster) == 3 or process.poll() is not None, 1200)
            wait_until(lambda: len(receipts(run)) >= 6 or process.poll() is not None, 900)
            kill_a_node(cluster, process, random.Random(5))
            end_of(process, timeout_s=1800)
        finally:
            process.kill()
        assert_nothing_is_left(cluster)
    assert_each_row_once(run, 240, num_again_at_most=2 * 4)
    (manifest,) = manifests(run, "thoughts")
    assert manifest.details["first_engine_s"] > 0


@pytest.mark.slow
def test_training_asks_for_machines_of_its_own_and_goes_on_when_one_is_lost(tmp_path: Path) -> None:
    """Engines' machines, too small for a worker, go while the training runs; of the workers' machines one is killed."""
    types = {"engines": {"CPU": 1, "GPU": 1}, "workers": {"CPU": 2}}
    run = tmp_path / "run"
    with autoscaling_cluster(tmp_path, 2, types) as cluster, clients_of(cluster.environment):
        process = start_rcpt(
            "train",
            "jobs/recipes/tiny.yaml",
            f"run={run}",
            *FAKE,
            *on(cluster, max_engines=2),
            "training={num_workers: 2, cpus_per_worker: 2, num_epochs: 40, checkpoint_every_steps: 5, "
            "global_batch_rows: 4, learning_rate: 0.001, collective_timeout_s: 120}",
            "report.baseline=reasoning",
            "arms={reasoning: {}}",
        )
        try:
            wait_until(lambda: _steps_saved(run) > 0 or process.poll() is not None, 600)
            saved = _steps_saved(run)
            wait_until(lambda: not cluster.nodes("GPU") or process.poll() is not None, 300)
            kill_a_node(cluster, process, random.Random(3))
            end_of(process)
        finally:
            process.kill()
        assert_nothing_is_left(cluster)
    assert_adds_up(run)
    (manifest,) = manifests(run, "training")
    assert saved > 0
    assert manifest.details["num_steps"] == len((only_folder(run, "training") / "steps.jsonl").read_text().splitlines())


@pytest.mark.slow
def test_training_begins_when_a_machine_comes_that_was_waited_for_in_vain_again_and_again(tmp_path: Path) -> None:
    """Ray Train gives up waiting after some seconds here instead of a minute; no failure is allowed."""
    run = tmp_path / "run"
    with ray_head(tmp_path, num_cpus=0, dashboard=False) as head, clients_of(head.environment):
        with clients_of({"RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "10"}):
            process = start_rcpt(
                "train",
                "jobs/recipes/tiny.yaml",
                f"run={run}",
                f"cluster.address={head.address}",
                "cluster.autoscales=true",
                "training.max_failures=0",
                "report.baseline=standard",
                "arms={standard: {overrides: {mixture.layout: text_only, mixture.documents: all}}}",
            )
        try:
            in_vain = "Error count: 3 (max allowed: inf)"
            wait_until(lambda: in_vain in _logs(run) or process.poll() is not None, 300)
            assert process.poll() is None, process.communicate()[0]
            node = [RAY, "start", f"--address={head.address}", "--block", "--num-cpus=2", "--node-ip-address=127.0.0.1"]
            with group(node, dict(os.environ), tmp_path / "node.log"):
                end_of(process)
        finally:
            process.kill()
    assert len(manifests(run, "training")) == 1


def _engines_of_vllm(cluster: Cluster) -> int:
    return sum(bool(cluster.processes_of(node, "VLLM::EngineCore")) for node in cluster.nodes())


def _logs(run: Path) -> str:
    return "".join(log.read_text(errors="replace") for log in run.glob("logs/*.log"))


def _steps_saved(run: Path) -> int:
    return max((latest_checkpoint(folder) or 0 for folder in run.glob("training/*/checkpoints")), default=0)
