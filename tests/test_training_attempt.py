"""Ranks that live on beside the attempt that follows their own change nothing that it shares with them."""

from functools import partial
from pathlib import Path

import pytest
from training_runs import Ranks, follow_with_another_attempt, job_of, write_mixture

from rcpt_ray.training.attempt import ATTEMPTS, Attempt, AttemptOver
from rcpt_ray.training.process_group_on_ray import interface_with
from rcpt_ray.training.row_file import read_rows


def test_the_newest_attempt_alone_may_change_what_all_share(tmp_path: Path) -> None:
    earlier = Attempt.begin(tmp_path)
    earlier.record(tmp_path, 0, ["a", "b"])
    later = Attempt.begin(tmp_path)
    with pytest.raises(AttemptOver):
        earlier.record(tmp_path, 3, ["a", "b"])
    later.record(tmp_path, 3, ["a", "c"])
    assert [(row["steps_done"], row["nodes"]) for row in read_rows(tmp_path / ATTEMPTS)] == [
        (0, ["a", "b"]),
        (3, ["a", "c"]),
    ]
    assert Attempt.newest(tmp_path) == later


def test_a_row_that_was_torn_off_does_not_spoil_the_next_one(tmp_path: Path) -> None:
    """As a full disk or a lost client of a shared one leaves it."""
    Attempt.begin(tmp_path).record(tmp_path, 0, ["a"])
    with (tmp_path / ATTEMPTS).open("a") as rows:
        rows.write('{"attempt": "01ab')
    Attempt.begin(tmp_path).record(tmp_path, 3, ["b"])
    assert [row["nodes"] for row in read_rows(tmp_path / ATTEMPTS)] == [["a"], ["b"]]


def test_an_attempt_that_another_has_followed_leaves_no_model(tmp_path: Path, tiny_model_folder: Path) -> None:
    """As a rank does that was cut off before the last step."""
    mixture = write_mixture(tmp_path, 40)
    job = job_of(tmp_path / "job", tiny_model_folder, mixture, 40, precision="fp32", checkpoint_every_steps=9)
    ranks = Ranks(job, partial(follow_with_another_attempt, 9))
    assert ranks.end() == [1]
    assert "another attempt at this training has begun" in ranks.sentence()
    assert not [path.name for path in job.folder.iterdir() if "model" in path.name]


def test_an_interface_is_found_by_its_address() -> None:
    assert interface_with("127.0.0.1") in {"lo", "lo0"}
    assert interface_with("192.0.2.77") is None
