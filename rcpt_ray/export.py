"""`rcpt export`: the selected thoughts as a folder that `datasets.load_dataset` reads, with a dataset card.

The folder is filled beside its place and renamed into it. Rows that were not used are left out; the card counts them.
"""

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from rcpt_ray.artifacts import run_path
from rcpt_ray.errors import UserError
from rcpt_ray.pipeline import build_pipeline
from rcpt_ray.recipe import Recipe
from rcpt_ray.stage import Builder, Built
from rcpt_ray.thoughts.prompt import load_prompt
from rcpt_ray.written import ArmStages, rewriting

_ROWS_IN_FILE = 100_000
_SIZES = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (10**6, "100K<n<1M"),
    (10**7, "1M<n<10M"),
    (10**8, "10M<n<100M"),
    (10**9, "100M<n<1B"),
    (10**10, "1B<n<10B"),
)


def export_thoughts(recipe: Recipe, to: str, arm: str | None = None, licence: str | None = None) -> None:
    """Write the thoughts of a recipe's arm to a new folder.

    Raises:
        UserError: the thoughts are not finished, the arm is not clear, or the folder is there already.
    """
    target = Path(os.path.expanduser(to)).absolute()
    if target.exists():
        raise UserError(f"--to {to} exists already; give a new folder")
    name, stages = _stages_of(recipe, arm)
    selected, generated = stages.selected, stages.generated
    if selected is None or generated is None or selected.manifest is None:
        raise UserError(f"the thoughts of arm {name} are not finished in {recipe.run}; run `rcpt synthesize` first")
    if not selected.manifest.counts.num_ok:
        raise UserError(f"no thought of arm {name} passed the gates, so there is nothing to export")
    work = target.with_name(f".{target.name}.partial")
    shutil.rmtree(work, ignore_errors=True)
    try:
        (work / "data").mkdir(parents=True)
    except OSError as error:
        raise UserError(f"--to {to} cannot be written ({error.strerror}); give another folder") from None
    num_rows = _write_rows(selected.parts("part-*.parquet"), work / "data")
    (work / "README.md").write_text(_card(recipe, name, generated, selected, num_rows, licence), encoding="utf-8")
    work.rename(target)
    print(f"{num_rows:,} thoughts in {target}")


def _stages_of(recipe: Recipe, arm: str | None) -> tuple[str, ArmStages]:
    built = build_pipeline(recipe, Builder.looking_up(run_path(recipe.run)), "thoughts")
    # Variants of an arm share its thoughts.
    written = {built.variants[name].arm: _written(stages) for name, stages in built.arms.items()}
    with_thoughts = {name: stages for name, stages in written.items() if stages.selected is not None}
    if arm is not None and arm not in with_thoughts:
        raise UserError(f"--arm {arm} has no thoughts; those with thoughts: {', '.join(with_thoughts) or 'none'}")
    if not with_thoughts:
        raise UserError("no arm of this recipe uses thoughts, so there is nothing to export")
    different = {stages.selected.stage.fingerprint for stages in with_thoughts.values() if stages.selected}
    if arm is None and len(different) > 1:
        raise UserError(f"the arms {', '.join(with_thoughts)} have different thoughts; choose one with --arm")
    name = arm or next(iter(with_thoughts))
    return name, with_thoughts[name]


def _written(stages: ArmStages) -> ArmStages:
    """An arm's stages with its paraphrases in the place of thoughts, where it has no thoughts."""
    if stages.selected is not None:
        return stages
    return replace(stages, generated=stages.rewritten, selected=stages.paraphrases)


def _write_rows(parts: list[Path], folder: Path) -> int:
    """Rows with a thought, in files of at most so many; the status columns are left out."""
    num_files = num_rows = 0
    waiting: list[pa.Table] = []

    def flush(at_least: int) -> None:
        nonlocal num_files, num_rows, waiting
        while waiting and sum(map(len, waiting)) >= at_least:
            table = pa.concat_tables(waiting)
            pq.write_table(table.slice(0, _ROWS_IN_FILE), folder / f"train-{num_files:05d}.parquet", compression="zstd")
            num_files, num_rows = num_files + 1, num_rows + min(len(table), _ROWS_IN_FILE)
            waiting = [table.slice(_ROWS_IN_FILE)] if len(table) > _ROWS_IN_FILE else []

    for part in parts:
        table = pq.read_table(part, filters=[("status", "==", "ok")])
        if len(table):
            waiting.append(table.drop_columns(["status", "reason"]))
        flush(at_least=_ROWS_IN_FILE)
    flush(at_least=1)
    return num_rows


def _card(recipe: Recipe, arm: str, generated: Built, selected: Built, num_rows: int, licence: str | None) -> str:
    settings = recipe.arm_settings(arm)
    thoughts = settings.thoughts if settings.mixture.needs_thoughts else rewriting(settings).thoughts
    prompt, made, used = load_prompt(thoughts.prompt), generated.record, selected.record
    size = next((label for limit, label in _SIZES if num_rows < limit), "10B<n<100B")
    front: dict[str, Any] = {
        "pretty_name": f"Hidden thoughts of {recipe.name}",
        "task_categories": ["text-generation"],
        "tags": ["synthetic", "reasoning", "continual-pretraining"],
        "size_categories": [size],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "data/*.parquet"}]}],
    } | ({"license": licence} if licence else {})
    sources = made.details["sources"]
    table = ["| source | domain | thoughts written | rejected by the engine | text tokens | thought tokens |"]
    table += ["|---|---|---|---|---|---|"]
    table += [
        f"| {name} | {own['domain']} | {own['ok']:,} | {own['rejected']:,} | {own['text_tokens']:,} | "
        f"{own['thought_tokens']:,} |"
        for name, own in sources.items()
    ]
    reasons = ", ".join(f"{reason} {number:,}" for reason, number in used.counts.rejected.items()) or "none"
    sampling = ", ".join(f"{name} {value}" for name, value in thoughts.sampling.model_dump().items())
    return "\n".join(
        [
            f"---\n{yaml.safe_dump(front, sort_keys=False, allow_unicode=True)}---",
            f"# Hidden thoughts of {recipe.name}",
            "",
            "Each row joins a text with a model's reconstruction of the hidden thoughts behind it, for Reasoning CPT "
            "([Ishibashi, Yano, Oyamada 2025](https://arxiv.org/abs/2505.10182)). The thoughts are synthetic: a model "
            "wrote them, not the texts' authors, and nobody checked them for truth.",
            "",
            f"- **Teacher:** {thoughts.teacher.reference}, revision {made.details.get('model_revision', 'unknown')}, "
            f"engine {thoughts.engine}",
            f"- **Sampling:** {sampling}; seed {recipe.seed}",
            f"- **Rows:** {num_rows:,} of {used.counts.num_in:,} thoughts are used; left out: {reasons}",
            f"- **Tokens of the thoughts used:** {used.tokens.get('thought', 0):,}",
            "",
            *table,
            "",
            f"## Prompt `{prompt.prompt_id}`",
            "",
            "```",
            f"{prompt.system}\n\n{prompt.user}",
            "```",
            "",
            "## Columns",
            "",
            "doc_id, source, domain, text, thought, finish_reason, sample_index, prompt_id, prompt_digest, model, "
            "model_revision, seed, sampling (JSON), num_text_tokens, num_prompt_tokens, num_thought_tokens, "
            "thought_logprob (sum, nats; empty where the thought was shortened), attempts.",
            "",
        ]
    )
