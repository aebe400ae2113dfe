"""The files of a task, by what they are for: here, in a store, or of a dataset of the hub."""

from collections.abc import Iterator
from typing import Any

from rcpt_ray.corpus.reading.files import RECORDS, SourceFile, digest_files, list_files
from rcpt_ray.corpus.reading.paths import scheme_of
from rcpt_ray.corpus.reading.read import read_records
from rcpt_ray.corpus.spec import SourceSpec
from rcpt_ray.evaluation.spec import GenerationSettings, LikelihoodTask, StockTask, TaskSpec
from rcpt_ray.evaluation.stock_source import stock_inputs


def task_files(setting: str, spec: TaskSpec) -> dict[str, list[SourceFile]]:
    """Files by use: questions and examples, or data.SPLIT of a stock task; none of one whose data is on the hub.

    Raises:
        UserError: a path names no file that can be read.
    """
    if isinstance(spec, StockTask):
        return {
            f"data.{split}": list_files(f"{setting}.data.{split}", path, RECORDS)
            for split, path in sorted(spec.data.items())
        }
    files = {"questions": _files(f"{setting}.path", spec.path, spec, spec.split)}
    if spec.examples_path:
        files["examples"] = _files(f"{setting}.examples_path", spec.examples_path, spec, spec.examples_split)
    return files


def task_digests(name: str, setting: str, spec: TaskSpec) -> dict[str, str]:
    """What of a task is an input of the stage: digests of its files, and where a stock task comes from."""
    digests = {f"{name}/{use}": digest_files(files) for use, files in task_files(setting, spec).items()}
    return digests | (stock_inputs(name, spec) if isinstance(spec, StockTask) else {})


def records_of(files: list[SourceFile]) -> Iterator[tuple[dict[str, Any], str]]:
    """The records of files in order, each with the words for where it stands."""
    for file in files:
        yield from read_records(file)


def _files(setting: str, path: str, spec: LikelihoodTask | GenerationSettings, split: str) -> list[SourceFile]:
    if scheme_of(path) != "hf":
        return list_files(setting, path, RECORDS)
    from rcpt_ray.corpus.reading.hub import list_hub_files

    source = SourceSpec(path=path, domain="any", subset=spec.subset, split=split, revision=spec.revision)
    return list_hub_files(setting.rpartition(".")[0], source)
