"""Who works together, who alone, and that everyone gets a turn."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from thoughts_fixtures import Turn

from rcpt_ray.thoughts.turns import Turns


def test_two_work_together() -> None:
    async def main() -> None:
        turns, both_inside = Turns(), asyncio.Barrier(2)

        async def work() -> None:
            async with turns.together():
                await both_inside.wait()

        await asyncio.gather(work(), work())

    asyncio.run(main())


@settings(deadline=None)
@given(kinds=st.lists(st.tuples(st.sampled_from(["alone", "together"]), st.integers(0, 3), st.integers(0, 3))))
def test_who_is_alone_excludes_all_others_and_everyone_gets_a_turn(kinds: list[tuple[str, int, int]]) -> None:
    """Each comes after some turns of the loop and stays for some."""

    async def main() -> int:
        turns, inside, done = Turns(), list[str](), list[str]()

        async def work(kind: str, num_before: int, num_inside: int) -> None:
            for _ in range(num_before):
                await Turn()
            async with turns.alone() if kind == "alone" else turns.together():
                inside.append(kind)
                for _ in range(num_inside + 1):
                    assert len(inside) == 1 or "alone" not in inside
                    await Turn()
                inside.remove(kind)
            done.append(kind)

        await asyncio.gather(*(work(*one) for one in kinds))
        return len(done)

    assert asyncio.run(main()) == len(kinds)


def test_who_waits_to_be_alone_is_let_in_before_those_who_come_later() -> None:
    async def main() -> list[str]:
        turns, order = Turns(), list[str]()

        async def work(name: str) -> None:
            async with turns.alone() if name == "alone" else turns.together():
                order.append(name)

        async with turns.together():
            alone = asyncio.ensure_future(work("alone"))
            await Turn()
            later = asyncio.ensure_future(work("later"))
            await Turn()
            assert order == []
        await asyncio.gather(alone, later)
        return order

    assert asyncio.run(main()) == ["alone", "later"]


def test_who_gives_up_waiting_to_be_alone_holds_nobody_up() -> None:
    async def main() -> None:
        turns = Turns()

        async def alone() -> None:
            async with turns.alone():
                raise AssertionError("it was cancelled while another worked")

        async with turns.together():
            waiting = asyncio.ensure_future(alone())
            await Turn()
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            async with turns.together():
                pass

    asyncio.run(main())


def test_error_in_a_turn_ends_the_turn() -> None:
    async def main() -> None:
        turns = Turns()
        for turn in (turns.alone, turns.together, turns.alone):
            with pytest.raises(RuntimeError):
                async with turn():
                    raise RuntimeError

    asyncio.run(main())
