"""The DeepSpeed loop of one worker: model, loss, steps, checkpoints, and the model at the end.

    B rows, T tokens, V vocabulary

The loss is the weighted mean over the targets of the whole global batch, whatever the number of workers and
accumulations: each micro-batch adds (weighted sum of its losses) / (weights of the global batch). Packed documents do
not see each other: positions restart at each, and transformers builds the block-diagonal mask from them.
"""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rcpt_ray.artifacts import write_atomic
from rcpt_ray.hardware import fast_number_format
from rcpt_ray.records import SEGMENT_KINDS, TEXT, THOUGHT_KIND
from rcpt_ray.training.checkpoint import load_checkpoint, save_checkpoint
from rcpt_ray.training.feed import Batch, PackedFeed
from rcpt_ray.training.new_tokens import add_rows, new_token_ids, trainable_rows
from rcpt_ray.training.plan import TrainingPlan, deepspeed_config, learning_rate, rows_of_rank
from rcpt_ray.training.spec import TrainingSpec


@dataclass(frozen=True)
class TrainingJob:
    """What a worker is told."""

    spec: TrainingSpec
    plan: TrainingPlan
    num_tokens: int
    """Tokens that are read in all, padding left out."""
    model_path: str
    mixture_parts: list[Path]
    folder: Path
    tokenizer_path: str
    """The model's own tokenizer, or the mixture's where that added tokens."""
    special_tokens: tuple[str, ...] = ()
    """Tokens that the mixture may have added to the vocabulary."""


def train(job: TrainingJob, rank: int) -> None:
    """Train to the end of the plan, from the newest whole checkpoint where there is one; all ranks call it.

    A job whose model is there is finished, and nothing is done. Rank 0 appends each step's row (records.STEP) to
    steps.jsonl and, at the end, writes the model to `model/`.
    """
    if (job.folder / "model").exists():
        return
    import deepspeed
    import torch

    # DeepSpeed would compile a shared-memory kernel for half a minute, which inference alone uses.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    torch.manual_seed(job.plan.seed)
    precision = fast_number_format(job.spec.precision)
    model, tokenizer = _load(job, precision)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=job.spec.learning_rate, weight_decay=job.spec.weight_decay)
    engine, optimizer, _, _ = deepspeed.initialize(
        model=model,
        optimizer=optimizer,
        config=deepspeed_config(job.spec, job.plan, precision),
        dist_init_required=False,
    )
    feed = PackedFeed(job.mixture_parts)
    checkpoints, frozen = job.folder / "checkpoints", job.spec.adapter is not None
    steps_done = load_checkpoint(engine, checkpoints, frozen_weights=frozen)
    rows = _StepRows(job.folder / "steps.jsonl", steps_done) if rank == 0 else None
    engine.train()
    for step in range(steps_done, job.plan.num_steps):
        row = _step(engine, optimizer, feed, job, step, rank)
        if rows is not None:
            rows.append(row)
        last = step + 1 == job.plan.num_steps
        if (step + 1) % job.spec.checkpoint_every_steps == 0 and not last:
            save_checkpoint(engine, checkpoints, step + 1, rank, frozen_weights=frozen)
    if rank == 0:
        _save_model(engine.module, tokenizer, job.folder)
    torch.distributed.barrier()


def _load(job: TrainingJob, precision: str) -> tuple[Any, Any]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    on_gpu = torch.cuda.is_available()
    model = AutoModelForCausalLM.from_pretrained(
        job.model_path,
        dtype=torch.bfloat16 if precision == "bf16" else torch.float32,
        local_files_only=True,
        # Eager attention is the faster one on a CPU in bf16, sdpa elsewhere.
        attn_implementation="eager" if precision == "bf16" and not on_gpu else "sdpa",
    )
    model.config.use_cache = False
    tokenizer = AutoTokenizer.from_pretrained(job.tokenizer_path, local_files_only=True)
    new_tokens = list[int]()
    if job.special_tokens:
        base_tokenizer = AutoTokenizer.from_pretrained(job.model_path, local_files_only=True)
        new_tokens = new_token_ids(base_tokenizer, tokenizer, job.special_tokens)
    if new_tokens:
        add_rows(model, new_tokens)
    if job.spec.gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    if job.spec.adapter is not None:
        from peft import LoraConfig, get_peft_model

        adapter = job.spec.adapter
        config = LoraConfig(
            r=adapter.rank,
            lora_alpha=adapter.alpha,
            lora_dropout=adapter.dropout,
            target_modules=adapter.target_modules,
            task_type="CAUSAL_LM",
            trainable_token_indices=trainable_rows(model, new_tokens) if new_tokens else None,
        )
        model = get_peft_model(model, config)
    return model, tokenizer


def _step(engine: Any, optimizer: Any, feed: PackedFeed, job: TrainingJob, step: int, rank: int) -> dict[str, float]:
    """One optimizer step; returns its row (records.STEP) with the losses of the global batch."""
    import torch

    started = time.monotonic()
    weight_of_kind = torch.tensor([0.0, *job.spec.loss_weights.model_dump().values()])
    batches = [feed.batch(rows) for rows in rows_of_rank(job.plan, step, rank)]
    kinds = np.concatenate([batch.target_kind_BT.ravel() for batch in batches])
    tokens_of_kind = torch.bincount(torch.from_numpy(kinds).long(), minlength=len(SEGMENT_KINDS)).double()
    losses_of_kind = torch.zeros(len(SEGMENT_KINDS), dtype=torch.float64)
    torch.distributed.all_reduce(tokens_of_kind)
    weight_of_batch = float((tokens_of_kind * weight_of_kind).sum())
    rate = learning_rate(job.spec, job.plan, step)
    for group in optimizer.param_groups:
        group["lr"] = rate
    # DeepSpeed divides by the accumulations and averages over the workers; we divide by weights instead.
    scale = job.plan.num_accumulations * job.plan.num_workers / max(weight_of_batch, 1e-12)
    for batch in batches:
        losses_BT, kind_BT = _token_losses(engine, batch)
        engine.backward((losses_BT * weight_of_kind.to(losses_BT.device)[kind_BT]).sum() * scale)
        engine.step()
        losses_of_kind.index_add_(0, kind_BT.flatten().cpu(), losses_BT.detach().flatten().double().cpu())
    torch.distributed.all_reduce(losses_of_kind)
    means = losses_of_kind / tokens_of_kind.clamp(min=1)
    return {
        "step": step,
        "loss": float((losses_of_kind * weight_of_kind).sum()) / max(weight_of_batch, 1e-12),
        "loss_text": float(means[TEXT]),
        "loss_thought": float(means[THOUGHT_KIND]) if tokens_of_kind[THOUGHT_KIND] else float("nan"),
        "grad_norm": float(engine.get_global_grad_norm() or 0.0),
        "learning_rate": rate,
        "num_tokens": int(tokens_of_kind[1:].sum()),
        "seconds": time.monotonic() - started,
    }


def _token_losses(engine: Any, batch: Batch) -> tuple[Any, Any]:
    """Cross-entropy float32[B, T] of each target, 0 where there is none, and the targets' kinds int64[B, T]."""
    import torch
    from torch.nn.functional import cross_entropy

    device = engine.device
    kind_BT = torch.from_numpy(batch.target_kind_BT).long().to(device)
    logits_BTV = engine(
        input_ids=torch.from_numpy(batch.input_ids_BT).to(device),
        position_ids=torch.from_numpy(batch.position_ids_BT).to(device),
        use_cache=False,
    ).logits
    losses_BT = cross_entropy(
        logits_BTV.flatten(0, 1).float(), torch.from_numpy(batch.target_ids_BT).to(device).flatten(), reduction="none"
    ).view_as(kind_BT)
    return losses_BT * (kind_BT > 0), kind_BT


def _save_model(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write the model (adapters merged) as Hugging Face safetensors beside its place, then rename it into it."""
    import shutil

    if hasattr(model, "merge_and_unload"):
        model.save_pretrained(folder / "adapter")
        tokenizer.save_pretrained(folder / "adapter")  # with added tokens the base's own would not fit
        model = model.merge_and_unload()
    temporary = folder / ".model.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    model.config.use_cache = True
    model.save_pretrained(temporary, safe_serialization=True)
    tokenizer.save_pretrained(temporary)
    shutil.rmtree(folder / "model", ignore_errors=True)
    temporary.rename(folder / "model")


class _StepRows:
    """steps.jsonl: one row a step; rows after the checkpoint that training goes on from are cut off."""

    def __init__(self, path: Path, steps_done: int) -> None:
        kept = path.read_text(encoding="utf-8").splitlines()[:steps_done] if path.exists() else []
        assert len(kept) == steps_done, f"{path} has {len(kept)} rows but {steps_done} steps are done"
        write_atomic(path, "".join(line + "\n" for line in kept))
        self._file = path.open("a", encoding="utf-8")

    def append(self, row: dict[str, float]) -> None:
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()
