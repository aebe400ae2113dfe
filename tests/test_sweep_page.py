"""The sweep's report: what it says of planted results, its files, and its page in a real browser."""

import html
import json
import re
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from browser import Page, open_page
from hypothesis import given
from hypothesis import strategies as st
from sweep_fixtures import (
    BEST,
    SHARES,
    SHARES_SPACE,
    TWO_OBJECTIVES,
    StandIn,
    make_answer,
    make_results,
    make_sweep,
    stage,
)

from rcpt_ray.recipe import Recipe
from rcpt_ray.sweep.answer import Answer, answer
from rcpt_ray.sweep.page.care import read_with_care
from rcpt_ray.sweep.page.inputs import SweepInputs, public_results
from rcpt_ray.sweep.page.plots.lattice import rectangle, with_values
from rcpt_ray.sweep.page.sections import gather
from rcpt_ray.sweep.page.sentences import how_sure
from rcpt_ray.sweep.page.tables import points_table
from rcpt_ray.sweep.page.trial_tables import failures_table, sharing_table, totals_table
from rcpt_ray.sweep.page.write import write_answers, write_sweep
from rcpt_ray.sweep.result import Trial, TrialResult
from rcpt_ray.sweep.space import coordinates_of
from rcpt_ray.sweep.spec import ObjectiveSpec
from rcpt_ray.sweep.tried import TriedPoint, front_of, tried_points

LENGTHS = "thoughts.sampling.max_thought_tokens"
FAILED = ("0004.s17", "0007.s18")


def both_answers(recipe: Recipe, results: list[TrialResult], **changed: Any) -> list[Answer]:
    """Of every objective; the stand-in speaks of bits per byte, accuracy has no surface."""
    assert recipe.sweep is not None
    first, *others = recipe.sweep.objectives
    return [
        make_answer(recipe, results, StandIn(**changed), first),
        *(make_answer(recipe, results, None, name) for name in others),
    ]


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    proxy = {"training.num_epochs": 1}
    return make_sweep(SHARES_SPACE, objectives=TWO_OBJECTIVES, proxy=proxy)


@pytest.fixture(scope="module")
def inputs(recipe: Recipe) -> SweepInputs:
    results = make_results(recipe, 10, failed=FAILED)
    return SweepInputs(recipe, public_results(recipe, results), len(results) + 3, both_answers(recipe, results))


@pytest.fixture(scope="module")
def folder(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sweep")
    results = make_results(recipe, 10, failed=FAILED)
    outcome = write_answers(recipe, results, len(results), folder, both_answers(recipe, results))
    assert outcome.counts.model_dump() == {"unit": "trial", "num_in": 24, "num_ok": 22, "rejected": {"failed": 2}}
    assert outcome.details["engine_requests"] == 120
    return folder


@pytest.fixture(scope="module")
def page(folder: Path) -> Page:
    """As a phone shows it, in the dark; the page around the frame reads what sticks out of it."""
    report = html.escape((folder / "report.html").read_text())
    measure = """
        const inside = frame.contentDocument, width = frame.contentWindow.innerWidth
        const wide = [...inside.querySelectorAll('body *')].filter(one => one.getBoundingClientRect().right > width + 1
            && !one.closest('.scroll') && !one.closest('svg') && !one.closest('pre'))
        const over = [...inside.querySelectorAll('tbody th')].filter(one => one.scrollWidth > one.clientWidth + 1)
        const cut = [...inside.querySelectorAll('svg')].flatMap(svg => [...svg.querySelectorAll('text')].filter(one => {
            const [box, all] = [one.getBoundingClientRect(), svg.getBoundingClientRect()]
            return box.width && (box.left < all.left - 2 || box.right > all.right + 2 || box.top < all.top - 2
                || box.bottom > all.bottom + 2) }))
        document.title = [inside.body.scrollWidth, wide.length, over.length, cut.length].join(' ')"""
    (folder / "phone.html").write_text(
        f"""<title></title><script>const measure = frame => {{ {measure} }}</script>
        <iframe width="390" height="800" style="border: 0" onload="measure(this)" srcdoc="{report}"></iframe>"""
    )
    return open_page(folder / "phone.html", folder, dark=True, picture=False)


def test_a_phone_scrolls_tables_alone_and_cuts_no_label(page: Page) -> None:
    """Width of the body, elements that stick out, names of rows that overlap, texts of plots that are cut."""
    (title,) = re.findall("<title>(.*?)</title>", page.dom)
    assert title == "390 0 0 0"
    assert page.console == []


def test_every_plot_is_drawn_and_told_in_figures(folder: Path, inputs: SweepInputs) -> None:
    report = (folder / "report.html").read_text()
    plots = [plot for section in gather(inputs).sections for plot in section.plots]
    assert len(re.findall(r"<svg\b", report)) == len(plots) == 11
    assert all(len(re.findall(r"\d+\.\d+|\d+ of \d+", plot.alt)) >= 3 for plot in plots)
    assert len({plot.title for plot in plots}) == len(plots)
    ids = re.findall(r'\sid="(.*?)"', report)
    assert len(ids) == len(set(ids))


def test_the_answer_stands_first(folder: Path) -> None:
    words = (folder / "report.md").read_text().partition("**Read with care**")[0]
    assert "12 settings of arm reasoning were tried with 2 seeds each" in words
    assert "web/thought 0.6, law/raw 0.3, books/replay 0.1" in words and "1.1000 (1.0900 to 1.1100)" in words
    assert "The recipe's own settings have 1.1180" in words and "distinguishable" in words


def test_no_file_says_where_on_a_machine_it_was(folder: Path) -> None:
    for name in ("report.html", "report.md", "answer.json"):
        assert "/data/models" not in (folder / name).read_text(), name
    reasons = pq.read_table(folder / "results.parquet")["reason"].to_pylist()
    assert {reason for reason in reasons if reason} == {"RuntimeError: no room in RUN/training for tiny <b>"}
    assert "tiny &lt;b&gt;" in (folder / "report.html").read_text()


def test_programs_can_read_the_answer(folder: Path) -> None:
    told = json.loads((folder / "answer.json").read_text())
    bits, accuracy = told["objectives"]["bits per byte"], told["objectives"]["accuracy"]
    assert bits["best"]["by"] == "surface" and bits["best"]["point"]["mixture.weights"]["web/thought"] == 0.6
    assert bits["optimum"]["region"]["law/raw"] == [0.2, 0.4]
    assert [one["role"] for one in bits["baselines"]] == ["recipe", "stratified"]
    assert all(one["distinguishable"] for one in bits["baselines"])
    assert accuracy["surface"] is None and accuracy["best"]["by"] == "tried"
    assert accuracy["best"]["number"] in told["pareto_front"]
    assert told["trials"] == {"planned": 24, "ok": 22, "stopped": 0, "refused": 0, "failed": 2}


def test_read_with_care_says_what_could_mislead(inputs: SweepInputs) -> None:
    said = " ".join(read_with_care(inputs))
    for words in (
        "Olmix",
        "training.num_epochs=1",
        "2 trials of 24 failed",
        "0004.s17, 0007.s18 (RuntimeError: no room in RUN/training for tiny <b>)",
        "3 trials of 27 planned had not ended",
        "23,200 to 32,800 tokens (1.41 times",
        "no trial was at the best settings",
    ):
        assert words in said, words
    assert "noise between seeds is not known" not in said and "does not predict" not in said


def test_care_is_asked_for_one_seed_no_skill_and_an_edge() -> None:
    recipe = make_sweep(SHARES_SPACE, seeds=[17])
    results = make_results(recipe, 4)
    (told,) = both_answers(recipe, results, cv_skill=-0.3)
    said = " ".join(read_with_care(SweepInputs(recipe, results, len(results), [told])))
    assert "noise between seeds is not known" in said and "(skill -0.30)" in said
    assert told.alike is None and told.baselines[1].distinguishable is None
    at_edge = {"mixture.weights": {"law/raw": 1.0}, "thoughts.sampling.max_thought_tokens": 64}
    edge = both_answers(recipe, results, point=at_edge)
    said = " ".join(read_with_care(SweepInputs(recipe, results, len(results), edge)))
    assert "edge of the space (share of web/thought 0, share of law/raw 1 and share of books/replay 0)" in said


def test_stages_that_trials_share_are_counted_once(inputs: SweepInputs) -> None:
    rows = {row[0]: row[1:] for row in sharing_table(inputs).rows}
    assert rows["generate"] == ["24", "3", "3", "0", "0", "120", "960", "360.0", "2,880.0"]
    assert dict(map(tuple, totals_table(inputs).rows))["Engine requests"] == "120"  # type: ignore[arg-type]


def test_points_are_listed_best_first_and_none_is_left_out(inputs: SweepInputs) -> None:
    table = points_table(inputs)
    assert all(len(row) == len(table.columns) for row in table.rows)
    means = [float(row[table.columns.index("bits per byte")]) for row in table.rows]
    assert means[:10] == sorted(means[:10]) and len(means) == 12
    assert all("1 ok, 1 failed" in row for row in table.rows[10:]), "what some seeds alone say stands behind"


def test_without_skill_seeds_tell_which_settings_are_alike() -> None:
    """Noise far below the differences tells points apart; noise far above tells none."""
    for noise, wanted in ((1e-6, 1), (1.0, 14)):
        recipe = make_sweep(SHARES_SPACE)
        (told,) = both_answers(recipe, make_results(recipe, 12, noise), cv_skill=0.0)
        assert told.alike is not None and len(told.alike) == wanted
        assert told.chosen is not None and told.chosen.tried in told.alike


def ended(results: list[TrialResult], status: str, *names: str) -> list[TrialResult]:
    """The results where some trials have ended otherwise."""
    other = {"status": status, "objectives": {}, "reason": f"was {status}"}
    return [one.model_copy(update=other) if one.trial.name in names else one for one in results]


def test_refused_trials_are_told_with_their_reasons_apart_from_failed_ones() -> None:
    recipe = make_sweep(SHARES_SPACE)
    results = ended(make_results(recipe, 10, failed=("0007.s18",)), "refused", "0004.s17", "0004.s18")
    inputs = SweepInputs(recipe, results, len(results), both_answers(recipe, results))
    said = " ".join(read_with_care(inputs))
    assert "One trial of 24 failed" in said
    assert "2 trials of 24 were refused, because such settings cannot be had: 0004.s17, 0004.s18 (was refused)" in said
    assert "1 of 12 settings were only refused, within share of web/thought" in said
    (row,) = (row for row in points_table(inputs).rows if row[0] == "4")
    assert row[-1] == "only refused (2)"
    assert [row[1] for row in failures_table(inputs).rows] == ["refused", "refused", "failed"]
    totals = dict(map(tuple, totals_table(inputs).rows))  # type: ignore[arg-type]
    assert [totals[f"Trials {status}"] for status in ("ok", "stopped", "refused", "failed")] == ["21", "0", "2", "1"]


def test_a_point_of_which_the_lucky_seed_alone_is_left_is_not_the_best() -> None:
    """The survivor's figure is better than any; the surface does not see it and it is never the best tried."""
    recipe = make_sweep(SHARES_SPACE)
    results = ended(make_results(recipe, 12), "stopped", "0005.s17")
    lucky = next(one for one in results if one.trial.name == "0005.s18")
    lucky.objectives["bits per byte"] = 0.5
    (told,) = answer(recipe, results)
    assert [one.number for one in told.left_out] == [5]
    assert told.surface is not None and told.surface.num_points == 13
    assert told.best_tried is not None and told.points[told.best_tried].number != 5
    assert told.optimum is not None and not told.optimum.holds(lucky.trial.point)
    said = " ".join(read_with_care(SweepInputs(recipe, results, len(results), [told])))
    assert "one setting is left out of the surface and cannot be the best (point 5)" in said
    assert "At 1 of 14 settings trainings were stopped, within share of web/thought" in said


def test_settings_of_one_training_are_one_measurement() -> None:
    """Length makes no difference without thoughts: 30 trials on 20 trainings, noise and degrees by those."""
    recipe = make_sweep(
        {"mixture.weights": {"components": SHARES, "step": 0.5}, LENGTHS: {"values": [32, 64, 128]}}, searcher="grid"
    )
    seen = dict[str, float]()
    results = []
    for one in make_results(recipe, 18, noise=0.01):
        without = "web/thought" not in one.trial.point["mixture.weights"]
        name = f"{one.trial.point['mixture.weights']} {'' if without else one.trial.point[LENGTHS]} {one.trial.seed}"
        bits = seen.setdefault(name, one.objectives["bits per byte"])
        evaluation = {"evaluation": stage(name, True, 1.0)}
        results.append(
            one.model_copy(update={"stages": one.stages | evaluation, "objectives": {"bits per byte": bits}})
        )
    (told,) = answer(recipe, results)
    num_trainings = len(seen)
    assert len(results) > num_trainings and told.surface is not None and told.noise is not None
    assert (told.surface.num_trainings, told.surface.degrees) == (num_trainings, num_trainings - 1)
    assert told.noise.freedom == num_trainings - len(told.measurements) == num_trainings // 2
    said = " ".join(read_with_care(SweepInputs(recipe, results, len(results), [told])))
    assert f"{len(results)} trials stand on {num_trainings} trainings" in said
    assert f"{LENGTHS} makes no difference at share of web/thought 0." in said
    assert told.alike is not None
    for one in told.measurements:
        assert len({place in told.alike for place in one.places}) == 1, "one measurement is judged as one"


def test_what_was_made_is_paid_once_and_an_attempt_counts_until_it_is_finished() -> None:
    """Two trials name the same training, which one gave up and the other finished; a third one is still open."""
    recipe = make_sweep(SHARES_SPACE)
    first, second, third, *_ = make_results(recipe, 3)
    uses = [
        stage("shared", True, 10.0, gpu_hours=1.0, is_finished=False),
        stage("shared", True, 30.0, gpu_hours=3.0),
        stage("open", True, 5.0, gpu_hours=0.5, is_finished=False),
    ]
    trials = zip((first, second, third), uses, strict=True)
    results = [one.model_copy(update={"stages": {"training": use}}) for one, use in trials]
    inputs = SweepInputs(recipe, results, 3, both_answers(recipe, results))
    totals = dict(map(tuple, totals_table(inputs).rows))  # type: ignore[arg-type]
    assert (totals["GPU-hours"], totals["Seconds of stages"], totals["Stages made"]) == ("3.500", "35.0", "2")
    assert totals["of them trainings that did not finish"] == "1"
    (row,) = sharing_table(inputs).rows
    assert row[:5] == ["training", "3", "2", "2", "1"]


def test_names_of_a_region_do_not_say_where_models_stand(tmp_path: Path) -> None:
    models = ["/data/models/tiny", "/data/models/small"]
    recipe = make_sweep({"student.reference": {"values": models}, LENGTHS: {"values": [32, 64, 128]}})
    results = make_results(recipe, 6, respond=lambda point: 1.0 + 0.1 * models.index(point["student.reference"]))
    write_sweep(recipe, results, len(results), tmp_path)
    text = (tmp_path / "answer.json").read_text()
    assert "/data/models" not in text
    assert json.loads(text)["objectives"]["bits per byte"]["optimum"]["region"]["student.reference"] == ["tiny"]


def test_a_map_looks_at_every_twentieth_of_two_ranges() -> None:
    """What may be the best is an area on the plot: every held place lies in the region, and no other."""
    rate = "training.learning_rate"
    space = {rate: {"low": 1e-5, "high": 1e-3, "scale": "log"}, LENGTHS: {"low": 16, "high": 256, "integer": True}}
    recipe = make_sweep(space)
    (told,) = answer(recipe, make_results(recipe, 12, noise=0.02))
    assert told.has_skill and told.optimum is not None and told.chosen is not None
    lattice = rectangle(told, *coordinates_of(told.space), True)
    assert lattice.num_looked == 441
    asked = lattice.held[:: max(1, len(lattice.held) // 5)]
    assert asked and all(told.optimum.holds({rate: x, LENGTHS: int(y)}) for x, y in asked)


def test_the_report_says_where_its_interval_may_be_too_narrow(inputs: SweepInputs) -> None:
    assert "narrow peak" in " ".join(how_sure(inputs))


def test_a_sweep_whose_trials_all_failed_still_reports(tmp_path: Path) -> None:
    recipe = make_sweep(SHARES_SPACE, seeds=[17])
    names = tuple(f"{number:04d}.s17" for number in range(5))
    results = make_results(recipe, 3, failed=names)
    outcome = write_answers(recipe, results, 5, tmp_path, [make_answer(recipe, results, None)])
    assert outcome.counts.num_ok == 0 and outcome.counts.rejected == {"failed": 5}
    assert "no trial has a figure" in (tmp_path / "report.md").read_text()
    assert json.loads((tmp_path / "answer.json").read_text())["objectives"]["bits per byte"]["best"] is None


def test_equal_results_give_equal_bytes(recipe: Recipe, folder: Path, tmp_path: Path) -> None:
    results = make_results(recipe, 10, failed=FAILED)
    write_answers(recipe, results, len(results), tmp_path, both_answers(recipe, results))
    for name in ("report.html", "report.md", "results.parquet", "answer.json"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes(), name


def test_trials_of_equal_settings_are_one_point() -> None:
    recipe = make_sweep(SHARES_SPACE, seeds=[17])
    assert recipe.sweep is not None
    one, *_ = make_results(recipe, 1)
    shares = one.trial.point["mixture.weights"]
    point = one.trial.point | {"mixture.weights": shares | {"books/replay": 0.0}}
    again = one.model_copy(update={"trial": Trial(number=9, role="searched", point=point, seed=18)})
    (found,) = tried_points([again, one], recipe.sweep.space)
    assert found.number == 0 and found.roles == {"recipe", "searched"} and len(found.trials) == 2


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=12))
def test_the_front_is_what_nothing_beats(pairs: list[tuple[int, int]]) -> None:
    """Every point is on the front, or is beaten by one that is."""
    specs = {
        "less": ObjectiveSpec(measures={"a/b": 1.0}),
        "more": ObjectiveSpec(measures={"a/c": 1.0}, goal="maximize"),
    }
    points = []
    for number, (less, more) in enumerate(pairs):
        trial = Trial(number=number, role="searched", point={"x.y": number}, seed=1)
        result = TrialResult(trial=trial, status="ok", objectives={"less": less, "more": more})
        points.append(TriedPoint(trial.point, [result]))
    front = front_of(points, specs)

    def beats(one: tuple[int, int], other: tuple[int, int]) -> bool:
        return one != other and one[0] <= other[0] and one[1] >= other[1]

    for place, pair in enumerate(pairs):
        beaten = any(beats(pairs[other], pair) for other in front)
        assert beaten != (place in front)


@given(st.floats(0, 1), st.floats(0, 1))
def test_changed_shares_still_sum_to_one(first: float, second: float) -> None:
    space = make_sweep(SHARES_SPACE).sweep.space  # type: ignore[union-attr]
    web, law, _, _ = coordinates_of(space)
    for shares in ({"web/thought": 0.5, "law/raw": 0.3, "books/replay": 0.2}, {"web/thought": 1.0}):
        for values in ({web: first * second, law: first * (1 - second)}, {web: first * second}):
            changed = with_values({"mixture.weights": shares}, values, space)["mixture.weights"]
            assert abs(sum(changed.values()) - 1) < 1e-6
            assert abs(changed.get("web/thought", 0.0) - first * second) < 1e-8


def test_the_real_surface_answers_and_its_region_holds_the_planted_best() -> None:
    pytest.importorskip("rcpt_ray.sweep.surface.fit")
    recipe = make_sweep(SHARES_SPACE)
    (told,) = answer(recipe, make_results(recipe, 12))
    assert told.has_skill and told.chosen is not None and told.optimum is not None
    assert told.chosen.point == told.optimum.point and told.optimum.holds(BEST)
    assert set(told.responses) == {*SHARES, "thoughts.sampling.max_thought_tokens"}
    assert [one.role for one in told.baselines] == ["recipe", "stratified"]


@pytest.mark.slow
def test_the_real_surface_finds_the_planted_best(tmp_path: Path) -> None:
    pytest.importorskip("rcpt_ray.sweep.surface.fit")
    recipe = make_sweep(SHARES_SPACE)
    results = make_results(recipe, 12)
    write_sweep(recipe, results, len(results), tmp_path)
    told = json.loads((tmp_path / "answer.json").read_text())["objectives"]["bits per byte"]
    assert told["best"]["by"] == "surface" and told["best"]["low"] < 1.10 < told["best"]["high"]
    assert told["optimum"]["region"]["web/thought"][0] <= 0.6 <= told["optimum"]["region"]["web/thought"][1]
