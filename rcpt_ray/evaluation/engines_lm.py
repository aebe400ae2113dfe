"""The lm-eval model over vLLM engines: requests become pieces of work, and results what lm-eval expects.

Tokens, windows and cuts are those of lm-eval's transformers model, so that both engines score the same thing; but a
tokenizer that puts a start token before a text does not put a second one behind the start of a window.
Continuations of one token behind the same context (the letters of a question) are one piece.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal

from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs, postprocess_generated_text
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from rcpt_ray.evaluation.engine_work import MOST_NEXT_TOKENS, Continuation, NextTokens, Piece
from rcpt_ray.evaluation.thinking import Answered, Draw, Question, draw_seed
from rcpt_ray.evaluation.tokens import TextTokens

_MAX_GENERATED_TOKENS = 256
"""Where a task does not say, as lm-eval has it."""


class EnginesLM(TemplateLM):  # type: ignore[misc]
    """Asks engines with token ids; `ask` gives the result of each piece, in order."""

    engine: Literal["vllm"] = "vllm"
    seeds: Literal["request"] = "request"

    def __init__(
        self, tokens: TextTokens, ask: Callable[[Sequence[Piece]], Sequence[Any]], max_length: int, seed: int
    ) -> None:
        super().__init__()
        self.tokenizer, self._tokens, self._ask = tokens.tokenizer, tokens, ask
        self.max_length, self._seed = max_length, seed
        self.truncated: Counter[str] = Counter()
        """Requests that were cut on the left, by task."""
        self._task_names: list[str] = []

    @property
    def num_truncated(self) -> int:
        """Requests that were cut on the left to fit."""
        return self.truncated.total()

    @property
    def eot_token_id(self) -> int:
        """The end of a text."""
        return int(self.tokenizer.eos_token_id)

    @property
    def prefix_token_id(self) -> int:
        """What stands before a text that is scored from its first token on."""
        return self._tokens.prefix_id

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:
        """Token ids, delimiters as in training."""
        return self._tokens.encode(string, add_special_tokens)

    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Nats of each continuation, and whether greedy decoding would write it; cuts are counted."""
        self._task_names = [request.task_name or "" for request in requests]
        scored: list[tuple[float, bool]] = super().loglikelihood(requests, disable_tqdm=True)
        self._task_names = []
        return scored

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
        """Nats of each whole text behind one start token, in windows that overlap by one token of context."""
        windows_of = [
            [
                make_disjoint_window(window)
                for window in get_rolling_token_windows(
                    self.tok_encode(request.args[0], add_special_tokens=False),
                    self.prefix_token_id,
                    self.max_length,
                    context_len=1,
                )
            ]
            for request in requests
        ]
        pairs = [("", context, continuation) for windows in windows_of for context, continuation in windows]
        scored = iter(self._loglikelihood_tokens(pairs))
        return [sum(next(scored)[0] for _ in windows) for windows in windows_of]

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        """What is written behind each context up to its stops."""
        draws, stops_of = [], []
        eos = self.tokenizer.decode(self.eot_token_id)
        for number, request in enumerate(requests):
            context, given = request.args
            settings = normalize_gen_kwargs(given, _MAX_GENERATED_TOKENS)
            stops = handle_stop_sequences(settings["until"], eos=eos)
            ids, room = self.tok_encode(context), self.max_length - settings["max_gen_toks"]
            assert room > 0, f"max_gen_toks={settings['max_gen_toks']} fills the context of {self.max_length} tokens"
            self.truncated[request.task_name or ""] += len(ids) > room
            draws.append(
                Draw(
                    ids[-room:],
                    tuple(stop for stop in stops if stop),
                    settings["max_gen_toks"],
                    temperature=float(settings.get("temperature") or 0.0),
                    top_p=float(settings.get("top_p", 1.0)),
                    seed=draw_seed(self._seed, request.task_name, request.doc_id, number),
                )
            )
            stops_of.append(stops)
        written = self._ask(draws)
        return [postprocess_generated_text(own.text, stops, None) for own, stops in zip(written, stops_of, strict=True)]

    def think_all(self, questions: Sequence[Question]) -> list[Answered]:
        """Answers in order; an engine goes on to an answer as soon as its thought is written."""
        # No engine needs the task's own rows.
        return list(self._ask([replace(question, item={}) for question in questions]))

    def _loglikelihood_tokens(self, requests: Sequence[Any], **options: Any) -> list[tuple[float, bool]]:
        most = self.max_length + 1
        of_context: dict[tuple[int, ...], list[int]] = {}
        pieces: list[Piece] = []
        of_piece: list[list[int]] = []
        for number, (_, context, continuation) in enumerate(requests):
            assert 0 < len(continuation) <= self.max_length, "a continuation must fit into the context"
            if self._task_names:
                self.truncated[self._task_names[number]] += len(context) + len(continuation) > most
            ids = [*context, *continuation][-most:]
            if len(continuation) == 1:
                of_context.setdefault(tuple(ids[:-1]), []).append(number)
            else:
                pieces.append(Continuation(ids, len(continuation)))
                of_piece.append([number])
        for context_ids, numbers in of_context.items():
            for start in range(0, len(numbers), MOST_NEXT_TOKENS):
                some = numbers[start : start + MOST_NEXT_TOKENS]
                pieces.append(NextTokens(list(context_ids), [requests[number][2][0] for number in some]))
                of_piece.append(some)
        scored: dict[int, tuple[float, bool]] = {}
        for numbers, result in zip(of_piece, self._ask(pieces), strict=True):
            scored |= zip(numbers, zip(result.log_probabilities, result.are_greedy, strict=True), strict=True)
        return [scored[number] for number in range(len(requests))]
