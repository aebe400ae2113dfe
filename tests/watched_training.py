"""Trainings of the tiny model in this process, as one worker runs them: real DeepSpeed, no Ray."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from processes import wait_until

from rcpt_ray.artifacts import write_table
from rcpt_ray.mixture.pack import Documents, pack
from rcpt_ray.records import BOS_EOS, DELIMITER, DOCUMENT, TEXT, THOUGHT_KIND
from rcpt_ray.training.batch import Batch
from rcpt_ray.training.feed import PackedFeed
from rcpt_ray.training.job import TrainingJob
from rcpt_ray.training.loop import train
from rcpt_ray.training.plan import make_plan
from rcpt_ray.training.saved import CHECKPOINTS, latest_checkpoint
from rcpt_ray.training.spec import TrainingSpec

ROW_TOKENS = 64
KILLED_AT = 5
HELDOUT_TEXTS = {
    "law": ["The court heard the claim.", "No duty was owed, and so the appeal fails.", "It is so ordered."],
    "stem": ["A prime has two divisors.", "Let n be even; then n + 1 is odd.", "2 + 2 = 4, as <|im_end|> shows."],
}


def be_one_rank() -> None:
    """Have a process group of this process alone; it stays, because DeepSpeed keeps what it made of the first one."""
    import torch

    os.environ |= {"DS_ACCELERATOR": "cpu", "LOCAL_RANK": "0", "RANK": "0", "WORLD_SIZE": "1"}
    torch.set_num_threads(1)
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)


def make_mixture(folder: Path, num_documents: int = 24, delimiters: tuple[int, int] = (300, 301)) -> list[Path]:
    """Packed rows of documents of random tokens and all kinds, named d0, d1 and so on."""
    random = np.random.default_rng(5)
    ids, kinds, starts = [], [], [0]
    for _ in range(num_documents):
        length = int(random.integers(20, ROW_TOKENS))
        ids.append(random.integers(4, 300, length))
        ids[-1][[1, 10]] = delimiters
        kinds.append(np.repeat([BOS_EOS, DELIMITER, THOUGHT_KIND, DELIMITER, TEXT], [1, 1, 8, 1, length - 11]))
        starts.append(starts[-1] + length)
    documents = Documents(
        [f"d{number}" for number in range(num_documents)],
        np.concatenate(ids).astype(np.int32),
        np.concatenate(kinds).astype(np.int8),
        np.array(starts, np.int64),
    )
    write_table(folder / "part-0.parquet", pa.concat_tables(pack(documents, ROW_TOKENS, padding_id=3, seed=[1])))
    return [folder / "part-0.parquet"]


def make_heldout(folder: Path, texts: dict[str, list[str]] = HELDOUT_TEXTS) -> list[Path]:
    """Held-out documents by domain."""
    rows = [
        {"doc_id": f"{domain}-{number}", "source": "web", "domain": domain, "text": text, "num_words": 5}
        for domain, own in texts.items()
        for number, text in enumerate(own)
    ]
    write_table(folder / "heldout-0.parquet", pa.Table.from_pylist(rows, schema=DOCUMENT))
    return [folder / "heldout-0.parquet"]


def make_job(
    folder: Path, model: Path, mixture: Sequence[Path], heldout: Sequence[Path] = (), **settings: Any
) -> TrainingJob:
    """A job of one worker: 4 rows a step, fp32 unless `settings` say otherwise."""
    import pyarrow.parquet as pq

    values = {"num_workers": 1, "global_batch_rows": 4, "precision": "fp32", "learning_rate": 1e-3, "zero_stage": 2}
    spec = TrainingSpec(**(values | settings))
    num_rows = sum(pq.read_metadata(part).num_rows for part in mixture)
    folder.mkdir(parents=True, exist_ok=True)
    return TrainingJob(
        spec=spec,
        plan=make_plan(spec, num_rows, ROW_TOKENS, seed=17),
        num_tokens=num_rows * ROW_TOKENS,
        model_path=str(model),
        mixture_parts=list(mixture),
        folder=folder,
        tokenizer_path=str(model),
        heldout_parts=list(heldout),
        provenance={"run": "demo", "arm": "reasoning", "student": {"reference": "example/tiny", "revision": "abc"}},
    )


def make_watched_job(folder: Path, model: Path, inputs: tuple[list[Path], list[Path]], **settings: Any) -> TrainingJob:
    """A job on a mixture and held-out documents that passes over them twice, with a checkpoint every other step."""
    return make_job(folder, model, *inputs, **({"checkpoint_every_steps": 2, "num_epochs": 2} | settings))


def trained(job: TrainingJob) -> Path:
    """The job's folder once it is trained."""
    be_one_rank()
    train(job, 0)
    return job.folder


class Killed(BaseException):
    """As if the process had been killed."""


class FeedUntilKilled(PackedFeed):
    """The packed feed, and a death at one step, once the checkpoint before it is whole."""

    def __init__(self, job: TrainingJob) -> None:
        super().__init__(job.mixture_parts, job.plan, 0)
        self._checkpoints = job.folder / CHECKPOINTS

    def batches(self, step: int) -> list[Batch] | None:
        if step == KILLED_AT:
            wait_until(lambda: latest_checkpoint(self._checkpoints) == KILLED_AT - 1, 60)
            raise Killed
        return super().batches(step)
