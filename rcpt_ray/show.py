"""`rcpt show RUN`: the stages in a run folder, finished or in the making."""

import time
from pathlib import Path

from rich.table import Table

from rcpt_ray.artifacts import canonical_json, read_manifest, read_run_recipe, run_path
from rcpt_ray.terminal import duration, table_console
from rcpt_ray.thoughts.meter import read_meters
from rcpt_ray.thoughts.progress import read_progress

_STALE_S = 10.0
_STAGES = ("corpus", "thoughts", "scores", "select", "mixture", "training", "evaluation", "report")


def print_run(path: str) -> None:
    """Print a table of the stages; UserError if the folder is no run folder."""
    run = run_path(path)
    recipe = read_run_recipe(run)
    console = table_console()
    console.print(f"run {recipe.get('name', '?')} in {run}", highlight=False)
    table = Table()
    for column in ("stage", "fingerprint", "state", "in", "ok", "rejected", "tokens", "seconds", "throughput", "cost"):
        table.add_column(column, overflow="fold")
    under_way: list[str] = []
    for stage in _STAGES:
        for folder in sorted((run / stage).glob("*")):
            manifest = read_manifest(folder)
            if manifest is None:
                num_parts = len(list(folder.glob("part-*.parquet")))
                table.add_row(stage, folder.name, "in the making", "", "", "", f"{num_parts} parts", "", "", "")
                under_way += _words(folder) + _stream_words(folder / "stream")
                continue
            counts = manifest.counts
            table.add_row(
                stage,
                folder.name,
                "finished",
                f"{counts.num_in:,}",
                f"{counts.num_ok:,}",
                canonical_json(counts.rejected) if counts.rejected else "",
                canonical_json(manifest.tokens) if manifest.tokens else "",
                f"{manifest.seconds:,.0f}",
                canonical_json(manifest.throughput) if manifest.throughput else "",
                "" if manifest.cost is None else f"{manifest.cost:,.2f}",
            )
    console.print(table)
    for line in under_way:
        console.print(line, highlight=False, soft_wrap=True)
    for report in sorted((run / "report").glob("*/report.html")):
        console.print(f"report {report}", highlight=False, soft_wrap=True)


def _words(folder: Path) -> list[str]:
    """How far thoughts in the making are, where they have begun."""
    progress = read_progress(folder)
    if progress is None:
        return []
    num_done, age_s = progress.num_found + progress.num_done, time.time() - progress.seen_s
    readings = read_meters(folder)
    words = progress.words(readings)
    line = f"thoughts {folder.name}: {num_done:,} of {progress.num_rows:,} rows, {words}"
    if age_s >= _STALE_S:
        return [f"{line} (nobody works on it since {duration(age_s)})"]
    return [line, *(f"  {reading.words()}" for reading in readings if reading.is_alive(progress.session))]


def _stream_words(folder: Path) -> list[str]:
    """How far a streaming training in the making is, where it has begun."""
    if not folder.exists():
        return []
    from rcpt_ray.training.stream.timeline import pools_words, read_timeline

    timeline = read_timeline(folder)
    if not timeline:
        return []
    last = timeline[-1]
    age_s = time.time() - last["time_s"]
    line = f"training {folder.parent.name}: {last['num_steps']:,} steps, {pools_words(last)}"
    return [line if age_s < _STALE_S else f"{line} (nobody works on it since {duration(age_s)})"]
