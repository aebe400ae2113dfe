"""A question thought over and then answered: two texts written one behind the other, by whatever writes.

    prompt + opening delimiter            -> thought, up to the closing delimiter or its limit
    the same + thought + closing + cue    -> answer, up to the end of its line or its limit

So a model that never learned to close a thought answers too. The logic is a generator that yields what it wants
written and is sent what was: an engine carries out many of them at once (`carry_out`), a batch model all of them a
step at a time (`in_lockstep`), so that the second texts are written in batches as the first ones are.

Invariants: the thought goes into the second prompt as its text's own tokens, as in training, with no token of a
delimiter that was begun; nothing is longer than the limits allow.
"""

import hashlib
import json
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

Encode = Callable[[str], list[int]]
"""Token ids of a text, none added and none special."""
END_OF_LINE = "\n"


@dataclass(frozen=True)
class Draw:
    """A text to write behind a prompt, up to the first stop or end of text."""

    prompt_ids: list[int]
    stops: tuple[str, ...]
    max_tokens: int
    temperature: float
    """0 is greedy."""
    top_p: float
    seed: int


@dataclass(frozen=True)
class Written:
    """What was written, without the stop."""

    text: str
    hit_limit: bool
    """Whether it ran into `max_tokens`."""


@dataclass(frozen=True)
class Question:
    """A question that is thought over once."""

    name: str
    """Task and item: with the number of the sample what the draw's seed is made of."""
    sample_index: int
    prompt_ids: list[int]
    """Ends with the opening delimiter."""
    thought_close: str
    closing_ids: list[int]
    """The closing delimiter and the cue of the answer."""
    max_thought_tokens: int
    max_answer_tokens: int
    temperature: float
    top_p: float
    seed: int
    item: Mapping[str, Any] = field(default_factory=dict)
    """The task's own row, for an oracle; no model sees it."""


@dataclass(frozen=True)
class Answered:
    """What a model thought and said."""

    thought: str
    output: str
    hit_limit: bool
    """Whether the thought ran into its limit."""
    num_prompt_tokens: int
    num_thought_tokens: int

    def to_json(self) -> str:
        """The form in which it goes through lm-eval: a JSON object of these fields."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> "Answered":
        """The inverse of `to_json`."""
        return cls(**json.loads(text))


Steps = Generator[Draw, Written, Answered]


def think(question: Question, encode: Encode) -> Steps:
    """The two steps of a question."""
    stops = (question.thought_close.strip() or question.thought_close,)
    written = yield _draw(question, question.prompt_ids, stops, question.max_thought_tokens)
    thought = written.text.strip()
    # Bytes that are no text come back as three tokens each.
    thought_ids = encode(thought)[: question.max_thought_tokens]
    prompt_ids = [*question.prompt_ids, *thought_ids, *question.closing_ids]
    answer = yield _draw(question, prompt_ids, (END_OF_LINE,), question.max_answer_tokens)
    return Answered(
        thought,
        answer.text,
        written.hit_limit,
        num_prompt_tokens=len(question.prompt_ids),
        num_thought_tokens=question.max_thought_tokens if written.hit_limit else len(thought_ids),
    )


async def carry_out(steps: Steps, write: Callable[[Draw], Awaitable[Written]]) -> Answered:
    """One question by itself; many of these run side by side."""
    draw = next(steps)
    while True:
        written = await write(draw)
        try:
            draw = steps.send(written)
        except StopIteration as end:
            answered: Answered = end.value
            return answered


def in_lockstep(
    questions: Sequence[Question],
    encode: Encode,
    write_all: Callable[[Sequence[Question], Sequence[Draw]], Sequence[Written]],
) -> list[Answered]:
    """All questions, a step of all of them at a time."""
    steps = [think(question, encode) for question in questions]
    draws = {number: next(own) for number, own in enumerate(steps)}
    answered: dict[int, Answered] = {}
    while draws:
        written = write_all([questions[number] for number in draws], list(draws.values()))
        following: dict[int, Draw] = {}
        for number, text in zip(draws, written, strict=True):
            try:
                following[number] = steps[number].send(text)
            except StopIteration as end:
                answered[number] = end.value
        draws = following
    return [answered[number] for number in range(len(questions))]


def draw_seed(*names: object) -> int:
    """A seed of 31 bits from names that never change: the run's seed, what is asked, the sample, the step."""
    return int.from_bytes(hashlib.sha256("\x1f".join(map(str, names)).encode()).digest()[:4], "big") >> 1


def _draw(question: Question, prompt_ids: list[int], stops: tuple[str, ...], max_tokens: int) -> Draw:
    # The two steps have stops of their own, which makes their seeds differ.
    seed = draw_seed(question.seed, question.name, question.sample_index, *stops)
    return Draw(prompt_ids, stops, max_tokens, question.temperature, question.top_p, seed)
