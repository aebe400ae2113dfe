"""Datasets of a hub are read where they lie: a small hub on loopback, asked by the libraries that ask the real one.

A process of its own asks, because huggingface_hub reads its endpoint when it is imported.
"""

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dataset_hub import COMMIT, dataset_hub
from processes import PROJECT

_ASK = """
import json, pickle, sys
from rcpt_ray.corpus.reading.files import digest_files
from rcpt_ray.corpus.reading.pieces import pieces_of, source_files
from rcpt_ray.corpus.reading.read import read_piece
from rcpt_ray.corpus.spec import SourceSpec
from rcpt_ray.errors import UserError
from rcpt_ray.evaluation.questions import read_task
from rcpt_ray.evaluation.spec import LikelihoodTask
answers = []
for fields in json.loads(sys.argv[1]):
    if "examples_path" in fields:
        spec = LikelihoodTask(**fields)
        questions, examples = read_task("evaluation.tasks.quiz", spec)
        shown = examples.of_pool(examples.pool_of(questions[0]))
        answers.append([[one["item_id"] for one in own] for own in (questions, shown)])
        continue
    spec = SourceSpec(**({"path": "hf://owner/opinions", "domain": "law"} | fields))
    try:
        files = source_files("web", spec)
        pieces = pickle.loads(pickle.dumps(pieces_of("web", spec)))
        rows = [[row.row_id, *row.texts] for piece in pieces for row in read_piece(piece, spec, "fail")]
        answers.append([[file.path for file in files], rows, digest_files(files)])
    except UserError as error:
        answers.append(str(error))
print(json.dumps(answers))
"""


def answers_of(endpoint: str, home: Path, *asked: dict[str, Any]) -> list[Any]:
    """For each of the settings asked for: files, rows and digest, or the words of a refusal."""
    names = ("HF_TOKEN", "HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
    environment = {name: value for name, value in os.environ.items() if name.upper() not in names}
    environment |= {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "PYTHONPATH": str(PROJECT)}
    command = [sys.executable, "-c", _ASK, json.dumps(asked)]
    done = subprocess.run(command, env=environment, cwd=home, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    answers: list[Any] = json.loads(done.stdout.splitlines()[-1])
    return answers


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """owner/opinions: two splits of Parquet; owner/packed: packed lines, and a subset that its card tells of."""
    root = tmp_path_factory.mktemp("hub")
    data = root / "owner" / "opinions" / "data"
    data.mkdir(parents=True)
    for split, numbers in (
        ("train-00000-of-00002", range(50)),
        ("train-00001-of-00002", range(50, 70)),
        ("test-00000-of-00001", [0]),
    ):
        rows = [{"id": f"{split.split('-')[0]}{number}", "text": f"Text {number}"} for number in numbers]
        pq.write_table(pa.Table.from_pylist(rows), data / f"{split}.parquet", row_group_size=20)
    (data.parent / "README.md").write_text("---\nlicense: mit\n---\n# Opinions\n")
    packed = root / "owner" / "packed"
    packed.mkdir()
    card = {"configs": [{"config_name": name, "data_files": f"{name}.jsonl.gz"} for name in ("small", "large")]}
    (packed / "README.md").write_text(f"---\n{json.dumps(card)}\n---\n")
    for name in ("small", "large"):
        (packed / f"{name}.jsonl.gz").write_bytes(gzip.compress(json.dumps({"id": 1, "text": name}).encode()))
    quiz = root / "owner" / "quiz" / "all"
    quiz.mkdir(parents=True)
    for split, number in (("test", 3), ("dev", 2)):
        row = {"question": "Which?", "subject": "anatomy", "choices": list("wxyz"), "answer": 1}
        rows = [row | {"id": f"{split}{one}"} for one in range(number)]
        pq.write_table(pa.Table.from_pylist(rows), quiz / f"{split}-00000-of-00001.parquet")
    splits = [{"split": split, "path": f"all/{split}-*"} for split in ("test", "dev")]
    card = {"configs": [{"config_name": "all", "data_files": splits}]}
    (quiz.parent / "README.md").write_text(f"---\n{json.dumps(card)}\n---\n")
    tables = root / "owner" / "tables"
    tables.mkdir()
    (tables / "train.csv").write_text("text\nno\n")
    return root


@pytest.fixture(scope="module")
def answers(datasets: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    asked: dict[str, dict[str, Any]] = {
        "train": {},
        "first": {"max_documents": 55},
        "pinned": {"revision": COMMIT, "split": "test"},
        "subset": {"path": "hf://owner/packed", "subset": "large"},
        "no split": {"split": "dev"},
        "no subset": {"path": "hf://owner/packed", "subset": "medium"},
        "no revision": {"revision": "v9"},
        "no dataset": {"path": "hf://owner/nothing"},
        "no name": {"path": "hf://owner/a/b"},
        "csv": {"path": "hf://owner/tables"},
        "questions": {"path": "hf://owner/quiz", "examples_path": "hf://owner/quiz", "num_fewshot": 2},
    }
    with dataset_hub(datasets) as endpoint:
        found = answers_of(endpoint, tmp_path_factory.mktemp("home"), *asked.values())
    yield dict(zip(asked, found, strict=True))


def test_split_is_read_once_and_in_order(answers: dict[str, Any]) -> None:
    files, rows, _ = answers["train"]
    assert rows == [[f"train{number}", f"Text {number}"] for number in range(70)]
    root = f"hf://datasets/owner/opinions@{COMMIT}/data"
    assert files == [f"{root}/train-0000{number}-of-00002.parquet" for number in range(2)]


def test_first_rows_are_the_first_rows(answers: dict[str, Any]) -> None:
    assert answers["first"][1] == answers["train"][1][:55]


def test_revision_split_and_subset_choose(answers: dict[str, Any]) -> None:
    assert answers["pinned"][1] == [["test0", "Text 0"]]
    assert answers["subset"][1] == [["1", "large"]]


def test_questions_of_an_evaluation_and_their_examples_are_splits(answers: dict[str, Any]) -> None:
    assert answers["questions"] == [["test0", "test1", "test2"], ["dev0", "dev1"]]


def test_digest_follows_what_is_read(answers: dict[str, Any]) -> None:
    assert answers["train"][2] == answers["first"][2] != answers["pinned"][2]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("no split", "corpus.sources.web.split=dev is not in hf://owner/opinions, which has train, test"),
        ("no subset", "(subset=medium) cannot be read from the hub: BuilderConfig 'medium' not found"),
        ("no revision", "(revision=v9) cannot be read from the hub: there is no such revision"),
        ("no dataset", "hf://owner/nothing cannot be read from the hub: there is no such dataset, or it is private"),
        ("no name", "corpus.sources.web.path=hf://owner/a/b names no dataset; write hf://owner/name"),
        ("csv", "holds train.csv, which is not read; set corpus.sources.web.revision=refs/convert/parquet"),
    ],
)
def test_what_is_not_there_is_told_in_one_sentence(answers: dict[str, Any], asked: str, said: str) -> None:
    assert said in answers[asked]
    assert "\n" not in answers[asked]


def test_hub_that_does_not_answer_is_told_in_one_sentence(tmp_path: Path) -> None:
    (told,) = answers_of("http://127.0.0.1:9", tmp_path, {})
    assert told.startswith("corpus.sources.web.path=hf://owner/opinions cannot be read from the hub: ")
