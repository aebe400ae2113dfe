"""What counts as a checkpoint, which are kept, and what is told when one cannot be written."""

import json
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rcpt_ray.training.saved import (
    MARKER,
    best_checkpoint,
    checkpoint_name,
    latest_checkpoint,
    part_name,
    remove_leftovers,
    remove_older,
    whole_checkpoints,
)
from rcpt_ray.training.upload import Snapshot, Upload


def put_checkpoint(folder: Path, steps_done: int, score: float | None = None, whole: bool = True) -> Path:
    """The files of a checkpoint by one rank, with nothing in them."""
    path = folder / checkpoint_name(steps_done, "0a1b2c3d")
    path.mkdir(parents=True)
    (path / part_name(0, 1)).touch()
    if whole:
        (path / MARKER).write_text(json.dumps({"steps_done": steps_done, "num_ranks": 1, "score": score}))
    return path


def steps_of(folder: Path) -> list[int]:
    return [saved.steps_done for saved in whole_checkpoints(folder)]


def test_half_a_checkpoint_does_not_count_and_goes_at_the_next_start(tmp_path: Path) -> None:
    put_checkpoint(tmp_path, 10)
    half = put_checkpoint(tmp_path, 20, whole=False)
    assert latest_checkpoint(tmp_path) == 10
    remove_leftovers(tmp_path)
    assert not half.exists()
    assert latest_checkpoint(tmp_path) == 10


def test_where_there_is_no_checkpoint_there_is_no_latest(tmp_path: Path) -> None:
    remove_leftovers(tmp_path / "missing")
    assert latest_checkpoint(tmp_path / "missing") is None


def test_the_best_is_kept_besides_the_last_ones(tmp_path: Path) -> None:
    for steps_done, score in ((10, 1.2), (20, 0.9), (30, None), (40, 1.0), (50, 1.1)):
        put_checkpoint(tmp_path, steps_done, score)
    remove_older(tmp_path, keep_last=2, keep_best=True)
    assert steps_of(tmp_path) == [20, 40, 50]
    remove_older(tmp_path, keep_last=1, keep_best=False)
    assert steps_of(tmp_path) == [50]


@settings(max_examples=30, deadline=None)
@given(
    scores=st.lists(st.none() | st.floats(0, 9), min_size=1, max_size=6),
    keep_last=st.integers(1, 4),
    keep_best=st.booleans(),
)
def test_what_is_kept_are_the_last_and_the_best_whenever_older_ones_are_removed(
    tmp_path_factory: pytest.TempPathFactory, scores: list[float | None], keep_last: int, keep_best: bool
) -> None:
    folder = tmp_path_factory.mktemp("kept")
    for number, score in enumerate(scores):
        put_checkpoint(folder, number, score)
        remove_older(folder, keep_last, keep_best)
    assert steps_of(folder)[-keep_last:] == list(range(len(scores)))[-keep_last:]
    told = [(score, number) for number, score in enumerate(scores) if score is not None]
    if keep_best and told:
        best = best_checkpoint(folder)
        assert best is not None
        assert best.steps_done == min(told)[1]
    assert len(steps_of(folder)) <= keep_last + keep_best


def test_a_snapshot_stays_as_it_was_taken_and_its_memory_is_used_again() -> None:
    import torch

    snapshot = Snapshot()
    weight, step = torch.arange(5.0), torch.arange(3, dtype=torch.uint8)
    first = snapshot.take({"weight": weight, "step": step})
    weight.add_(1)
    assert first["weight"].tolist() == [0, 1, 2, 3, 4]
    assert first["step"].tolist() == [0, 1, 2]
    second = snapshot.take({"weight": weight, "step": step})
    assert second["weight"].tolist() == [1, 2, 3, 4, 5]
    assert second["weight"].data_ptr() == first["weight"].data_ptr()


def test_an_upload_goes_on_beside_and_tells_its_failure_when_it_is_waited_for() -> None:
    go_on = threading.Event()

    def fail() -> None:
        assert go_on.wait(10)
        raise OSError("No space left on device")

    upload = Upload(fail)
    go_on.set()
    with pytest.raises(OSError, match="No space left"):
        upload.finish()
