"""The model under lm-eval, and what it had to cut."""

from typing import Any, Literal

from rcpt_ray.evaluation.job import EvaluationJob
from rcpt_ray.hardware import fast_number_format


def open_model(job: EvaluationJob, use: Literal["likelihood", "generation"]) -> Any:
    """An LM of lm-eval; `num_truncated` counts the requests that did not fit into its context."""
    import torch
    from lm_eval.models.huggingface import HFLM
    from transformers import AutoTokenizer

    class CountingLM(HFLM):  # type: ignore[misc]
        engine = "transformers"
        num_truncated = 0

        def _loglikelihood_tokens(self, requests: Any, **settings: Any) -> Any:
            self.num_truncated += sum(
                len(context) + len(continuation) > self.max_length + 1 for _, context, continuation in requests
            )
            return super()._loglikelihood_tokens(requests, **settings)

    spec = job.spec
    if not torch.cuda.is_available():
        torch.set_num_threads(spec.cpus)
    precision = fast_number_format(spec.precision)
    return CountingLM(
        pretrained=job.model_path,
        tokenizer=AutoTokenizer.from_pretrained(job.model_path, split_special_tokens=True, local_files_only=True),
        dtype={"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}[precision],
        device="cuda" if torch.cuda.is_available() else "cpu",
        # lm-eval would take it in the model's format: bits per byte were off by 0.2% in bf16.
        softmax_dtype="float32",
        batch_size=spec.batch_size,
        max_length=spec.max_length_tokens,
    )
