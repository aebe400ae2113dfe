"""`rcpt show RUN`: the stages in a run folder, finished, failed or in the making.

Where a stage was finished many times, as for the variants of a comparison, one line tells of all of them.
"""

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from rcpt_ray.artifacts import Manifest, canonical_json, read_manifest, read_run_recipe, run_path
from rcpt_ray.stage import failure_of
from rcpt_ray.terminal import duration, table_console
from rcpt_ray.thoughts.meter import read_meters
from rcpt_ray.thoughts.progress import read_progress

_STALE_S = 10.0
_MANY = 8
_STAGES = ("corpus", "thoughts", "scores", "select", "mixture", "training", "evaluation", "report", "sweep")


def print_run(path: str) -> None:
    """Print a table of the stages; UserError if the folder is no run folder."""
    run = run_path(path)
    recipe = read_run_recipe(run)
    console = table_console()
    console.print(f"run {recipe.get('name', '?')} in {run}", highlight=False)
    table = Table()
    for column in ("stage", "fingerprint", "state", "in", "ok", "rejected", "tokens", "seconds", "throughput", "cost"):
        table.add_column(column, overflow="fold")
    under_way, waits = list[str](), list[str]()
    for stage in _STAGES:
        finished: list[Manifest] = []
        for folder in sorted((run / stage).glob("*")):
            manifest = read_manifest(folder)
            if manifest is not None:
                finished.append(manifest)
                if (first_engine_s := manifest.details.get("first_engine_s")) is not None:
                    waits.append(f"{stage} {folder.name}: the first engine was ready after {duration(first_engine_s)}")
                continue
            num_parts = len(list(folder.glob("part-*.parquet")))
            failure = failure_of(folder)
            state = f"failed: {failure}" if failure else "in the making"
            table.add_row(stage, folder.name, state, "", "", "", f"{num_parts} parts" if num_parts else "", "", "", "")
            under_way += _words(folder) + _stream_words(folder / "stream")
        for manifests in [finished] if len(finished) > _MANY else [[one] for one in finished]:
            table.add_row(stage, *_cells(manifests))
    console.print(table)
    for line in [*under_way, *(waits if len(waits) <= _MANY else [])]:
        console.print(line, highlight=False, soft_wrap=True)
    for report in [*sorted((run / "report").glob("*/report.html")), *sorted((run / "sweep").glob("*/report.html"))]:
        console.print(f"report {report}", highlight=False, soft_wrap=True)


def _cells(manifests: Sequence[Manifest]) -> list[str]:
    """The cells of finished stages of one kind, from the fingerprint on: sums, and the mean of a throughput."""
    rejected, tokens, speeds = Counter[str](), Counter[str](), dict[str, float]()
    for manifest in manifests:
        rejected.update(manifest.counts.rejected)
        tokens.update(manifest.tokens)
        for name, speed in manifest.throughput.items():
            speeds[name] = speeds.get(name, 0.0) + speed / len(manifests)
    costs = [manifest.cost for manifest in manifests if manifest.cost is not None]
    return [
        manifests[0].fingerprint if len(manifests) == 1 else f"{len(manifests)} folders",
        "finished",
        f"{sum(manifest.counts.num_in for manifest in manifests):,}",
        f"{sum(manifest.counts.num_ok for manifest in manifests):,}",
        canonical_json(rejected) if rejected else "",
        canonical_json(tokens) if tokens else "",
        f"{sum(manifest.seconds for manifest in manifests):,.0f}",
        canonical_json({name: round(speed, 3) for name, speed in speeds.items()}) if speeds else "",
        f"{sum(costs):,.2f}" if costs else "",
    ]


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
