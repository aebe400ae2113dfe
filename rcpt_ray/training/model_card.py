"""What stands beside a trained model in words: its card (README.md with YAML front matter) and its provenance.

Invariant: both follow from what was trained, not from when or how fast, so equal trainings have equal cards.
"""

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from rcpt_ray.hardware import fast_number_format, versions
from rcpt_ray.training.heldout import bits_by_domain
from rcpt_ray.training.job import TrainingJob
from rcpt_ray.training.row_file import Row

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_KINDS = ("text", "thought", "delimiter", "bos_eos")


def model_card(job: TrainingJob, steps: Sequence[Row], heldout: Sequence[Row], *, is_adapter: bool) -> str:
    """The card of a finished training, from its rows of records.STEP and records.HELDOUT_BITS."""
    base, arm = public_name(job), str(job.provenance.get("arm", "training"))
    parts = [
        f"---\n{yaml.safe_dump(_front_matter(job, is_adapter=is_adapter), sort_keys=False)}---",
        f"# {job.provenance.get('run', 'run')}: {arm}",
        f"{base}, pretrained further by `rcpt_ray` on {_trained_on(job)}."
        + (f" These are the adapters alone: load them on top of {base}." if is_adapter else ""),
        *(
            ["**It runs Python files of the base model's author** (trust_remote_code)."]
            if job.trust_remote_code
            else []
        ),
        "## Training",
        _bullets(_training_facts(job, steps)),
        "## Loss (nats a token)",
        _losses(steps),
        "## Held-out bits per byte",
        _heldout(heldout),
        "## Limits",
        _bullets(
            [
                f"It inherits what {base} knows, assumes and may be used for; the base model's licence and those of "
                "the texts apply.",
                "Thoughts in its training texts were written by a model and not checked by people; it may state "
                "such thoughts as facts.",
                "Losses are over training tokens and say nothing about tasks; measure it on yours before use.",
            ]
        ),
        "provenance.json names the exact inputs, settings and versions.",
    ]
    return "\n\n".join(parts) + "\n"


def provenance(job: TrainingJob) -> dict[str, Any]:
    """Names, digests, settings and versions that this model was made from and with."""
    return {
        **job.provenance,
        "precision": fast_number_format(job.spec.precision),
        "plan": dataclasses.asdict(job.plan),
        "versions": versions(),
    }


def public_name(job: TrainingJob) -> str:
    """The base model as others may know it: its reference, of a folder the name alone."""
    reference = str(job.provenance.get("student", {}).get("reference", job.model_path))
    return Path(reference).name if reference.startswith(("/", "~", ".")) else reference


def _front_matter(job: TrainingJob, *, is_adapter: bool) -> dict[str, Any]:
    base = public_name(job)
    datasets = [path.removeprefix("hf://") for path in job.provenance.get("sources", {}).values()]
    datasets = [name for path in datasets if (name := "/".join(path.split("/")[:2])) and _HUB_ID.fullmatch(name)]
    library = "peft" if is_adapter else "transformers"
    matter: dict[str, Any] = {"library_name": library, "pipeline_tag": "text-generation"}
    if _HUB_ID.fullmatch(base):
        matter |= {"base_model": base, "base_model_relation": "adapter" if is_adapter else "finetune"}
    matter["tags"] = ["continual-pretraining", "reasoning-cpt", "rcpt-ray", *(["lora"] if job.spec.adapter else [])]
    return matter | ({"datasets": sorted(set(datasets))} if datasets else {})


def _trained_on(job: TrainingJob) -> str:
    layout = job.provenance.get("mixture", {}).get("settings", {}).get("layout")
    how = {
        "text_only": "texts alone",
        "thought_first": "texts after the hidden thoughts behind them",
        "document_first": "texts before the hidden thoughts behind them",
        "interleaved": "texts with the hidden thoughts behind them in between",
        "paraphrase": "texts with the same in other words",
    }
    return how.get(str(layout), "a mixture of texts")


def _training_facts(job: TrainingJob, steps: Sequence[Row]) -> list[str]:
    spec, plan = job.spec, job.plan
    weights = ", ".join(f"{kind} {weight:g}" for kind, weight in spec.loss_weights.model_dump().items())
    adapter = spec.adapter
    what = f"LoRA of rank {adapter.rank}, alpha {adapter.alpha}, on {adapter.target_modules}" if adapter else "all"
    return [
        f"Tokens: {job.num_tokens:,} read, {sum(row['num_tokens'] for row in steps):,} predicted, in {len(steps):,} "
        f"steps of {plan.global_batch_rows:,} rows of {plan.row_tokens:,} tokens ({plan.num_epochs} epochs).",
        f"Parameters trained: {what}.",
        f"AdamW, learning rate {spec.learning_rate:g} ({spec.schedule}, {plan.num_warmup_steps:,} steps of warmup), "
        f"weight decay {spec.weight_decay:g}, gradients clipped to {spec.max_grad_norm:g}.",
        f"Computed in {fast_number_format(spec.precision)}; seed {plan.seed}.",
        f"Weights of a token in the loss by kind: {weights}.",
        *(f"Source {name}: {path}" for name, path in sorted(job.provenance.get("sources", {}).items())),
    ]


def _losses(steps: Sequence[Row]) -> str:
    if not steps:
        return "No step was recorded."
    lines = ["| tokens | first step | last step |", "| --- | --- | --- |"]
    names = {"all": "loss"} | {kind: f"loss_{kind}" for kind in _KINDS}
    for kind, name in names.items():
        losses = [row[name] for row in steps if row[name] is not None]
        if losses:
            lines.append(f"| {kind} | {losses[0]:.4f} | {losses[-1]:.4f} |")
    return "\n".join(lines)


def _heldout(rows: Sequence[Row]) -> str:
    if not rows:
        return "Not measured while training."
    documents = {row["domain"]: row["num_documents"] for row in rows}
    lines = ["| domain | documents | before | after |", "| --- | --- | --- | --- |"]
    for domain, (before, after) in bits_by_domain(rows).items():
        lines.append(f"| {domain} | {documents[domain]:,} | {before:.4f} | {after:.4f} |")
    return "\n".join(lines)


def _bullets(sentences: Sequence[str]) -> str:
    return "\n".join(f"- {sentence}" for sentence in sentences)
