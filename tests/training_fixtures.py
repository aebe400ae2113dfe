"""Packed rows with every kind of segment, jobs on the tiny Llama, and process groups without Ray."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from rcpt_ray.artifacts import write_table
from rcpt_ray.mixture.pack import Documents, pack
from rcpt_ray.records import BOS_EOS, DELIMITER, TEXT, THOUGHT_KIND
from rcpt_ray.training.job import TrainingJob
from rcpt_ray.training.packed_rows import PackedRows
from rcpt_ray.training.plan import make_plan
from rcpt_ray.training.spec import TrainingSpec

ROW_TOKENS = 64


def documents_of(lengths: Sequence[int], seed: int = 11, vocabulary: int = 1000) -> Documents:
    """Random tokens: begin, a thought of a third of the document between delimiters, text, end."""
    ids = np.random.default_rng(seed).integers(4, vocabulary, sum(lengths)).astype(np.int32)
    kinds = np.concatenate([_kinds_of(length) for length in lengths])
    starts = np.append(0, np.cumsum(lengths)).astype(np.int64)
    return Documents([f"d{number}" for number in range(len(lengths))], ids, kinds, starts)


def _kinds_of(length: int) -> np.ndarray[Any, np.dtype[np.int8]]:
    kinds = np.full(length, TEXT, np.int8)
    kinds[2 : 2 + length // 3] = THOUGHT_KIND
    kinds[[1, 2 + length // 3]] = DELIMITER
    kinds[[0, -1]] = BOS_EOS
    return kinds


def write_rows(folder: Path, lengths: Sequence[int], seed: int = 11) -> list[Path]:
    """The documents packed into rows of ROW_TOKENS, as the parts of a mixture."""
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / "part-000000.parquet"
    write_table(part, pa.concat_tables(pack(documents_of(lengths, seed), ROW_TOKENS, padding_id=3, seed=[1])))
    return [part]


def job_of(model_folder: Path, folder: Path, parts: list[Path], **settings: Any) -> TrainingJob:
    """A job on these rows; settings of training as in a recipe."""
    spec = TrainingSpec(**({"num_workers": 1, "precision": "fp32", "max_grad_norm": 1e9} | settings))
    num_rows = PackedRows(parts).num_rows
    plan = make_plan(spec, num_rows, ROW_TOKENS, seed=17)
    folder.mkdir(parents=True, exist_ok=True)
    return TrainingJob(spec, plan, num_rows * ROW_TOKENS, str(model_folder), parts, folder, str(model_folder))


def be_worker(rank: int = 0, num_workers: int = 1, store: Path | None = None) -> None:
    """Join a group of gloo workers over a file, or be the only worker, as Ray Train would have it.

    DeepSpeed keeps the group that it meets first, so a process stays what it has become.
    """
    import torch

    torch.set_num_threads(1)
    os.environ.update(DS_ACCELERATOR="cpu", LOCAL_RANK=str(rank))
    if torch.distributed.is_initialized():
        assert torch.distributed.get_world_size() == num_workers
        return
    group_store = (
        torch.distributed.HashStore() if store is None else torch.distributed.FileStore(str(store), num_workers)
    )
    torch.distributed.init_process_group("gloo", store=group_store, rank=rank, world_size=num_workers)
