"""Together or alone: many may work at once, or one by itself."""

import asyncio
import contextlib
from collections.abc import AsyncIterator


class Turns:
    """A readers-writer lock for coroutines; who waits to be alone is let in before those who come later."""

    def __init__(self) -> None:
        self._changed = asyncio.Condition()
        self._num_together, self._num_waiting_alone, self._is_alone = 0, 0, False

    @contextlib.asynccontextmanager
    async def together(self) -> AsyncIterator[None]:
        """Work beside others who do the same."""
        async with self._changed:
            await self._changed.wait_for(lambda: not self._is_alone and not self._num_waiting_alone)
            self._num_together += 1
        try:
            yield
        finally:
            async with self._changed:
                self._num_together -= 1
                self._changed.notify_all()

    @contextlib.asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Work while nobody else does."""
        async with self._changed:
            self._num_waiting_alone += 1
            try:
                await self._changed.wait_for(lambda: not self._is_alone and not self._num_together)
                self._is_alone = True
            finally:
                self._num_waiting_alone -= 1
                self._changed.notify_all()
        try:
            yield
        finally:
            async with self._changed:
                self._is_alone = False
                self._changed.notify_all()
