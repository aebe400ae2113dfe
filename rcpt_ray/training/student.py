"""The student as it is trained: loaded, with rows for new tokens, adapters, its attention and its losses."""

from typing import Any

from rcpt_ray.training.head import add_losses, choose_kernel
from rcpt_ray.training.job import TrainingJob
from rcpt_ray.training.new_tokens import add_rows, new_token_ids, trainable_rows


def load_student(job: TrainingJob, precision: str) -> tuple[Any, Any]:
    """The model to train, which gives losses (head.py), and its tokenizer.

    With an adapter only that, and rows of new tokens, require gradients.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(
        job.model_path,
        dtype={"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[precision],
        local_files_only=True,
        attn_implementation=_attention(job.spec.attention, precision),
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
    add_losses(model, choose_kernel(job.spec.loss_kernel))
    return model, tokenizer


def _attention(wanted: str, precision: str) -> str:
    import torch

    if wanted != "auto":
        return wanted
    # Eager attention is the faster one on a CPU in bf16, sdpa elsewhere.
    return "eager" if precision == "bf16" and not torch.cuda.is_available() else "sdpa"
