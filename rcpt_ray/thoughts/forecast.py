"""What the thoughts of a corpus will take, from a small sample that is really written: tokens, hours, cost.

The mean tokens of a thought come with a 95% interval (Student's t over the sampled thoughts). Engine-hours take the
speed that one engine reached on the sample once it was ready; a sample that does not fill the engine's batch reads too
slow, so the forecast is then an upper bound.
"""

import math
import statistics
import tempfile
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rcpt_ray.artifacts import write_table
from rcpt_ray.corpus.digest import documents_schema, shard_digest
from rcpt_ray.thoughts.generate import Generation
from rcpt_ray.thoughts.meter import Reading, read_meters
from rcpt_ray.thoughts.progress import Prices
from rcpt_ray.thoughts.work import Shard

_SHARDS = 4


@dataclass(frozen=True)
class Forecast:
    """What is expected of all rows; intervals are 95% of the sampling of documents."""

    num_sampled: int
    num_rows: float
    rejected_share: float
    thought_tokens: float
    thought_tokens_interval: tuple[float, float]
    prompt_tokens: float
    tokens_per_s_per_engine: float
    engine_hours: float
    gpu_hours: float
    cost: float | None
    seconds: float
    """With all engines of the pool."""


def forecast(
    rows: Sequence[dict[str, Any]], reading: Reading, num_rows: float, num_engines: int, prices: Prices
) -> Forecast:
    """Scale sampled rows of one engine up to `num_rows`."""
    from scipy.stats import t

    tokens = [row["num_thought_tokens"] for row in rows]
    mean, number = statistics.fmean(tokens), len(tokens)
    deviation = statistics.stdev(tokens) if number > 1 else 0.0
    half = float(t.ppf(0.975, number - 1)) * deviation / math.sqrt(number) if number > 1 else 0.0
    assert reading.ready_s is not None
    speed = sum(tokens) / max(reading.seen_s - reading.ready_s, 1e-9)
    prompt_tokens = statistics.fmean(row["num_prompt_tokens"] for row in rows) * num_rows
    hours = mean * num_rows / max(speed, 1e-9) / 3600
    return Forecast(
        num_sampled=number,
        num_rows=num_rows,
        rejected_share=sum(row["status"] != "ok" for row in rows) / number,
        thought_tokens=mean * num_rows,
        thought_tokens_interval=(max(0.0, mean - half) * num_rows, (mean + half) * num_rows),
        prompt_tokens=prompt_tokens,
        tokens_per_s_per_engine=speed,
        engine_hours=hours,
        gpu_hours=hours * prices.gpus_per_engine,
        cost=prices.cost(hours, prompt_tokens, mean * num_rows),
        seconds=hours * 3600 / num_engines,
    )


def measure(
    documents: Sequence[dict[str, Any]], generation: Generation, run: Path
) -> tuple[list[dict[str, Any]], Reading]:
    """Write the thoughts of a few documents with one engine, for a while below the run folder; connect before."""
    from rcpt_ray.thoughts.on_ray import generate_on_ray

    size = math.ceil(len(documents) / _SHARDS)
    with tempfile.TemporaryDirectory(prefix=".sample-", dir=run) as name:
        folder, shards = Path(name), list[Shard]()
        for start in range(0, len(documents), size):
            piece = list(documents[start : start + size])
            file = folder / f"shard-{start:06d}.parquet"
            write_table(file, pa.Table.from_pylist(piece, schema=documents_schema(piece)))
            shards.append(Shard(shard_digest(file), str(file)))
        pool = generation.spec.pool.model_copy(update={"min_engines": 1, "max_engines": 1, "shards_in_flight": _SHARDS})
        one_engine = generation.with_spec(generation.spec.model_copy(update={"pool": pool}))
        generate_on_ray(shards, folder, one_engine, uuid.uuid4().hex, lambda receipt: None)
        rows = [row for part in folder.glob("part-*.parquet") for row in pq.read_table(part).to_pylist()]
        readings = [reading for reading in read_meters(folder) if reading.num_rows]
        return rows, max(readings, key=lambda reading: reading.num_rows)
