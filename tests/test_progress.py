"""What a person is told of a stage in the making, and what is forecast of one that is not begun."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from thoughts_fixtures import spec_of, thought

from rcpt_ray.thoughts.forecast import Forecast, forecast
from rcpt_ray.thoughts.meter import Reading
from rcpt_ray.thoughts.parts import Receipt, tally_rows
from rcpt_ray.thoughts.progress import Prices, Progress, read_progress

FREE = Prices(0.0, None, None, None)
T0 = 10_000.0


def progress_of(prices: Prices = FREE, **changed: Any) -> Progress:
    """A command that began at T0 with 1,000 rows to make, of which 200 were there."""
    return Progress("now", 1000, 200, prices, T0, T0, **changed)


def reading_of(state: str = "running", **changed: Any) -> Reading:
    """An engine that began with the command and was seen 100 s later."""
    return Reading(
        **{"session": "now", "machine": "a", "pid": 7, "started_s": T0, "seen_s": T0 + 100} | changed, state=state
    )


def test_before_the_first_engine_is_up_the_line_says_what_is_waited_for() -> None:
    assert progress_of().words([]) == "engines are asked for"
    of_before = reading_of("ended", session="an earlier command", num_rows=200)
    assert progress_of().words([of_before]) == "engines are asked for, since 1 min 40 s"
    said = progress_of().words([reading_of("asleep"), reading_of("starting"), of_before])
    assert said == "2 engines start, since 1 min 40 s"


def test_wait_for_the_first_engine_is_that_of_this_command() -> None:
    """Of two that were ready after 40 and 70 s; one of an earlier command was ready before this one began."""
    readings = [
        reading_of("starting"),
        reading_of(ready_s=T0 + 70),
        reading_of("ended", ready_s=T0 + 40),
        reading_of("ended", session="an earlier command", ready_s=T0 - 500),
    ]
    assert progress_of().first_engine_s(readings) == 40
    assert progress_of().first_engine_s(readings[:1]) is None


def test_line_of_running_engines_has_speed_tokens_and_rejected() -> None:
    """The speed now is the engines', that over all includes their start: 6,000 tokens in 100 s."""
    readings = [
        reading_of(num_rows=20, num_prompt_tokens=900, num_thought_tokens=2000, tokens_per_s_now=25.0),
        reading_of(num_rows=40, num_prompt_tokens=1800, num_thought_tokens=4000, tokens_per_s_now=50.0),
    ]
    assert progress_of(num_rejected=3).words(readings) == (
        "2 engines, 75 tokens/s now, 60 over all, 6,000 thought tokens, 2,700 prompt tokens, 3 rejected"
    )


def test_time_left_follows_from_the_rows_that_this_command_made() -> None:
    """80 rows in 100 s, and 1000 - 200 - 80 to go."""
    said = progress_of(num_done=80).words([reading_of(num_rows=80)])
    assert said.endswith(", 0 rejected, 15 min 0 s left")


def test_engines_that_ended_or_fell_silent_have_no_speed_but_keep_their_tokens() -> None:
    readings = [
        reading_of("ended", num_rows=9, num_thought_tokens=3000, tokens_per_s_now=30.0),
        reading_of(num_rows=9, num_thought_tokens=3000, tokens_per_s_now=30.0, seen_s=T0 + 200),
        reading_of(num_rows=9, num_thought_tokens=3000, tokens_per_s_now=30.0, seen_s=T0 + 100),
    ]
    assert progress_of().words(readings[:1]).startswith("0 engines, 0 tokens/s now, 30 over all, 3,000 thought tokens")
    assert progress_of().words(readings).startswith("1 engines, 30 tokens/s now, 45 over all, 9,000 thought tokens")


def test_hours_and_cost_are_those_of_all_commands_tokens_those_of_this_one() -> None:
    """Half an engine-hour then and half an hour now, with two GPUs each, at 3 an hour."""
    before = reading_of("ended", session="an earlier command", num_rows=200, num_thought_tokens=70, seen_s=T0 + 1800)
    now = reading_of(num_rows=20, num_thought_tokens=3600, seen_s=T0 + 1800)
    said = progress_of(Prices(2.0, 3.0, None, None)).words([before, now])
    assert "2 over all, 3,600 thought tokens" in said
    assert said.endswith("0 rejected, 2.00 GPU-hours, cost 3.00")


def test_parts_are_counted_as_they_come() -> None:
    progress = progress_of()
    rows = [thought("a"), thought("b", status="rejected", reason="empty_text"), thought("c")]
    for shard in ("5a", "6b"):
        progress.add(Receipt(f"part-{shard}-0.parquet", shard, "key-1", 0, tally_rows(rows), 1.0))
    assert (progress.num_done, progress.num_rejected) == (6, 2)


def test_cost_is_the_sum_of_what_has_a_price() -> None:
    assert Prices(1.0, 3.0, 0.5, 2.0).cost(2.0, 4e6, 1e6) == 2 * 3.0 + 4 * 0.5 + 2.0
    assert Prices(1.0, None, None, 2.0).cost(2.0, 4e6, 1e6) == 2.0
    assert Prices(1.0, 0.0, None, None).cost(2.0, 4e6, 1e6) == 0.0
    assert FREE.cost(2.0, 4e6, 1e6) is None


def test_prices_of_a_server_count_only_where_one_is_used() -> None:
    settings = {
        "pool": {"gpus_per_engine": 2.0, "price_per_engine_hour": 3.0},
        "http": {"price_per_million_prompt_tokens": 0.5, "price_per_million_thought_tokens": 2.0},
    }
    assert Prices.of(spec_of(engine="http", **settings)) == Prices(2.0, 3.0, 0.5, 2.0)
    assert Prices.of(spec_of(engine="vllm", **settings)) == Prices(2.0, 3.0, None, None)


def test_cost_so_far_is_that_of_all_readings() -> None:
    readings = [
        reading_of(seen_s=T0 + 3600, num_prompt_tokens=3_000_000, num_thought_tokens=500_000),
        reading_of("ended", session="an earlier command", seen_s=T0 + 1800, num_prompt_tokens=1_000_000),
    ]
    assert progress_of(Prices(0.0, 4.0, 1.0, 2.0)).cost(readings) == 1.5 * 4.0 + 4 * 1.0 + 0.5 * 2.0


def test_figures_are_read_as_they_were_written(tmp_path: Path) -> None:
    """By another terminal, whose clock tells how fresh they are."""
    assert read_progress(tmp_path) is None
    progress = progress_of(Prices(2.0, 3.0, None, 0.5), num_done=40, num_rejected=2)
    progress.write(tmp_path)
    assert read_progress(tmp_path) == progress
    assert progress.seen_s > T0


def forecast_of(tokens: list[int], num_rows: float = 1080.0, num_engines: int = 1, prices: Prices = FREE) -> Forecast:
    """From thoughts of so many tokens, written by an engine in 10 s."""
    rows = [thought(str(n), num_tokens=number) for n, number in enumerate(tokens)]
    return forecast(rows, reading_of(ready_s=T0, seen_s=T0 + 10), num_rows, num_engines, prices)


def test_forecast_scales_the_mean_thought_and_the_engines_speed() -> None:
    """300 tokens in 10 s are 30 a second; 1,080 thoughts of 100 tokens then take an engine an hour."""
    expected = forecast_of([80, 100, 120], prices=Prices(2.0, 3.0, 1000.0, 10.0))
    assert (expected.num_sampled, expected.num_rows) == (3, 1080)
    assert expected.tokens_per_s_per_engine == pytest.approx(30)
    assert expected.thought_tokens == pytest.approx(108_000)
    assert expected.prompt_tokens == pytest.approx(9 * 1080)
    assert (expected.engine_hours, expected.gpu_hours) == (pytest.approx(1.0), pytest.approx(2.0))
    assert expected.cost == pytest.approx(3.0 + 9.72 + 1.08)


def test_interval_is_students_over_the_sampled_thoughts() -> None:
    """A standard deviation of 20 over three thoughts, t = 4.303."""
    low, high = forecast_of([80, 100, 120], num_rows=1.0).thought_tokens_interval
    assert (low, high) == (pytest.approx(50.32, abs=0.01), pytest.approx(149.68, abs=0.01))


def test_one_thought_alone_says_nothing_of_the_spread() -> None:
    expected = forecast_of([100])
    assert expected.thought_tokens_interval == (expected.thought_tokens, expected.thought_tokens)


TOKENS = st.lists(st.integers(0, 500), min_size=1, max_size=9).filter(any)


@settings(deadline=None)  # scipy is imported at the first
@given(tokens=TOKENS, num_rows=st.floats(1, 1e9))
def test_interval_contains_the_mean_and_nothing_below_nothing(tokens: list[int], num_rows: float) -> None:
    expected = forecast_of(tokens, num_rows)
    low, high = expected.thought_tokens_interval
    assert 0 <= low <= expected.thought_tokens <= high


@settings(deadline=None)  # scipy is imported at the first
@given(tokens=TOKENS, num_engines=st.integers(2, 64))
def test_forecast_grows_with_the_rows_and_engines_share_only_the_time(tokens: list[int], num_engines: int) -> None:
    one, ten = forecast_of(tokens, 1000.0), forecast_of(tokens, 10_000.0, num_engines)
    for name in ("thought_tokens", "prompt_tokens", "engine_hours"):
        assert getattr(ten, name) == pytest.approx(10 * getattr(one, name))
    assert ten.thought_tokens_interval == pytest.approx(tuple(10 * end for end in one.thought_tokens_interval))
    assert ten.seconds == pytest.approx(10 * one.seconds / num_engines)
    assert ten.tokens_per_s_per_engine == one.tokens_per_s_per_engine


def test_share_of_rejected_rows_is_that_of_the_sample() -> None:
    """What was written for them is paid for all the same."""
    rows = [thought("a", num_tokens=60), thought("b", num_tokens=40, status="rejected", reason="empty_thought")]
    expected = forecast(rows, reading_of(ready_s=T0, seen_s=T0 + 10), 1000.0, 1, FREE)
    assert (expected.rejected_share, expected.thought_tokens) == (0.5, 50_000)
