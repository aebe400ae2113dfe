"""What counts as a checkpoint, which are kept, and what is told when one cannot be written."""

import json
import shutil
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rcpt_ray.training.saved import (
    MARKER,
    WAITING,
    best_checkpoint,
    checkpoint_name,
    latest_checkpoint,
    part_name,
    release,
    remove_leftovers,
    remove_older,
    skipped_steps,
    take,
    whole_checkpoints,
)
from rcpt_ray.training.upload import Snapshot, Upload


def put_checkpoint(folder: Path, steps_done: int, score: float | None = None, whole: bool = True) -> Path:
    """The files of a checkpoint by one rank, with nothing in them."""
    path = folder / checkpoint_name(steps_done, "0a1b2c3d")
    path.mkdir(parents=True)
    (path / part_name(0, 1)).touch()
    if whole:
        told = {"steps_done": steps_done, "num_ranks": 1, "score": score, "precision": "bf16"}
        (path / MARKER).write_text(json.dumps(told))
    return path


def make_checkpoint(folder: Path, steps_done: int, most_waiting: int) -> None:
    """One more that is to be evaluated; what has to make room for it goes."""
    (put_checkpoint(folder, steps_done) / WAITING).touch()
    remove_older(folder, keep_last=1, keep_best=False, most_waiting=most_waiting)


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


def test_what_waits_for_its_evaluation_stays_spread_over_the_steps_and_the_rest_is_counted(tmp_path: Path) -> None:
    for steps_done in range(10, 90, 10):
        make_checkpoint(tmp_path, steps_done, most_waiting=2)
    *waiting, newest = steps_of(tmp_path)
    assert newest == 80 and len(waiting) == 2
    assert waiting[0] <= 40 <= waiting[1], "not the last ones alone"
    assert skipped_steps(tmp_path) == [step for step in range(10, 80, 10) if step not in waiting]


def test_what_is_being_evaluated_stays_until_it_is_done(tmp_path: Path) -> None:
    make_checkpoint(tmp_path, 10, most_waiting=0)
    (first,) = whole_checkpoints(tmp_path)
    assert take(first) and take(first), "also by a command that takes up what a killed one had taken"
    make_checkpoint(tmp_path, 20, most_waiting=0)
    make_checkpoint(tmp_path, 30, most_waiting=0)
    assert steps_of(tmp_path) == [10, 30]
    release(first)
    make_checkpoint(tmp_path, 40, most_waiting=0)
    assert steps_of(tmp_path) == [40]
    assert skipped_steps(tmp_path) == [20, 30]


def test_a_checkpoint_that_has_made_room_cannot_be_taken(tmp_path: Path) -> None:
    make_checkpoint(tmp_path, 10, most_waiting=0)
    (first,) = whole_checkpoints(tmp_path)
    shutil.rmtree(first.path)
    assert not take(first)


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
