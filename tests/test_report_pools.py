"""The report's picture of a streaming training: how busy engines and workers were."""

from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest
from report_fixtures import make_arm, make_inputs

from rcpt_ray.records import TIMELINE
from rcpt_ray.report.figures import measure_run
from rcpt_ray.report.page import gather, render_page
from rcpt_ray.report.plots.pools import plot_pools, pool_use


def row(time_s: float, busy: int, step_seconds: float, session: str = "first") -> dict[str, Any]:
    numbers = {"num_thoughts": 0, "num_thought_tokens": 0, "num_batches": 0, "num_steps": 0}
    engines = {"engines_up": 2, "engines_busy": busy, "engines_most": 2}
    return {"time_s": time_s, "session": session, "step_seconds": step_seconds} | engines | numbers


def test_use_is_the_share_of_a_pool_that_was_at_work_in_each_stretch() -> None:
    timeline = [row(100.0, 0, 0.0), row(110.0, 2, 0.0), row(120.0, 1, 5.0)]
    minutes, engines, workers = pool_use(timeline)
    assert minutes == pytest.approx([0.0, 10 / 60, 20 / 60])
    assert (engines, workers) == ([1.0, 0.5, 0.5], [0.0, 0.5, 0.5])


def test_time_between_a_kill_and_the_rerun_is_cut_out() -> None:
    timeline = [row(0.0, 2, 0.0), row(60.0, 2, 30.0), row(9000.0, 2, 30.0, "second"), row(9060.0, 0, 60.0, "second")]
    minutes, engines, workers = pool_use(timeline)
    assert minutes == pytest.approx([0.0, 1.0, 2.0])
    assert (engines, workers) == ([1.0, 0.0, 0.0], [0.5, 0.5, 0.5])


@pytest.mark.parametrize("sessions", [[], ["first"], ["first", "second"]])
def test_commands_that_were_seen_once_show_nothing(sessions: list[str]) -> None:
    timeline = pa.Table.from_pylist(
        [row(float(second), 1, 0.0, session) for second, session in enumerate(sessions)], schema=TIMELINE
    )
    assert plot_pools(replace(make_arm("reasoning"), timeline=timeline)) is None


def test_two_looks_at_one_moment_are_shown() -> None:
    minutes, engines, workers = pool_use([row(5.0, 1, 0.0), row(5.0, 2, 0.0)])
    assert (len(minutes), engines, workers) == (2, [0.0, 0.0], [0.0, 0.0])


def test_long_training_is_shown_in_few_stretches() -> None:
    minutes, engines, _ = pool_use([row(float(second), second % 2 + 1, 0.0) for second in range(5001)])
    assert len(minutes) <= 61
    assert minutes[-1] == pytest.approx(5000 / 60)
    assert engines[0] == pytest.approx(0.75, abs=0.02)


def test_report_of_a_streaming_arm_shows_its_pools_and_its_blend() -> None:
    timeline = pa.Table.from_pylist([row(float(second), 1, second / 2) for second in range(9)], schema=TIMELINE)
    arm = make_arm("reasoning")
    inputs = make_inputs(arms=[replace(arm, timeline=timeline, mixture=arm.training)])
    page = render_page(gather(inputs, measure_run(inputs)))
    assert "Engines and workers over time, reasoning" in page
    assert "reasoning, reasoning" not in page
