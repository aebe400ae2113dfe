"""The running blend: which document is drawn next, from what has arrived so far.

Each draw takes a document of the component whose share of the tokens is furthest below its target. Where that one has
none waiting, the next may go on as long as it stays within a tolerance of its own target; else the blend waits for
what is still to come. So the shares hold at every moment, not at the end alone. Without weights all components are
one, and documents are drawn as they come.

With a budget of tokens, documents are drawn again, in the order of their first draw, once nothing new can come of their
component, up to `max_repeats` passes; drawing ends with the document that comes nearest to the budget. Without one each
document is drawn once at most. Nothing is left to chance: the draws follow from the order of arrival and, with weights,
from what had arrived when each was asked for. Price: the names of the documents.
"""

from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

TOLERANCE = 0.01
"""How far the components that have something to give may go above their targets, all together, while others wait."""
_ALL = ""


@dataclass(frozen=True)
class Arrival:
    """A document of a component, and where its tokens stand."""

    component: str
    doc_id: str
    num_tokens: int
    file: str
    row: int


@dataclass(frozen=True)
class Draw:
    """A document drawn for the `repeat`-th time, from 0."""

    document: Arrival
    repeat: int


@dataclass
class _Pool:
    """Documents of a component, or of all where there are no weights."""

    weight: float
    waiting: deque[Draw] = field(default_factory=deque)
    again: deque[Draw] = field(default_factory=deque)
    arrived_tokens: int = 0
    drawn_tokens: int = 0
    is_open: bool = True


class RunningBlend:
    """Holds what has arrived and says what is drawn next."""

    def __init__(
        self,
        components: Collection[str],
        weights: Mapping[str, float] | None,
        num_tokens: int | None,
        max_repeats: float,
    ) -> None:
        self._weights, self._budget, self._max_repeats = weights, num_tokens, max_repeats
        names = [_ALL] if weights is None else [name for name in components if weights.get(name)]
        self._pools = {name: _Pool(1.0 if weights is None else weights[name]) for name in names}
        self._is_full = False

    @property
    def drawn_tokens(self) -> int:
        """Tokens of all draws."""
        return sum(pool.drawn_tokens for pool in self._pools.values())

    @property
    def is_over(self) -> bool:
        """Whether nothing will be drawn any more, whatever comes."""
        return self._is_full or (not any(pool.is_open for pool in self._pools.values()) and self._next() is None)

    def arrive(self, document: Arrival, num_drawn: int = 0) -> None:
        """Take a document that was drawn `num_drawn` times before; its tokens were counted by `count`."""
        pool = self._pool(document.component)
        if pool is None:
            return
        pool.arrived_tokens += document.num_tokens
        if num_drawn == 0:
            pool.waiting.append(Draw(document, 0))
        elif self._budget is not None:
            pool.again.append(Draw(document, num_drawn))

    def count(self, component: str, num_tokens: int) -> None:
        """Count tokens that were drawn before this blend was made."""
        pool = self._pool(component)
        if pool is not None:
            pool.drawn_tokens += num_tokens

    def close(self, components: Collection[str]) -> None:
        """Nothing more will arrive of any component but these."""
        for name, pool in self._pools.items():
            pool.is_open = bool(components) if self._weights is None else name in components

    def draw(self) -> Draw | None:
        """The next document; None where there is none now, or (`is_over`) no more at all."""
        if self._is_full:
            return None
        found = self._next()
        if found is None:
            return None
        pool, one = found
        drawn, num_tokens = self.drawn_tokens, one.document.num_tokens
        if self._budget is not None and abs(drawn + num_tokens - self._budget) >= abs(drawn - self._budget):
            self._is_full = True
            return None
        (pool.waiting or pool.again).popleft()
        pool.drawn_tokens += num_tokens
        if self._budget is not None:
            pool.again.append(Draw(one.document, one.repeat + 1))
        return one

    def _next(self) -> tuple[_Pool, Draw] | None:
        drawn, tolerance = self.drawn_tokens, TOLERANCE / max(1, len(self._pools) - 1)
        by_need = sorted(self._pools.values(), key=lambda pool: (pool.drawn_tokens - pool.weight * drawn, -pool.weight))
        for place, pool in enumerate(by_need):
            one = self._first(pool)
            if one is None:
                continue
            num_tokens = one.document.num_tokens
            if place == 0 or pool.drawn_tokens + num_tokens <= (pool.weight + tolerance) * (drawn + num_tokens):
                return pool, one
        return None

    def _first(self, pool: _Pool) -> Draw | None:
        if pool.waiting:
            return pool.waiting[0]
        if pool.is_open or not pool.again:
            return None
        most = self._max_repeats * pool.arrived_tokens + 0.5
        return pool.again[0] if pool.drawn_tokens + pool.again[0].document.num_tokens <= most else None

    def _pool(self, component: str) -> _Pool | None:
        return self._pools.get(_ALL if self._weights is None else component)
