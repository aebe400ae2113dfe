"""Processes of a streaming training that end one after the other: the command finishes by itself, each batch once."""

from collections import Counter
from pathlib import Path

import psutil
import pytest
from processes import start_rcpt, wait_until
from run_folder import manifests, only_folder, rows
from stream_runs import NUM_DOCUMENTS, steps_seen, streaming_of
from synthesis_runs import engine_processes

pytestmark = pytest.mark.slow


def test_worker_packer_and_engine_killed_under_two_workers(tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = start_rcpt("train", *streaming_of(tmp_path, "training.num_workers=2", "cluster.num_cpus=3"))
    try:
        wait_until(lambda: steps_seen(run) >= 5 or process.poll() is not None, 300)
        driver = psutil.Process(process.pid)
        for name in ("_PackerActor", "EngineActor", "RayTrainWorker"):
            (victim, *_) = engine_processes(driver, name)
            victim.kill()
            wait_until(lambda name=name, victim=victim: _again(driver, name, victim) or process.poll() is not None, 300)
        (tmp_path / "released").touch()
        output, _ = process.communicate(timeout=600)
        assert process.returncode == 0, output
    finally:
        process.kill()
        process.wait()
    (training,) = manifests(run, "training")
    record = rows(only_folder(run, "training") / "record")
    drawn = Counter((piece["component"], piece["doc_id"], piece["start"]) for row in record for piece in row["pieces"])  # type: ignore[attr-defined]
    assert set(drawn.values()) == {1}
    assert sum(component == "stem/thought" for component, *_ in drawn) == NUM_DOCUMENTS
    assert training.details["num_steps"] == max(int(row["step"]) for row in record) + 1  # type: ignore[call-overload]


def _again(driver: psutil.Process, name: str, victim: psutil.Process) -> bool:
    """Whether another process has taken the place of one that was killed."""
    return any(process.pid != victim.pid for process in engine_processes(driver, name))
