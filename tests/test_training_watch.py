"""What is seen of a training is complete, true, and changes nothing in it."""

import shutil
import time
from pathlib import Path

import pyarrow as pa
import pytest
from processes import wait_until
from watched_training import FeedUntilKilled, Killed, be_one_rank, make_watched_job, trained

from rcpt_ray.records import HELDOUT_BITS, STEP
from rcpt_ray.training.batch import Batch
from rcpt_ray.training.feed import PackedFeed
from rcpt_ray.training.job import TrainingJob
from rcpt_ray.training.loop import train
from rcpt_ray.training.row_file import read_rows

WAIT_S = 0.1
MEASURED = {"heldout_every_steps": 4}


@pytest.fixture(scope="module")
def killed_and_finished(
    tiny_model_folder: Path, inputs: tuple[list[Path], list[Path]], tmp_path_factory: pytest.TempPathFactory
) -> TrainingJob:
    """Measured every fourth step, killed at the fifth, gone on with from the checkpoint before it."""
    job = make_watched_job(tmp_path_factory.mktemp("watched"), tiny_model_folder, inputs, watch=MEASURED)
    be_one_rank()
    with pytest.raises(Killed):
        train(job, 0, FeedUntilKilled(job))
    trained(job)
    return job


def test_every_step_has_one_whole_row_after_a_kill(killed_and_finished: TrainingJob) -> None:
    rows = read_rows(killed_and_finished.folder / "steps.jsonl")
    assert [row["step"] for row in rows] == list(range(killed_and_finished.plan.num_steps))
    assert all(set(row) == set(STEP.names) for row in rows)
    pa.Table.from_pylist(rows, schema=STEP)
    for row in rows:
        assert row["loss_text"] > 0 and row["loss_thought"] > 0 and row["loss_delimiter"] > 0
        assert row["loss_bos_eos"] is None, "the first token of a document is no target"
        assert row["tokens_per_s"] == pytest.approx(row["num_tokens"] / row["seconds"])
        assert 0 < row["overhead_seconds"] < row["seconds"] and row["memory_bytes"] > 2**26 and row["mfu"] > 0


def test_the_loss_is_the_mean_of_its_kinds_by_their_tokens(killed_and_finished: TrainingJob) -> None:
    """All weights are 1 here, so the whole lies between its parts."""
    for row in read_rows(killed_and_finished.folder / "steps.jsonl"):
        kinds = [row[f"loss_{kind}"] for kind in ("text", "thought", "delimiter")]
        assert min(kinds) <= row["loss"] <= max(kinds)


def test_pauses_stand_apart_from_steps(killed_and_finished: TrainingJob) -> None:
    rows = read_rows(killed_and_finished.folder / "steps.jsonl")
    # Measured before step 0, saved before 2, 6 and 8; step 4 is the first one after the kill.
    assert [row["step"] for row in rows if row["pause_seconds"] > 0] == [0, 2, 6, 8]


class FeedThatIsWaitedFor(PackedFeed):
    """The packed feed, as slow as one whose rows are still being made."""

    def __init__(self, job: TrainingJob) -> None:
        super().__init__(job.mixture_parts, job.plan, 0)
        self.asked_s = list[float]()

    def batches(self, step: int) -> list[Batch] | None:
        self.asked_s.append(time.monotonic())
        wait_until(lambda: time.monotonic() - self.asked_s[-1] > WAIT_S, 60)
        return super().batches(step)


def test_waiting_for_rows_is_no_training(
    tiny_model_folder: Path, inputs: tuple[list[Path], list[Path]], tmp_path: Path
) -> None:
    job = make_watched_job(tmp_path, tiny_model_folder, inputs)
    feed = FeedThatIsWaitedFor(job)
    be_one_rank()
    train(job, 0, feed)
    rows = read_rows(tmp_path / "steps.jsonl")
    assert all(row["wait_seconds"] > WAIT_S for row in rows)
    # From the end of the first step to that of the last: each second stands in one column.
    told_s = sum(row["seconds"] + row["wait_seconds"] + row["pause_seconds"] for row in rows[1:])
    assert told_s < feed.asked_s[-1] - feed.asked_s[0]


def test_held_out_bits_are_measured_before_between_and_after(killed_and_finished: TrainingJob) -> None:
    rows = read_rows(killed_and_finished.folder / "heldout.jsonl")
    last = killed_and_finished.plan.num_steps
    assert [(row["step"], row["domain"]) for row in rows] == [
        (step, domain) for step in (0, 4, 8, last) for domain in ("law", "stem")
    ]
    assert set(rows[0]) == set(HELDOUT_BITS.names) and rows[0]["num_documents"] == 3
    assert rows[-1]["bits_per_byte"] < rows[1]["bits_per_byte"]


@pytest.mark.parametrize("zero_stage", [2, 3])
def test_measuring_changes_no_bit_of_the_model(
    zero_stage: int,
    killed_and_finished: TrainingJob,
    tiny_model_folder: Path,
    inputs: tuple[list[Path], list[Path]],
    tmp_path: Path,
) -> None:
    """Nor does a kill."""
    plain = trained(make_watched_job(tmp_path / "plain", tiny_model_folder, inputs, zero_stage=zero_stage))
    measured = killed_and_finished.folder
    if zero_stage == 3:
        measured = trained(make_watched_job(tmp_path / "m", tiny_model_folder, inputs, zero_stage=3, watch=MEASURED))
    assert not read_rows(plain / "heldout.jsonl")
    for name in ("model.safetensors", "config.json"):
        assert (plain / "model" / name).read_bytes() == (measured / "model" / name).read_bytes()


def scalars(folder: Path) -> dict[str, dict[int, float]]:
    """TensorBoard's figures by name and step, as its readers purge them: a restart drops what stands from its step."""
    from tensorboardX.proto.event_pb2 import Event, SessionLog

    found: dict[str, dict[int, float]] = {}
    for file in sorted(folder.iterdir()):
        content = file.read_bytes()
        while content:
            length = int.from_bytes(content[:8], "little")
            event, content = Event.FromString(content[12 : 12 + length]), content[16 + length :]
            if event.session_log.status == SessionLog.START:
                found = {
                    name: {step: value for step, value in own.items() if step < event.step}
                    for name, own in found.items()
                }
            for value in event.summary.value:
                own = found.setdefault(value.tag, {})
                assert event.step not in own, f"{value.tag} stands twice at step {event.step}"
                own[event.step] = value.simple_value
    return found


def test_tensorboard_shows_each_step_once_after_a_kill(killed_and_finished: TrainingJob) -> None:
    rows = read_rows(killed_and_finished.folder / "steps.jsonl")
    found = scalars(killed_and_finished.folder / "tensorboard")
    for name in ("loss", "loss_thought", "grad_norm", "learning_rate", "mfu"):
        assert found[name] == pytest.approx({row["step"]: row[name] for row in rows}, rel=1e-6)
    assert list(found["heldout_bits_per_byte/law"]) == [0, 4, 8, killed_and_finished.plan.num_steps]
    assert "loss_bos_eos" not in found


def test_a_copied_folder_goes_on_as_well(killed_and_finished: TrainingJob, tmp_path: Path) -> None:
    """Nothing in a training's folder names the folder itself."""
    copied = tmp_path / "copied"
    shutil.copytree(killed_and_finished.folder, copied)
    shutil.rmtree(copied / "model")
    trained(TrainingJob(**{**vars(killed_and_finished), "folder": copied}))
    assert (copied / "model" / "model.safetensors").read_bytes() == (
        killed_and_finished.folder / "model" / "model.safetensors"
    ).read_bytes()
