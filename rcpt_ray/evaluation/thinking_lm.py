"""The lm-eval model of generated tasks: any model that can think, with two-phase requests read and answered.

A generate_until request with `thought_close` among its settings is thought over and answered; the string that comes
back is the JSON of thinking.Answered. Other requests go to the model below as they are.

    settings   thought_close, answer_cue, max_thought_tokens, max_answer_tokens, and for samples temperature, top_p

Samples of one request (lm-eval's repeats) are numbered in the order in which they come; a draw's seed is made of the
run's seed, the task, the item and that number.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from lm_eval.api.model import LM

from rcpt_ray.errors import UserError
from rcpt_ray.evaluation.thinking import Answered, Question


class Tokens(Protocol):
    """What is used of tokens.TextTokens."""

    def encode(self, text: str, add_special_tokens: bool | None = None) -> list[int]:
        """Token ids, delimiters as in training."""


class Thinks(Protocol):
    """A model below."""

    engine: str
    seeds: str
    truncated: Counter[str]
    max_length: int

    def think_all(self, questions: Sequence[Question]) -> list[Answered]: ...
    def loglikelihood(self, requests: list[Any]) -> list[tuple[float, bool]]: ...
    def loglikelihood_rolling(self, requests: list[Any]) -> list[float]: ...
    def generate_until(self, requests: list[Any]) -> list[str]: ...


class ThinkingLM(LM):  # type: ignore[misc]
    """Two-phase requests for a model below."""

    def __init__(self, inner: Thinks, tokens: Tokens, seed: int) -> None:
        super().__init__()
        self._inner, self._tokens, self._seed = inner, tokens, seed
        self.engine, self.seeds = inner.engine, inner.seeds
        self.truncated: Counter[str] = Counter()
        """Requests that were cut on the left, by task."""

    @property
    def num_truncated(self) -> int:
        """Requests that were cut on the left to fit."""
        return self.truncated.total()

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        """A string a request, in order."""
        is_thought_over = ["thought_close" in request.args[1] for request in requests]
        questions = self._questions(
            [request for request, is_so in zip(requests, is_thought_over, strict=True) if is_so]
        )
        others = [request for request, is_so in zip(requests, is_thought_over, strict=True) if not is_so]
        answered = iter(self._inner.think_all(questions)) if questions else iter(())
        written = iter(self._counted(self._inner.generate_until, others)) if others else iter(())
        return [next(answered).to_json() if is_so else next(written) for is_so in is_thought_over]

    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """As of the model below."""
        return self._counted(self._inner.loglikelihood, requests)

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
        """As of the model below."""
        return self._counted(self._inner.loglikelihood_rolling, requests)

    def _counted(self, method: Callable[[list[Any]], list[Any]], requests: list[Any]) -> list[Any]:
        before = self._inner.truncated.copy()
        results = method(requests)
        self.truncated += self._inner.truncated - before
        return results

    def _questions(self, requests: Sequence[Any]) -> list[Question]:
        """The requests as questions, the samples of one numbered."""
        seen: dict[str, int] = defaultdict(int)
        tokens: dict[str, list[int]] = {}
        questions = []
        for request in requests:
            context, settings = request.args
            name = f"{request.task_name}/{request.doc.get('item_id', request.doc_id)}/{request.idx}"
            if context not in tokens:
                tokens = {context: self._tokens.encode(context)}
            questions.append(self._question(request, name, seen[name], tokens[context], settings))
            seen[name] += 1
        return questions

    def _question(
        self, request: Any, name: str, sample_index: int, prompt_ids: list[int], settings: Mapping[str, Any]
    ) -> Question:
        closing_ids = self._tokens.encode(settings["thought_close"] + settings["answer_cue"], False)
        max_thought, max_answer = int(settings["max_thought_tokens"]), int(settings["max_answer_tokens"])
        room = self._inner.max_length - max_thought - len(closing_ids) - max_answer
        if room < 1:
            raise UserError(
                f"evaluation.max_length_tokens={self._inner.max_length} leaves no room for a question beside "
                f"max_thought_tokens={max_thought} and max_answer_tokens={max_answer}; raise the first or lower these"
            )
        if len(prompt_ids) > room:
            self.truncated[request.task_name or ""] += 1
            prompt_ids = prompt_ids[-room:]
        is_sampled = settings.get("do_sample", True)
        return Question(
            name,
            sample_index,
            prompt_ids,
            settings["thought_close"],
            closing_ids,
            max_thought,
            max_answer,
            temperature=float(settings.get("temperature", 0.0)) if is_sampled else 0.0,
            top_p=float(settings.get("top_p", 1.0)),
            seed=self._seed,
            item=request.doc,
        )
