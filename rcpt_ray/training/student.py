"""The student as it is trained: loaded, with rows for new tokens, adapters, its attention and its losses."""

from typing import Any

from rcpt_ray.errors import UserError
from rcpt_ray.mixture.tokenize import load_tokenizer
from rcpt_ray.training.attention import BY_DOCUMENT, can_attend_by_document, register
from rcpt_ray.training.head import add_losses, choose_kernel
from rcpt_ray.training.job import TrainingJob
from rcpt_ray.training.new_tokens import add_rows, new_token_ids, trainable_rows
from rcpt_ray.training.spec import TrainingSpec

_MOST_EAGER_ROW_TOKENS = 512
_FLASH = "flash_attention_2"


def load_student(job: TrainingJob, precision: str, *, to_train: bool = True) -> tuple[Any, Any]:
    """The model to train, which gives losses (head.py), and its tokenizer.

    With an adapter only that, and rows of new tokens, require gradients. Without `to_train` it is a place for trained
    weights, of the same parameters: no attention or losses are chosen, so nothing is tried out and no device is asked.
    """
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(
        job.model_path,
        dtype={"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[precision],
        local_files_only=True,
        use_safetensors=True,
        trust_remote_code=job.trust_remote_code,
    )
    model.config.use_cache = False
    attention = _attention(model, job.spec, job.plan.row_tokens) if to_train else ""
    if to_train:
        model.set_attn_implementation("sdpa" if attention == _FLASH else attention)
    tokenizer = load_tokenizer(job.tokenizer_path, job.trust_remote_code)
    new_tokens = list[int]()
    if job.special_tokens:
        base_tokenizer = load_tokenizer(job.model_path, job.trust_remote_code)
        new_tokens = new_token_ids(base_tokenizer, tokenizer, job.special_tokens)
    if new_tokens:
        add_rows(model, new_tokens)
    if to_train and job.spec.gradient_checkpointing:
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
    if not to_train:
        return model, tokenizer
    add_losses(model, choose_kernel(job.spec.loss_kernel))
    if attention == _FLASH:  # only now: what was tried out so far ran on the host, where it has no kernel
        causal = model.get_base_model() if job.spec.adapter is not None else model
        causal.set_attn_implementation(_FLASH)
    return model, tokenizer


def _attention(model: Any, spec: TrainingSpec, row_tokens: int) -> str:
    """`auto` is by document on a CPU where the model allows it, and flash attention on a GPU that has it.

    transformers tells packed documents apart in flash attention where there is one row alone.
    """
    import torch
    from transformers.utils import is_flash_attn_2_available

    register()
    one_row, half = spec.micro_batch_rows == 1, model.dtype in (torch.bfloat16, torch.float16)
    match spec.attention:
        case "auto" if torch.cuda.is_available():
            return _FLASH if half and one_row and is_flash_attn_2_available() else "sdpa"
        case "auto":
            # Of those that mask whole rows, eager is the faster one for short rows, sdpa for long ones.
            masking = "eager" if row_tokens <= _MOST_EAGER_ROW_TOKENS else "sdpa"
            return BY_DOCUMENT if can_attend_by_document(model) else masking
        case "flash_attention_2" if not is_flash_attn_2_available():
            raise UserError(
                "training.attention=flash_attention_2 needs the package flash-attn and a GPU; install it or use auto"
            )
        case "by_document":
            if not can_attend_by_document(model):
                raise UserError(
                    f"training.attention=by_document: {type(model).__name__} has attention other than full causal "
                    "attention; use auto, eager or sdpa"
                )
            return BY_DOCUMENT
        case named:
            return named
