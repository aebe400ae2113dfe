"""lm-eval's transformers model with our tokens, our thinking and a count of what it had to cut.

Likelihood is lm-eval's own code, with the softmax in fp32 (in bf16, bits per byte were off by 0.2%). Thinking is
written in batches of questions of like length, padded on the left. Repeats: a batch is sampled with one seed, so a draw
repeats as long as the batches are the same.
"""

from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from typing import Any, Literal

import torch
from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils import normalize_gen_kwargs
from transformers import GenerationConfig

from rcpt_ray.evaluation.thinking import Answered, Draw, Question, Written, in_lockstep
from rcpt_ray.evaluation.tokens import TextTokens


class TransformersLM(HFLM):  # type: ignore[misc]
    """A model in this process, on its GPU where it has one."""

    engine: Literal["transformers"] = "transformers"
    seeds: Literal["engine"] = "engine"

    def __init__(
        self,
        model_path: str,
        tokens: TextTokens,
        precision: Literal["bf16", "fp16", "fp32"],
        batch_size: int,
        max_length_tokens: int,
        trust_remote_code: bool = False,
    ) -> None:
        super().__init__(
            pretrained=model_path,
            tokenizer=tokens.tokenizer,
            dtype={"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}[precision],
            device="cuda" if torch.cuda.is_available() else "cpu",
            softmax_dtype="float32",
            batch_size=batch_size,
            max_length=max_length_tokens,
            trust_remote_code=trust_remote_code,
            use_safetensors=True,
        )
        self._tokens = tokens
        self.truncated: Counter[str] = Counter()
        """Requests that were cut on the left, by task."""
        self._task_names: list[str] = []
        self._adds_start = True
        own = self.model.generation_config
        # What a model's folder says of lengths, penalties and sampling is for chats, and would overrule the recipe.
        self.model.generation_config = GenerationConfig(
            bos_token_id=own.bos_token_id, eos_token_id=own.eos_token_id, pad_token_id=own.pad_token_id
        )

    @property
    def num_truncated(self) -> int:
        """Requests that were cut on the left to fit."""
        return self.truncated.total()

    def tok_encode(
        self,
        string: str,
        add_special_tokens: bool | None = None,
        left_truncate_len: int | None = None,
        **kwargs: Any,
    ) -> list[int]:
        """Token ids, delimiters as in training."""
        ids = self._tokens.encode(string, add_special_tokens if self._adds_start else False)
        return ids[-left_truncate_len:] if left_truncate_len else ids

    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """As lm-eval's; requests that do not fit are counted."""
        self._task_names = [request.task_name or "" for request in requests]
        scored: list[tuple[float, bool]] = super().loglikelihood(requests, disable_tqdm=disable_tqdm)
        self._task_names = []
        return scored

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
        """As lm-eval's, but its start token stands before a text once, also where the tokenizer puts one there."""
        self._adds_start = False
        try:
            scored: list[float] = super().loglikelihood_rolling(requests, disable_tqdm=disable_tqdm)
        finally:
            self._adds_start = True
        return scored

    def _loglikelihood_tokens(self, requests: list[Any], **options: Any) -> list[tuple[float, bool]]:
        for name, (_, context, continuation) in zip(self._task_names, requests, strict=False):
            self.truncated[name] += len(context) + len(continuation) > self.max_length + 1
        scored: list[tuple[float, bool]] = super()._loglikelihood_tokens(requests, **options)
        return scored

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        """As lm-eval's; requests that do not fit are counted."""
        for request in requests:
            context, settings = request.args
            room = self.max_length - int(normalize_gen_kwargs(settings, self.max_gen_toks)["max_gen_toks"])
            self.truncated[request.task_name or ""] += len(self.tok_encode(context)) > room
        written: list[str] = super().generate_until(requests, disable_tqdm=disable_tqdm)
        return written

    def think_all(self, questions: Sequence[Question]) -> list[Answered]:
        """Answers in order; the thoughts are written in batches, then the answers."""
        return in_lockstep(questions, self._tokens.encode_plain, lambda _, draws: self._write_all(draws))

    def close(self) -> None:
        """Give the model's memory back."""
        self._model = None
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _write_all(self, draws: Sequence[Draw]) -> list[Written]:
        def like(number: int) -> tuple[Any, ...]:
            draw = draws[number]
            return draw.stops, draw.max_tokens, draw.temperature, draw.top_p

        # Longest first, as lm-eval does: what does not fit into memory fails at once.
        order = sorted(range(len(draws)), key=lambda number: (like(number), -len(draws[number].prompt_ids), number))
        written: dict[int, Written] = {}
        for _, alike in groupby(order, key=like):
            numbers = list(alike)
            for start in range(0, len(numbers), self.batch_size):
                batch = numbers[start : start + self.batch_size]
                written |= zip(batch, self._write_batch([draws[number] for number in batch]), strict=True)
        return [written[number] for number in range(len(draws))]

    def _write_batch(self, draws: Sequence[Draw]) -> list[Written]:
        first, width = draws[0], max(len(draw.prompt_ids) for draw in draws)
        padding = self.tokenizer.pad_token_id
        padded = [[padding] * (width - len(draw.prompt_ids)) + draw.prompt_ids for draw in draws]
        mask = [[0] * (width - len(draw.prompt_ids)) + [1] * len(draw.prompt_ids) for draw in draws]
        sampling: dict[str, Any] = {"do_sample": False}
        if first.temperature > 0:
            # transformers would keep the 50 likeliest tokens of its own accord.
            sampling = {"do_sample": True, "temperature": first.temperature, "top_p": first.top_p, "top_k": 0}
            torch.manual_seed(first.seed)
        with torch.no_grad():
            ids_BT = self._model_generate(
                context=torch.tensor(padded, device=self.device),
                attention_mask=torch.tensor(mask, device=self.device),
                max_length=width + first.max_tokens,
                stop=list(first.stops),
                **sampling,
            )
        assert ids_BT.shape[1] - width <= first.max_tokens, "transformers wrote more than was asked for"
        return [self._written(ids[width:], first) for ids in ids_BT.tolist()]

    def _written(self, ids: list[int], draw: Draw) -> Written:
        """What stands before the end of text and before the first stop."""
        ends = self.model.generation_config.eos_token_id
        end_ids = {self.tokenizer.eos_token_id, *(ends if isinstance(ends, list) else [ends])}
        end = next((place for place, token in enumerate(ids) if token in end_ids), None)
        text = self.tokenizer.decode(ids[:end], skip_special_tokens=False)
        places = [place for stop in draw.stops if (place := text.find(stop)) >= 0]
        is_cut = end is None and not places and len(ids) >= draw.max_tokens
        return Written(text[: min(places)] if places else text, is_cut)
