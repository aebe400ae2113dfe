"""`rcpt difficulty`: how hard questions are, from the logged answers of a panel of models.

    reference_accuracy   the share of the panel that answers a question rightly; of a model that was sampled, the share
                         of its samples
    difficulty           easy where it is 1, medium from 0.6, hard from 0.3, else very_hard; the cuts can be set

A member of the panel is an evaluation stage folder of ours, each evaluation in a run folder of ours, one
samples_*.jsonl that lm-eval logged, or a folder of these (a model's subjects). Items are known by their id, those of
lm-eval's files by question and choices. Invariant: every member answered every question exactly once, with the same
right answer in its log; a panel that did not is refused. Of a file with several filters the first one counts. A Parquet
file tells its panel in its metadata. A panel of one run's arms is warned of: among these arms the tiers are biased.
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rcpt_ray.artifacts import read_manifest, write_atomic, write_table
from rcpt_ray.corpus.reading.files import RECORDS, list_files
from rcpt_ray.corpus.reading.paths import public_path
from rcpt_ray.errors import UserError
from rcpt_ray.evaluation.files import records_of
from rcpt_ray.evaluation.questions import Questions, questions_of

TIERS = ("easy", "medium", "hard", "very_hard")
PANEL = "rcpt.panel"
"""Key of the Parquet file's metadata that tells the panel: [{"name", "model": digest or null}]."""
_METRICS = ("acc", "exact_match")
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Cuts:
    """The least reference accuracy of each tier."""

    easy: float = 1.0
    medium: float = 0.6
    hard: float = 0.3

    def __post_init__(self) -> None:
        if not 1.0 >= self.easy > self.medium > self.hard > 0.0:
            raise UserError(
                f"--easy={self.easy} --medium={self.medium} --hard={self.hard} must fall, from at most 1 to above 0"
            )

    def tier(self, accuracy: float) -> str:
        """The tier of a reference accuracy.

        >>> [Cuts().tier(share) for share in (1.0, 0.6, 0.3, 0.29)]
        ['easy', 'medium', 'hard', 'very_hard']
        """
        least = zip(TIERS, (self.easy, self.medium, self.hard), strict=False)
        return next((tier for tier, share in least if accuracy >= share - _ROUNDING), TIERS[-1])


@dataclass(frozen=True)
class Logged:
    """What one model answered to one question: by task, the share of its samples that is right."""

    task: str
    right: float
    answer: int | None
    """The right choice as logged; None where the log does not tell."""


Member = Mapping[str, Sequence[Logged]]
"""Item -> answers."""


def write_difficulty(path: str, panel: Sequence[str], to: Path, cuts: Cuts, task: str | None = None) -> dict[str, int]:
    """Write the questions of `path` with reference_accuracy and difficulty; questions by tier.

    Raises:
        UserError: a file is missing or of another kind, or members of the panel answered other questions.
    """
    if to.suffix not in (".parquet", ".jsonl"):
        raise UserError(f"--to={to} must end with .parquet or .jsonl")
    files = list_files("QUESTIONS", path, RECORDS)
    records = [record for record, _ in records_of(files)]
    questions = questions_of("QUESTIONS", path, files)
    members = [named for place in panel for named in _members(place, questions)]
    if warning := _of_one_run([name for name, _ in members]):
        print(f"rcpt: {warning}", file=sys.stderr)
    shares = [_shares(name, member, questions, task) for name, member in members]
    accuracies = [sum(own[question["item_id"]] for own in shares) / len(shares) for question in questions]
    rows = [
        record | {"reference_accuracy": accuracy, "difficulty": cuts.tier(accuracy)}
        for record, accuracy in zip(records, accuracies, strict=True)
    ]
    if to.suffix == ".parquet":
        told = json.dumps([_public_member(name) for name, _ in members])
        write_table(to, pa.Table.from_pylist(rows).replace_schema_metadata({PANEL: told}))
    else:
        write_atomic(to, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return {tier: sum(row["difficulty"] == tier for row in rows) for tier in TIERS}


def _of_one_run(members: Sequence[str]) -> str:
    """A warning where all members are evaluations of one run folder, else nothing."""
    runs = {_run_of(Path(name).expanduser()) for name in members}
    run = next(iter(runs))
    if len(runs) > 1 or run is None:
        return ""
    return (
        f"all members of the panel are evaluations of one run, {run.name}; compare other arms by these tiers, or take "
        "other models: where arms make the tiers that they are compared by, chance errors of one make questions hard, "
        "and what looks like a gain on hard questions is regression to the mean"
    )


def _run_of(member: Path) -> Path | None:
    """The run folder of an evaluation."""
    run = member.absolute().parent.parent
    return run if member.absolute().parent.name == "evaluation" and (run / "recipe.json").is_file() else None


def _public_member(name: str) -> dict[str, str | None]:
    """A member as the questions' file tells of it: its last names, and the digest of its model where that is known."""
    path = Path(name).expanduser()
    run, manifest = _run_of(path), read_manifest(path)
    return {
        "name": f"{run.name}/{path.name}" if run else public_path(name),
        "model": manifest.inputs.get("model") if manifest else None,
    }


def _shares(name: str, member: Member, questions: Questions, task: str | None) -> dict[str, float]:
    """Item -> share right of one member; UserError unless it answered each question once."""
    shares: dict[str, float] = {}
    missing: list[str] = []
    for question in questions:
        item_id = question["item_id"]
        logged = [one for one in member.get(item_id, ()) if task is None or one.task == task]
        if not logged:
            missing.append(item_id)
            continue
        if len(logged) > 1:
            tasks = ", ".join(sorted({one.task for one in logged}))
            raise UserError(f"--panel={name} answered {item_id} {len(logged)} times (in {tasks}); choose with --task")
        if logged[0].answer not in (None, question["answer"]):
            raise UserError(
                f"--panel={name} has another right answer to {item_id} than QUESTIONS; give the log of these questions"
            )
        shares[item_id] = logged[0].right
    if missing:
        raise UserError(
            f"--panel={name} did not answer {len(missing):,} of {len(questions):,} questions, {missing[0]} for one; "
            "all models of a panel must have answered all of QUESTIONS"
        )
    return shares


def _members(place: str, questions: Questions) -> Iterator[tuple[str, Member]]:
    """The members that a path stands for, by name."""
    path = Path(place).expanduser()
    if path.is_file() and path.suffix == ".jsonl":
        yield place, _lm_eval_member([path], questions)
    elif _is_evaluation(path):
        yield place, _own_member(path)
    elif (path / "recipe.json").is_file():
        folders = [folder for folder in sorted((path / "evaluation").glob("*")) if read_manifest(folder)]
        if not folders:
            raise UserError(f"--panel={place} is a run without a finished evaluation; run `rcpt evaluate` first")
        for folder in folders:
            yield str(folder), _own_member(folder)
    elif logs := sorted(path.glob("samples_*.jsonl")):
        yield place, _lm_eval_member(logs, questions)
    else:
        raise UserError(
            f"--panel={place} is neither a run or evaluation folder of rcpt nor samples_*.jsonl of lm-eval; give one"
        )


def _is_evaluation(folder: Path) -> bool:
    return (folder / "choices.parquet").is_file() or (folder / "answers.parquet").is_file()


def _own_member(folder: Path) -> Member:
    """The choices and answers in an evaluation folder of ours."""
    member: dict[str, list[Logged]] = {}
    if (folder / "choices.parquet").is_file():
        for row in pq.read_table(folder / "choices.parquet").to_pylist():
            logged = Logged(row["task"], float(row["choice"] == row["answer"]), row["answer"])
            member.setdefault(row["item_id"], []).append(logged)
    if (folder / "answers.parquet").is_file():
        samples: dict[tuple[str, str], list[bool]] = {}
        for row in pq.read_table(folder / "answers.parquet", columns=["task", "item_id", "right"]).to_pylist():
            samples.setdefault((row["task"], row["item_id"]), []).append(row["right"])
        for (task, item_id), right in samples.items():
            member.setdefault(item_id, []).append(Logged(task, sum(right) / len(right), None))
    return member


def _lm_eval_member(logs: Sequence[Path], questions: Questions) -> Member:
    """The samples that lm-eval logged of one model."""
    item_of = {_words(question): question["item_id"] for question in questions}
    if len(item_of) < len(questions):
        raise UserError("QUESTIONS holds a question with the same choices twice, so logs of lm-eval do not fit to them")
    member: dict[str, list[Logged]] = {}
    for log in logs:
        task, first_filter = log.name.removeprefix("samples_").rsplit("_", 1)[0], None
        for sample, where in records_of(list_files("--panel", str(log), RECORDS)):
            first_filter = first_filter or sample.get("filter")
            if sample.get("filter") != first_filter:
                continue
            item_id = item_of.get(_words(sample.get("doc") or {}))
            if item_id is not None:
                answer = sample["doc"].get("answer")
                right = _right(sample, where)
                logged = Logged(task, right, answer if isinstance(answer, int) else None)
                member.setdefault(item_id, []).append(logged)
    return member


def _words(document: Mapping[str, Any]) -> tuple[str, ...]:
    """What a question is known by in any log."""
    choices = document.get("choices")
    return (
        str(document.get("subject") or ""),
        str(document.get("question") or "").strip(),
        *(map(str, choices) if isinstance(choices, list) else ()),
    )


def _right(sample: Mapping[str, Any], where: str) -> float:
    for metric in _METRICS:
        if isinstance(sample.get(metric), int | float):
            return float(sample[metric])
    raise UserError(f"--panel: {where} has none of the metrics {', '.join(_METRICS)}; log a task that has one")
