"""Questions get their difficulty from what a panel of models answered, and a panel that answered others is refused."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from evaluation_fixtures import QUESTIONS, write_rows

from rcpt_ray.artifacts import write_table
from rcpt_ray.cli import main
from rcpt_ray.errors import UserError
from rcpt_ray.evaluation.difficulty import PANEL, Cuts, write_difficulty
from rcpt_ray.records import ANSWER, CHOICE

Row = dict[str, Any]
ASKED = [{name: value for name, value in one.items() if name != "difficulty"} for one in QUESTIONS]


def chosen(folder: Path, num_right: int, task: str = "sums", questions: list[Row] | None = None) -> str:
    """An evaluation folder of a model that chose rightly in the first so many questions."""
    rows = [
        {"task": task, "item_id": one["id"], "answer": one["answer"], "log_likelihoods": [0.0] * 4}
        | {"choice": one["answer"] if number < num_right else (one["answer"] + 1) % 4}
        for number, one in enumerate(questions or ASKED)
    ]
    write_table(folder / "choices.parquet", pa.Table.from_pylist(rows, schema=CHOICE))
    return str(folder)


def answered(folder: Path, num_right_of_four: list[int]) -> str:
    """An evaluation folder of a model that was sampled four times a question."""
    rows = [
        dict.fromkeys(ANSWER.names)
        | {"task": "sums", "item_id": one["id"], "sample_index": number, "right": number < num_right}
        for one, num_right in zip(ASKED, num_right_of_four, strict=True)
        for number in range(4)
    ]
    write_table(folder / "answers.parquet", pa.Table.from_pylist(rows, schema=ANSWER))
    return str(folder)


def logged(path: Path, right: list[bool], filters: tuple[str, ...] = ("none",)) -> str:
    """What lm-eval logs, a line a question and filter; the first filter tells."""
    lines = [
        {"doc_id": number, "doc": one, "target": str(one["answer"]), "filter": name, "metrics": ["acc"]}
        | {"acc": float(is_right == (name == filters[0]))}
        for name in filters
        for number, (one, is_right) in enumerate(zip(ASKED, right, strict=True))
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return str(path)


@pytest.fixture
def questions(tmp_path: Path) -> str:
    return write_rows(tmp_path / "questions.jsonl", ASKED)


def test_share_of_the_panel_and_its_tier(questions: str, tmp_path: Path) -> None:
    """Three members: choices, samples, a log of lm-eval with two filters."""
    panel = [
        chosen(tmp_path / "a", num_right=4),
        answered(tmp_path / "b", [4, 4, 2, 0, 0]),
        logged(tmp_path / "samples_sums_2026.jsonl", [True, True, False, False, False], ("strict", "flexible")),
    ]
    numbers = write_difficulty(questions, panel, tmp_path / "out.parquet", Cuts())
    rows = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert [row["reference_accuracy"] for row in rows] == pytest.approx([1.0, 1.0, 0.5, 1 / 3, 0.0])
    assert [row["difficulty"] for row in rows] == ["easy", "easy", "hard", "hard", "very_hard"]
    assert numbers == {"easy": 2, "medium": 0, "hard": 2, "very_hard": 1}
    assert [{name: row[name] for name in ASKED[0]} for row in rows] == ASKED


def test_command_with_cuts_of_its_own(questions: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    panel = [chosen(tmp_path / name, num_right) for name, num_right in (("a", 5), ("b", 3), ("c", 3), ("d", 1))]
    command = ["difficulty", questions, "--panel", *panel, "--to", str(tmp_path / "out.jsonl")]
    assert main([*command, "--easy", "0.75", "--medium", "0.5", "--hard", "0.25"]) == 0
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [(row["reference_accuracy"], row["difficulty"]) for row in rows] == [
        (1.0, "easy"),
        (0.75, "easy"),
        (0.75, "easy"),
        (0.25, "hard"),
        (0.25, "hard"),
    ]
    assert capsys.readouterr().out == "easy  3\nmedium  0\nhard  2\nvery_hard  0\n"
    assert main([*command, "--easy", "0.3"]) == 2


def test_folder_of_logs_is_one_model(questions: str, tmp_path: Path) -> None:
    """lm-eval logs a file a subject."""
    whole = logged(tmp_path / "whole.jsonl", [True, False, True, False, True])
    lines = Path(whole).read_text(encoding="utf-8").splitlines(keepends=True)
    logs = tmp_path / "model"
    logs.mkdir()
    (logs / "samples_mmlu_formal_logic_2026-01-01.jsonl").write_text("".join(lines[:3]), encoding="utf-8")
    (logs / "samples_mmlu_virology_2026-01-01.jsonl").write_text("".join(lines[3:]), encoding="utf-8")
    write_difficulty(questions, [str(logs)], tmp_path / "out.jsonl", Cuts())
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["reference_accuracy"] for row in rows] == [1.0, 0.0, 1.0, 0.0, 1.0]


def test_run_folder_gives_each_of_its_evaluations(
    questions: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from rcpt_ray.artifacts import Counts, Manifest

    run = tmp_path / "run"
    for name, num_right in (("aaaa", 5), ("bbbb", 0)):
        chosen(run / "evaluation" / name, num_right)
        counts = Counts(unit="item", num_in=5, num_ok=5)
        manifest = Manifest(
            stage="evaluation", fingerprint=name, stage_version=3, inputs={"model": f"model-{name}"}, config={},
            counts=counts, output_digest="", seconds=1.0,
        )  # fmt: skip
        (run / "evaluation" / name / "manifest.json").write_text(manifest.model_dump_json(), encoding="utf-8")
    chosen(run / "evaluation" / "unfinished", 5)
    (run / "recipe.json").write_text("{}", encoding="utf-8")
    assert write_difficulty(questions, [str(run)], tmp_path / "out.parquet", Cuts())["hard"] == 5
    told = json.loads(pq.read_schema(tmp_path / "out.parquet").metadata[PANEL.encode()])
    assert told == [{"name": "run/aaaa", "model": "model-aaaa"}, {"name": "run/bbbb", "model": "model-bbbb"}]
    assert "all members of the panel are evaluations of one run, run; " in capsys.readouterr().err
    other = chosen(tmp_path / "other", 5)
    write_difficulty(questions, [str(run), other], tmp_path / "out.parquet", Cuts())
    told = json.loads(pq.read_schema(tmp_path / "out.parquet").metadata[PANEL.encode()])
    assert told[2] == {"name": "other", "model": None} and capsys.readouterr().err == ""


def test_panel_that_answered_other_questions_is_refused(questions: str, tmp_path: Path) -> None:
    panel = [chosen(tmp_path / "a", 5), chosen(tmp_path / "b", 5, questions=ASKED[:3])]
    with pytest.raises(UserError, match=r"/b did not answer 2 of 5 questions, q3 for one"):
        write_difficulty(questions, panel, tmp_path / "out.jsonl", Cuts())
    other = [one | {"answer": (one["answer"] + 1) % 4} for one in ASKED]
    with pytest.raises(UserError, match=r"/c has another right answer to q0"):
        write_difficulty(questions, [chosen(tmp_path / "c", 5, questions=other)], tmp_path / "out.jsonl", Cuts())
    assert not (tmp_path / "out.jsonl").exists()


def test_two_tasks_of_the_same_questions_need_a_choice(questions: str, tmp_path: Path) -> None:
    folder = chosen(tmp_path / "a", 5)
    answered(tmp_path / "a", [0] * 5)
    rows = pq.read_table(tmp_path / "a" / "answers.parquet").to_pylist()
    named = [row | {"task": "thought_over"} for row in rows]
    write_table(tmp_path / "a" / "answers.parquet", pa.Table.from_pylist(named, schema=ANSWER))
    with pytest.raises(UserError, match=r"answered q0 2 times \(in sums, thought_over\); choose with --task"):
        write_difficulty(questions, [folder], tmp_path / "out.jsonl", Cuts())
    assert write_difficulty(questions, [folder], tmp_path / "out.jsonl", Cuts(), "sums")["easy"] == 5


def test_what_is_no_log_is_refused(questions: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^--panel=.*nothing is neither a run or evaluation folder"):
        write_difficulty(questions, [str(tmp_path / "nothing")], tmp_path / "out.jsonl", Cuts())
    with pytest.raises(UserError, match=r"^--to=.*csv must end with .parquet or .jsonl"):
        write_difficulty(questions, [chosen(tmp_path / "a", 5)], tmp_path / "out.csv", Cuts())
