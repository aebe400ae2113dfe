"""What is seen of a training is complete, true, and changes nothing in it."""

import json
import math
import shutil
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from processes import wait_until
from rich.console import Console
from watched_training import be_one_rank, make_heldout, make_job, make_mixture, trained

from rcpt_ray.artifacts import write_table
from rcpt_ray.errors import UserError
from rcpt_ray.records import DOCUMENT, HELDOUT_BITS, STEP
from rcpt_ray.terminal import Bar
from rcpt_ray.training.batch import Batch
from rcpt_ray.training.feed import PackedFeed
from rcpt_ray.training.flops import ModelSize, gpu_peak, model_size, operations_per_token
from rcpt_ray.training.head import add_losses
from rcpt_ray.training.heldout import HeldoutMeter, choose_documents, cut_windows, group_windows
from rcpt_ray.training.job import TrainingJob
from rcpt_ray.training.loop import train
from rcpt_ray.training.progress import TrainingProgress
from rcpt_ray.training.row_file import Follower, RowFile, read_rows
from rcpt_ray.training.saved import latest_checkpoint
from rcpt_ray.training.trackers import begin_runs, require_packages
from rcpt_ray.training.watch_spec import WatchSpec

KILLED_AT = 5
WAIT_S = 0.1
MEASURED = {"heldout_every_steps": 4}


class Killed(BaseException):
    """As if the process had been killed."""


class FeedUntilKilled(PackedFeed):
    """The packed feed, and a death at one step, once the checkpoint before it is whole."""

    def __init__(self, job: TrainingJob) -> None:
        super().__init__(job.mixture_parts, job.plan, 0)
        self._checkpoints = job.folder / "checkpoints"

    def batches(self, step: int) -> list[Batch] | None:
        if step == KILLED_AT:
            wait_until(lambda: latest_checkpoint(self._checkpoints) == KILLED_AT - 1, 60)
            raise Killed
        return super().batches(step)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Path], list[Path]]:
    """A mixture and held-out documents."""
    folder = tmp_path_factory.mktemp("inputs")
    return make_mixture(folder), make_heldout(folder)


def job_of(folder: Path, model: Path, inputs: tuple[list[Path], list[Path]], **settings: Any) -> TrainingJob:
    return make_job(folder, model, *inputs, **({"checkpoint_every_steps": 2, "num_epochs": 2} | settings))


@pytest.fixture(scope="module")
def killed_and_finished(
    tiny_model_folder: Path, inputs: tuple[list[Path], list[Path]], tmp_path_factory: pytest.TempPathFactory
) -> TrainingJob:
    """Measured every fourth step, killed at the fifth, gone on with from the checkpoint before it."""
    job = job_of(tmp_path_factory.mktemp("watched"), tiny_model_folder, inputs, watch=MEASURED)
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
    job = job_of(tmp_path, tiny_model_folder, inputs)
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
    plain = trained(job_of(tmp_path / "plain", tiny_model_folder, inputs, zero_stage=zero_stage))
    measured = killed_and_finished.folder
    if zero_stage == 3:
        measured = trained(job_of(tmp_path / "m", tiny_model_folder, inputs, zero_stage=3, watch=MEASURED))
    assert not read_rows(plain / "heldout.jsonl")
    for name in ("model.safetensors", "config.json"):
        assert (plain / "model" / name).read_bytes() == (measured / "model" / name).read_bytes()


def test_held_out_bits_are_those_of_the_evaluation(tiny_model_folder: Path, tmp_path: Path) -> None:
    """By lm-eval itself, short texts and one that needs windows."""
    from rcpt_ray.evaluation.job import EvaluationJob
    from rcpt_ray.evaluation.run import evaluate
    from rcpt_ray.evaluation.spec import EvaluationSpec

    texts = {"law": ["Held.", "The appeal fails. " * 9], "stem": ["Ω is a set: <|im_end|>", "n + 1 is odd."]}
    heldout = make_heldout(tmp_path, texts)
    watch = {"heldout_every_steps": 1, "heldout_max_length_tokens": 16}
    job = make_job(tmp_path / "job", tiny_model_folder, make_mixture(tmp_path, 4), heldout, watch=watch)
    found = {row["domain"]: row["bits_per_byte"] for row in read_rows(trained(job) / "heldout.jsonl")[:2]}
    spec = EvaluationSpec(max_length_tokens=16, precision="fp32", batch_size=2)
    evaluate(EvaluationJob(spec, str(tiny_model_folder), heldout, tmp_path, seed=1))
    scores = pq.read_table(tmp_path / "scores.parquet").to_pylist()
    for domain in texts:
        own = [(score["value"] * score["weight"], score["weight"]) for score in scores if score["domain"] == domain]
        expected = sum(bits for bits, _ in own) / sum(num_bytes for _, num_bytes in own)
        assert found[domain] == pytest.approx(expected, rel=1e-5)


def test_the_same_held_out_documents_are_chosen_whatever_else_there_is(tmp_path: Path) -> None:
    rows = [
        {"doc_id": f"d{n}", "source": "web", "domain": "law", "text": f"text {n}", "num_words": 2} for n in range(40)
    ]
    for number, part in enumerate((rows[:25], rows[25:], rows[::-1])):
        write_table(tmp_path / f"{number}.parquet", pa.Table.from_pylist(part, schema=DOCUMENT))
    files = [tmp_path / f"{number}.parquet" for number in range(3)]
    chosen = choose_documents(files[:2], 10)["law"]
    assert len(set(chosen)) == 10 and choose_documents(files[2:], 10)["law"] == chosen
    assert choose_documents(files[2:], 4)["law"] == chosen[:4]
    assert choose_documents(files[:1], 99)["law"] != chosen and len(choose_documents(files[:1], 99)["law"]) == 25


def test_windows_predict_every_token_once_and_passes_are_a_multiple_of_the_ranks() -> None:
    token_ids = list(range(100, 137))
    windows = cut_windows(token_ids, prefix_id=1, max_length=10, domain=0)
    predicted = [token for window in windows for token in window.token_ids[-window.num_predicted :]]
    assert predicted == token_ids and windows[0].token_ids[0] == 1
    assert all(len(window.token_ids) <= 11 for window in windows)
    groups = group_windows([*windows, *cut_windows([5, 6, 7], 1, 10, 1)], max_tokens=20, num_ranks=4)
    assert len(groups) % 4 == 0 and sum(map(len, groups)) == len(windows) + 1
    assert all(len(group) * (len(group[0].token_ids) - 1) <= 20 for group in groups if group)


def test_two_ranks_measure_what_one_does(
    tiny_model_folder: Path, inputs: tuple[list[Path], list[Path]], tmp_path: Path
) -> None:
    """Each rank's share is measured here one after the other; the sum over ranks is then left to add."""
    import torch
    from transformers import AutoModelForCausalLM

    be_one_rank()
    auto: Any = AutoModelForCausalLM
    model = auto.from_pretrained(tiny_model_folder, dtype=torch.float32)
    add_losses(model, "torch")
    job = job_of(tmp_path, tiny_model_folder, inputs, num_workers=2, watch=MEASURED)
    shares = [HeldoutMeter(job, rank).measure(model, 0) for rank in range(2)]
    whole = HeldoutMeter(job_of(tmp_path, tiny_model_folder, inputs, watch=MEASURED), 0).measure(model, 0)
    for first, second, both in zip(*shares, whole, strict=True):
        assert first["bits_per_byte"] + second["bits_per_byte"] == pytest.approx(both["bits_per_byte"], rel=1e-6)


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


def test_a_follower_sees_each_row_once_also_when_the_file_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "steps.jsonl"
    follower, seen = Follower([path]), list[int]()

    def look() -> list[int]:
        seen.extend(row["step"] for row in follower.new_rows())
        return seen

    assert look() == []
    first = RowFile(path, lambda row: True)
    first.append([{"step": 0}, {"step": 1}, {"step": 2}])
    assert look() == [0, 1, 2]
    with path.open("a") as torn:
        torn.write('{"st')
    assert look() == [0, 1, 2]
    again = RowFile(path, lambda row: row["step"] < 1)
    assert again.kept == [{"step": 0}]
    again.append([{"step": 1}, {"step": 2}, {"step": 3}])
    assert look() == [0, 1, 2, 3]
    with pytest.raises(ValueError):
        again.append([{"step": math.nan}])


@pytest.mark.parametrize(("name", "package"), [("mlflow", "mlflow-skinny"), ("wandb", "wandb")])
def test_a_tracker_without_its_package_is_refused_with_a_way_out(
    name: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(UserError, match=rf"training\.watch\.{name}=here needs the package {package}; install it"):
        require_packages(WatchSpec(**{name: "here"}))
    require_packages(WatchSpec())


def test_a_tracker_that_raises_is_given_up_and_the_training_ends_well(
    tiny_model_folder: Path, inputs: tuple[list[Path], list[Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tensorboardX import SummaryWriter

    def no_disk(*_: object, **__: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(SummaryWriter, "add_scalar", no_disk)
    folder = trained(job_of(tmp_path / "job", tiny_model_folder, inputs))
    assert (folder / "model").exists() and read_rows(folder / "steps.jsonl")


def test_mlflow_goes_on_in_the_same_run(
    tiny_model_folder: Path, inputs: tuple[list[Path], list[Path]], tmp_path: Path
) -> None:
    pytest.importorskip("mlflow", reason="the extra rcpt-ray[mlflow] is not installed")
    pytest.importorskip("sqlalchemy", reason="the extra rcpt-ray[mlflow] is not installed")
    from mlflow.tracking import MlflowClient

    uri = f"sqlite:///{tmp_path}/mlflow.db"
    job = job_of(tmp_path / "job", tiny_model_folder, inputs, watch={**MEASURED, "mlflow": uri})
    be_one_rank()
    begin_runs(job)
    with pytest.raises(Killed):
        train(job, 0, FeedUntilKilled(job))
    begin_runs(job)
    trained(job)
    client = MlflowClient(tracking_uri=uri)
    (experiment,) = [one for one in client.search_experiments() if one.name == "demo"]
    (run,) = client.search_runs([experiment.experiment_id])
    history = client.get_metric_history(run.info.run_id, "loss")
    rows = read_rows(job.folder / "steps.jsonl")
    assert sorted((metric.step, metric.value) for metric in history) == [(row["step"], row["loss"]) for row in rows]
    assert json.loads(run.data.params["learning_rate"]) == job.spec.learning_rate
    assert run.info.status == "FINISHED"


def test_mlflow_that_cannot_be_reached_is_the_users_to_mend(tiny_model_folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("mlflow", reason="the extra rcpt-ray[mlflow] is not installed")
    job = make_job(tmp_path / "job", tiny_model_folder, make_mixture(tmp_path, 4), watch={"mlflow": "nosuch://x"})
    with pytest.raises(UserError, match=r"training\.watch\.mlflow=nosuch://x cannot be used"):
        begin_runs(job)


def test_wandb_keeps_one_run_offline(
    tiny_model_folder: Path, inputs: tuple[list[Path], list[Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb", reason="the extra rcpt-ray[wandb] is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    job = job_of(tmp_path / "job", tiny_model_folder, inputs, watch={**MEASURED, "wandb": "project"})
    be_one_rank()
    begin_runs(job)
    with pytest.raises(Killed):
        train(job, 0, FeedUntilKilled(job))
    begin_runs(job)
    trained(job)
    run_id = json.loads((job.folder / "trackers.json").read_text())["wandb"]
    kept = list(job.folder.glob("wandb/offline-run-*/run-*.wandb"))
    assert kept and {file.name for file in kept} == {f"run-{run_id}.wandb"}
    assert all(file.stat().st_size > 1000 for file in kept)


def test_the_bar_tells_loss_speed_held_out_bits_and_the_time_left(tmp_path: Path) -> None:
    progress = TrainingProgress(Bar(Console(), "training", None), num_steps=100)
    row = {"step": 0, "loss": 2.5, "tokens_per_s": 1234.5, "mfu": 0.412, "seconds": 2.0}
    row |= {"wait_seconds": 0.0, "pause_seconds": 0.0}
    progress.show(row)
    assert progress.words(row) == "loss 2.500, 1,234 tokens/s, MFU 41%, 3 min 18 s left"
    for domain, bits in (("law", 0.9), ("stem", 1.1)):
        progress.show({"step": 1, "domain": domain, "bits_per_byte": bits})
    assert "held-out 1.000 bits/byte" in progress.words(row)


def test_operations_are_those_of_the_papers() -> None:
    """Kaplan et al.: 6 P and 6 L d T for a document of T tokens, whose tokens look at (T + 1) / 2 on average."""
    whole = ModelSize(num_parameters=1_000_000, num_trained=1_000_000, attention_width=24 * 128)
    assert operations_per_token(whole, mean_context=512) == pytest.approx(6e6 + 6 * 24 * 128 * 1024)
    adapters = ModelSize(num_parameters=1_010_000, num_trained=10_000, attention_width=0)
    assert operations_per_token(adapters, mean_context=512) == 4 * 1_000_000 + 6 * 10_000


def test_a_model_is_counted_without_an_embedding_that_is_only_looked_up(tiny_model_folder: Path) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    auto_config: Any = AutoConfig
    auto: Any = AutoModelForCausalLM
    sizes = []
    for tied in (True, False):
        config = auto_config.from_pretrained(tiny_model_folder, tie_word_embeddings=tied)
        with torch.device("meta"):
            sizes.append(model_size(auto.from_config(config)))
    assert sizes[0] == sizes[1]
    assert sizes[0].attention_width == 2 * 2 * 32


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA H200", 989e12),
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA L40S", 362e12),
        ("NVIDIA L4", 121e12),
        ("NVIDIA A10G", 70e12),
        ("NVIDIA GeForce RTX 4090", 165e12),
        ("NVIDIA Nosuch 1", None),
    ],
)
def test_a_card_is_known_by_its_name(name: str, peak: float | None) -> None:
    assert gpu_peak(name) == peak


def test_a_copied_folder_goes_on_as_well(killed_and_finished: TrainingJob, tmp_path: Path) -> None:
    """Nothing in a training's folder names the folder itself."""
    copied = tmp_path / "copied"
    shutil.copytree(killed_and_finished.folder, copied)
    shutil.rmtree(copied / "model")
    trained(TrainingJob(**{**vars(killed_and_finished), "folder": copied}))
    assert (copied / "model" / "model.safetensors").read_bytes() == (
        killed_and_finished.folder / "model" / "model.safetensors"
    ).read_bytes()
