"""`rcpt report A B C`: finished runs on one page, from their manifests and rows alone, and what is refused."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from report_fixtures import ARMS, make_arm, make_inputs, make_manifest, make_recipe

from rcpt_ray.artifacts import open_run, write_atomic, write_table
from rcpt_ray.cli import main
from rcpt_ray.records import SCORE
from rcpt_ray.report.compare_runs import compare, compare_runs
from rcpt_ray.report.inputs import ArmResult, ReportInputs
from rcpt_ray.report.page import Content
from rcpt_ray.report.side_by_side import side_by_side
from rcpt_ray.report.sources import SOURCES, read_run, render_sources
from rcpt_ray.report.tables.table import Table


def finish_run(run: Path, inputs: ReportInputs, report: str = "report0011223344") -> None:
    """A run folder as `rcpt run` leaves it behind, as far as a report of several runs looks."""
    open_run(run, inputs.recipe.model_dump(mode="json"))
    for arm in inputs.arms:
        if arm.evaluation is not None:
            folder = run / "evaluation" / arm.evaluation.fingerprint
            write_table(folder / "scores.parquet", arm.scores)
        for manifest in (arm.evaluation, arm.mixture, arm.training):
            if manifest is not None:
                folder = run / manifest.stage / manifest.fingerprint
                write_atomic(folder / "manifest.json", manifest.model_dump_json())
        if arm.training is not None and arm.steps is not None:
            write_table(run / "training" / arm.training.fingerprint / "steps.parquet", arm.steps)
    write_atomic(run / "report" / report / SOURCES, render_sources(inputs))
    manifest = make_manifest("report", fingerprint=report)
    write_atomic(run / "report" / report / "manifest.json", manifest.model_dump_json())


def with_scores(arm: ArmResult, change: Any, **evaluation: Any) -> ArmResult:
    """The arm with changed rows of scores; `change` returns a row's changes, or None to leave it out."""
    rows = [row | more for row in arm.scores.to_pylist() if (more := change(row)) is not None]
    assert arm.evaluation is not None
    manifest = arm.evaluation.model_copy(update=evaluation)
    return replace(arm, scores=pa.Table.from_pylist(rows, schema=SCORE), evaluation=manifest)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs `first`, `second` (better on all documents, 30 of 40 questions), `other` (other questions and documents)."""
    place = tmp_path_factory.mktemp("runs")
    finish_run(place / "first", make_inputs(recipe=make_recipe(name="first")))

    def better(row: dict[str, Any]) -> dict[str, Any] | None:
        if row["metric"] == "acc":
            return {} if row["item_id"] < "q030" else None
        return {"value": row["value"] - 0.1}

    second = [with_scores(make_arm(name), better) for name in ARMS]
    recipe = make_recipe(name="second", training={"learning_rate": 0.5}, evaluation={"tasks": {}})
    finish_run(place / "second", make_inputs(recipe=recipe, arms=second, student="another student"))

    def longer(row: dict[str, Any]) -> dict[str, Any]:
        return {"weight": row["weight"] + (row["metric"] == "bits_per_byte")}

    digests = {"first": "a", "other": "b"}
    for run, digest in digests.items():
        arms = [with_scores(make_arm("base"), longer, inputs={"quiz/questions": digest})]
        finish_run(place / f"asked-{run}", make_inputs(recipe=make_recipe(name=f"asked-{run}"), arms=arms))
    return place


@pytest.fixture(scope="module")
def content(place: Path) -> Content:
    return compare([read_run(str(place / name)) for name in ("first", "second")])


def table(content: Content, title: str) -> Table:
    return next(table for table in content.tables if table.title == title)


def test_arms_stand_side_by_side(content: Content) -> None:
    assert [row[0] for row in table(content, "Arms").rows] == [
        f"{run}:{arm}" for run in ("first", "second") for arm in ARMS
    ]


def test_the_better_run_is_found_arm_by_arm(content: Content) -> None:
    shown = table(content, "Differences from first, arm by arm")
    assert [row[0] for row in shown.rows] == [f"second:{arm}" for arm in ARMS]
    for row in shown.rows:
        cells = dict(zip(shown.columns, row, strict=True))
        assert cells["Bits/byte"].startswith("−0.1000") and cells["Bits/byte"].endswith(", lower")
        assert cells["quiz: accuracy"].startswith("+0.000 (+0.000 to +0.000)")


def test_only_shared_questions_are_compared_and_counted(content: Content) -> None:
    rows = [row for row in table(content, "Items that both answered").rows if row[2] == "quiz: accuracy"]
    assert rows[0] == ["second:base", "first:base", "quiz: accuracy", "30", "30", "40"]


def test_settings_that_differ_are_listed_and_no_others(content: Content) -> None:
    rows = {row[0]: row[1:] for row in table(content, "Settings that differ").rows}
    assert rows["training.learning_rate"][1] == "0.5"
    assert rows["evaluation.tasks.quiz.path"] == ["quiz.jsonl", "–"]
    assert all(setting.startswith(("training.learning_rate", "evaluation.tasks")) for setting in rows)


def test_the_report_of_the_last_commands_recipe_is_taken(tmp_path: Path) -> None:
    """Three recipes made reports in one run folder; the newest report is not of the recipe of the last command."""
    recipes = {name: make_recipe(training={"learning_rate": rate}) for name, rate in (("a", 0.1), ("b", 0.2))}
    for name, recipe in recipes.items():
        finish_run(tmp_path / "run", make_inputs(recipe=recipe, student=name), f"report-{name}")
    open_run(tmp_path / "run", recipes["a"].model_dump(mode="json"))
    run = read_run(str(tmp_path / "run"))
    assert (run.report, run.student, run.settings_apart) == ("report-a", "a", [])
    near = make_recipe(training={"learning_rate": 0.1, "num_epochs": 7})
    open_run(tmp_path / "run", near.model_dump(mode="json"))
    run = read_run(str(tmp_path / "run"))
    assert (run.report, run.settings_apart) == ("report-a", ["training.num_epochs"])
    other = tmp_path / "other"
    finish_run(other, make_inputs())
    said = compare([run, read_run(str(other))]).read_with_care
    assert "from report report-a, whose recipe differs in 1 setting: training.num_epochs" in said[1]
    assert said[3].endswith(": from report report0011223344, of the recipe of the run's last command.")


def test_students_of_all_runs_are_told(content: Content) -> None:
    assert any("second: student another student" in sentence for sentence in content.read_with_care)


def test_other_questions_of_equal_ids_are_not_compared(place: Path) -> None:
    runs = [read_run(str(place / name)) for name in ("asked-first", "asked-other")]
    found = compare(runs)
    assert any("the questions or examples of asked-other are other ones" in sentence for sentence in found.not_shown)
    shown = table(found, "Differences from asked-first, arm by arm")
    assert dict(zip(shown.columns, shown.rows[0], strict=True))["quiz: accuracy"] == "–"


@pytest.mark.parametrize(
    ("kind", "inputs", "told"),
    [
        ("likelihood", {"quiz/questions": "a"}, ""),
        ("likelihood", {"quiz/questions": "a", "quiz/examples": "c"}, "the questions or examples of second are other"),
        ("stock", {"quiz/data.test": "a"}, ""),
        ("stock", {"quiz/data.test": "b"}, "the questions or examples of second are other"),
        ("stock", {}, "whether second asked the same as first is not known"),
    ],
)
def test_only_tasks_of_equal_files_are_paired(place: Path, kind: str, inputs: dict[str, str], told: str) -> None:
    """The first run has equal files where that makes the case; a stock task without files is paired with nothing."""
    first = inputs if not told or not inputs else {name: "a" for name in inputs if "examples" not in name}
    details = {"tasks": {"quiz": {"kind": kind}}}
    run = read_run(str(place / "first"))
    runs = [
        replace(run, name=name, arms=[with_scores(make_arm("base"), lambda row: {}, inputs=own, details=details)])
        for name, own in (("first", first), ("second", inputs))
    ]
    arms, apart = side_by_side(runs)
    assert len(apart) == bool(told) and told in "".join(apart)
    assert set(arms[1].scores["task"].to_pylist()) == {"quiz (second)" if told else "quiz", "heldout"}


def test_other_documents_of_equal_ids_are_not_compared(place: Path) -> None:
    found = compare([read_run(str(place / name)) for name in ("first", "asked-first")])
    assert any("24 held-out figures of asked-first" in sentence for sentence in found.not_shown)
    shown = table(found, "Differences from first, arm by arm")
    assert dict(zip(shown.columns, shown.rows[0], strict=True))["Bits/byte"] == "–"


def test_the_command_writes_a_new_page_each_time(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [str(place / name) for name in ("first", "second")]
    assert main(["report", *paths]) == 0
    assert main(["report", *paths]) == 0
    assert main(["report", *paths, "--to", str(tmp_path / "page")]) == 0
    told = capsys.readouterr().out
    for folder in (place / "first/compared/first_second-1", place / "first/compared/first_second-2", tmp_path / "page"):
        assert "first and second compared" in (folder / "report.html").read_text()
        assert f"report   {folder / 'report.md'}" in told


def test_runs_of_one_name_are_told_apart_by_their_folders(place: Path, tmp_path: Path) -> None:
    (tmp_path / "copy").symlink_to(place / "first", target_is_directory=True)
    folder = compare_runs([str(place / "first"), str(tmp_path / "copy")], str(tmp_path / "page"))
    assert "copy:reasoning" in (folder / "report.md").read_text()


def no_run(place: Path) -> list[str]:
    (place / "plain").mkdir(exist_ok=True)
    return [str(place / "first"), str(place / "plain")]


def no_report(place: Path) -> list[str]:
    open_run(place / "begun", make_recipe(name="begun").model_dump(mode="json"))
    return [str(place / "first"), str(place / "begun")]


def half_a_run(place: Path) -> list[str]:
    finish_run(place / "half", make_inputs(recipe=make_recipe(name="half")))
    next((place / "half" / "training").glob("*/manifest.json")).unlink()
    return [str(place / "first"), str(place / "half")]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (no_run, "plain is not a run folder: it has no recipe.json; give a folder made by rcpt"),
        (no_report, "begun holds no finished report; make it with `rcpt report RECIPE run="),
        (half_a_run, "which its report was made from; run `rcpt report` there once more"),
        (lambda place: [str(place / "first")], "alone compares nothing; name two or more run folders"),
        (lambda place: [str(place / "first")] * 2, "is named twice; name each run folder once"),
        (lambda place: [str(place / "first"), str(place / "nowhere")], "nowhere is not a run folder"),
        (lambda place: [str(place / "first"), str(place / "second"), "--to", str(place)], "is not an empty folder"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_a_sentence(
    place: Path, capsys: pytest.CaptureFixture[str], given: Any, told: str
) -> None:
    assert main(["report", *given(place)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("rcpt: ") and told in line


def test_a_recipes_report_has_a_folder_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(tmp_path / "recipe.yaml"), "--to", "page"]) == 2
    assert "--to page is for a report that compares run folders; leave it out" in capsys.readouterr().err


def test_sources_name_the_stages_relative_to_the_run(place: Path) -> None:
    (sources,) = (place / "first" / "report").glob("*/inputs.json")
    variants = json.loads(sources.read_text())["variants"]
    assert variants[-1]["stages"]["training"] == f"training/{make_arm('reasoning').training.fingerprint}"  # type: ignore[union-attr]
