"""What a finished report was made from, so that later reports find it: inputs.json beside report.html.

    {"recipe": as public.py has it, "variants": [{"name", "arm", ..., "stages": {"training": "training/0a1b..."}}], ...}

Folders are relative to the run, so a run folder may be moved. Reading it needs no model, no teacher and no network.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from rcpt_ray.artifacts import Manifest, read_manifest, read_run_recipe, run_path
from rcpt_ray.errors import UserError
from rcpt_ray.records import SCORE
from rcpt_ray.report.inputs import ArmResult, ReportInputs
from rcpt_ray.report.public import public_recipe

SOURCES: Final = "inputs.json"
_STAGES: Final = ("evaluation", "mixture", "training")


@dataclass(frozen=True)
class FinishedRun:
    """A run with a finished report, and what that was made from."""

    name: str
    folder: Path
    report: str
    """Fingerprint of the report."""
    recipe: dict[str, Any]
    """Resolved and public."""
    settings_apart: list[str]
    """Settings in which it is not that of the run's last command."""
    student: str
    teacher: str
    arms: list[ArmResult]


def render_sources(inputs: ReportInputs) -> str:
    """The content of inputs.json."""
    variants = [
        {
            "name": arm.name,
            "arm": arm.arm or arm.name,
            "training_domain": arm.training_domain,
            "seed": arm.seed,
            "description": arm.description,
            "failure": arm.failure,
            "stages": {
                stage: f"{manifest.stage}/{manifest.fingerprint}"
                for stage in _STAGES
                if (manifest := getattr(arm, stage)) is not None
            },
        }
        for arm in inputs.arms
    ]
    content = {
        "recipe": public_recipe(inputs.recipe.model_dump(mode="json")),
        "student": inputs.student,
        "teacher": inputs.teacher if inputs.thoughts is not None else "none",
        "variants": variants,
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def read_run(path: str) -> FinishedRun:
    """The run in a folder, by its finished report whose recipe is nearest to that of the run's last command.

    Several recipes may share a run folder. Nearest is what differs in the fewest settings; of equals, the newest.

    Raises:
        UserError: the folder is no run, holds no finished report, or lacks a stage that the report was made from.
    """
    run = run_path(path)
    last = public_recipe(read_run_recipe(run))
    finished = [folder for folder in (run / "report").glob("*") if read_manifest(folder) is not None]
    reports = [folder for folder in finished if (folder / SOURCES).exists()]
    if not reports:
        raise UserError(f"{path} holds no finished report; make it with `rcpt report RECIPE run={path}` first")
    reports.sort(key=lambda folder: ((folder / "manifest.json").stat().st_mtime_ns, folder.name), reverse=True)
    read = [(folder, json.loads((folder / SOURCES).read_text(encoding="utf-8"))) for folder in reports]
    taken, sources = min(read, key=lambda one: len(settings_apart([last, one[1]["recipe"]])))
    return FinishedRun(
        name=sources["recipe"]["name"],
        folder=run,
        report=taken.name,
        recipe=sources["recipe"],
        settings_apart=list(settings_apart([last, sources["recipe"]])),
        student=sources["student"],
        teacher=sources["teacher"],
        arms=[_arm(run, path, variant) for variant in sources["variants"]],
    )


def settings_apart(recipes: Sequence[Mapping[str, Any]]) -> dict[str, list[str | None]]:
    """The settings in which recipes differ, by dotted name: the value in each, None where it has no such setting."""
    flat = [_flat(recipe) for recipe in recipes]
    names = dict.fromkeys(name for own in flat for name in own)
    values = {name: [own.get(name) for own in flat] for name in names}
    return {name: own for name, own in values.items() if len(set(own)) > 1}


def _flat(values: Any, name: str = "") -> dict[str, str]:
    """Settings by dotted name."""
    if not isinstance(values, Mapping) or (name and not values):
        return {name: str(values)}
    own = dict[str, str]()
    for key, value in values.items():
        own |= _flat(value, f"{name}.{key}" if name else str(key))
    return own


def _arm(run: Path, path: str, variant: dict[str, Any]) -> ArmResult:
    manifests = {stage: _manifest(run, path, folder) for stage, folder in variant["stages"].items()}
    evaluation, training = manifests.get("evaluation"), manifests.get("training")
    folders = {stage: run / folder for stage, folder in variant["stages"].items()}
    scores = _rows(folders.get("evaluation"), "scores.parquet")
    return ArmResult(
        name=variant["name"],
        description=variant["description"],
        evaluation=evaluation,
        scores=SCORE.empty_table() if scores is None else scores,
        arm=variant["arm"],
        training_domain=variant["training_domain"],
        seed=variant["seed"],
        answers=_rows(folders.get("evaluation"), "answers.parquet"),
        failure=variant["failure"],
        mixture=manifests.get("mixture"),
        training=training,
        steps=_rows(folders.get("training"), "steps.parquet"),
    )


def _manifest(run: Path, path: str, folder: str) -> Manifest:
    manifest = read_manifest(run / folder)
    if manifest is None:
        raise UserError(f"{path} lacks {folder}, which its report was made from; run `rcpt report` there once more")
    return manifest


def _rows(folder: Path | None, file: str) -> pa.Table | None:
    return pq.read_table(folder / file) if folder is not None and (folder / file).exists() else None
