"""Files, models and folders from elsewhere: what they hold is data, never code, and no other file of this machine."""

import gzip
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from browser import open_page
from processes import PROJECT
from report_fixtures import make_inputs

from rcpt_ray.corpus.reading import lines
from rcpt_ray.corpus.reading.read import RawRow, read_source
from rcpt_ray.corpus.spec import SourceSpec
from rcpt_ray.errors import UserError, reason_of
from rcpt_ray.models import resolve_model
from rcpt_ray.report.write import write_report
from rcpt_ray.terminal import quiet_terminal

MARKUP = "</script><script>alert(1)</script><img src=x onerror=alert(2)> | cell | `x` [a](javascript:alert(3)) \x1b[2J"


class _Touches:
    """Unpickled, it makes a file."""

    def __init__(self, canary: Path) -> None:
        self._canary = canary

    def __reduce__(self) -> Any:
        return Path.touch, (self._canary,)


def _source(path: Path, **more: Any) -> list[RawRow]:
    return list(read_source("web", SourceSpec(path=str(path), domain="stem", **more), "reject"))


@pytest.mark.parametrize("nested", [False, True], ids=["column", "list of them"])
def test_pickles_in_a_column_of_ray_data_are_not_loaded(nested: bool, tmp_path: Path) -> None:
    """Wherever Ray Data is loaded, as in its workers, pyarrow would hand such a column out unpickled."""
    canary, file = tmp_path / "canary", tmp_path / "corpus.parquet"
    code = f"""
import pathlib, sys
import pyarrow as pa, pyarrow.parquet as pq
import ray.data
from ray.data._internal.object_extensions.arrow import ArrowPythonObjectType
from rcpt_ray.corpus.reading.read import read_source
from rcpt_ray.corpus.spec import SourceSpec
storage = pa.array([pathlib.Path(sys.argv[2]).read_bytes()] * 2, pa.large_binary())
column = pa.ExtensionArray.from_storage(ArrowPythonObjectType(), storage)
if {nested}:
    column = pa.ListArray.from_arrays(pa.array([0, 1, 2], pa.int32()), column)
pq.write_table(pa.table({{"id": ["a", "b"], "text": column}}), sys.argv[1])
rows = list(read_source("web", SourceSpec(path=sys.argv[1], domain="stem"), "reject"))
print([row.problem for row in rows])
"""
    (tmp_path / "pickle").write_bytes(pickle.dumps(_Touches(canary)))
    command = [sys.executable, "-c", code, str(file), str(tmp_path / "pickle")]
    ran = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout.strip()) == (0, "['unreadable']"), ran.stderr[-2000:]
    assert not canary.exists()


def test_link_out_of_a_corpus_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "private.txt").write_text("the owner's own words")
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    (corpus / "own.txt").write_text("words of the corpus")
    (corpus / "notes.txt").symlink_to(tmp_path / "private.txt")
    with pytest.raises(UserError, match=r"notes\.txt is a link out of .*corpus; name it by itself"):
        _source(corpus)
    assert [row.texts for row in _source(corpus / "notes.txt")] == [("the owner's own words",)]


def test_links_within_a_folder_and_those_of_the_hubs_cache_are_read(tmp_path: Path) -> None:
    snapshot, blobs = tmp_path / "datasets--a--b" / "snapshots" / "0a1b", tmp_path / "datasets--a--b" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    (blobs / "77").write_text("words of the hub")
    (snapshot / "a.txt").symlink_to("../../blobs/77")
    (snapshot / "b.txt").symlink_to("a.txt")
    assert [row.texts for row in _source(snapshot)] == [("words of the hub",)] * 2


def test_linked_folder_is_not_entered(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "private.txt").write_text("the owner's own words")
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    (corpus / "own.txt").write_text("words of the corpus")
    (corpus / "more").symlink_to(tmp_path / "home", target_is_directory=True)
    assert [row.texts for row in _source(corpus)] == [("words of the corpus",)]


@pytest.mark.parametrize(
    "row",
    [
        '{"id": "a", "text": ' + "[" * 800 + "]" * 800 + "}",
        '{"id": "a", "text": ' + "[" * 100_000 + "]" * 100_000 + "}",
        '{"id": "a", "text": "\\u0041", "more": ' + "[" * 990 + "]" * 990 + "}",
        '{"id": ' + "9" * 100_000 + ', "text": "words"}',
        '{"id": "\\ud800", "text": "words"}',
        '{"id": "a", "text": "words"',
    ],
    ids=["deep text", "deeper text", "deep and escaped", "huge number", "half a character", "cut off"],
)
def test_hostile_row_is_one_row_with_a_reason(row: str, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(f'{{"id": "good", "text": "good words"}}\n{row}\n{{"id": "last", "text": "last words"}}\n')
    good, bad, last = _source(file)
    assert (good.row_id, last.row_id) == ("good", "last")
    assert bad.problem in ("not_json", "not_utf8", "not_text", "no_text") and not bad.texts


@pytest.mark.parametrize("name", ["corpus.jsonl.gz", "corpus.txt.gz"])
def test_packed_file_that_unpacks_without_end_is_given_up(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "_MOST_LINE_BYTES", 2**20)
    monkeypatch.setattr(lines, "_MOST_FILE_BYTES", 2**20)
    file = tmp_path / name
    file.write_bytes(gzip.compress(b"a" * 2**24))
    assert [row.problem for row in _source(file)] == ["unreadable"]


def _model(tiny_model_folder: Path, folder: Path) -> Path:
    shutil.copytree(tiny_model_folder, folder)
    return folder


def test_pickled_weights_beside_another_safetensors_file_are_refused(tiny_model_folder: Path, tmp_path: Path) -> None:
    folder = _model(tiny_model_folder, tmp_path / "model")
    (folder / "model.safetensors").rename(folder / "other.safetensors")
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(_Touches(tmp_path / "canary")))
    with pytest.raises(UserError, match="safetensors weights are missing"):
        resolve_model(str(folder))


def test_adapter_that_names_another_model_is_refused(tiny_model_folder: Path, tmp_path: Path) -> None:
    folder = _model(tiny_model_folder, tmp_path / "model")
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "someone/else"}))
    with pytest.raises(UserError, match="adapter_config.json names another model"):
        resolve_model(str(folder))


@pytest.fixture
def model_with_code(tiny_model_folder: Path, tmp_path: Path) -> Path:
    """A model of an architecture that transformers does not know; its file leaves a canary when it is run."""
    folder = _model(tiny_model_folder, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "canaryarch", "auto_map": {"AutoConfig": "canary_config.CanaryConfig"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "canary_config.py").write_text(
        f"""import pathlib
from transformers import LlamaConfig
pathlib.Path({str(tmp_path / "canary")!r}).touch()
class CanaryConfig(LlamaConfig):
    model_type = "canaryarch"
"""
    )
    return folder


def test_code_of_a_model_is_not_run_unasked(model_with_code: Path, tmp_path: Path) -> None:
    from rcpt_ray.mixture.tokenize import load_tokenizer

    with pytest.raises(UserError, match="runs Python files of its author.*set trust_remote_code=true"):
        resolve_model(str(model_with_code))
    load_tokenizer(str(model_with_code))  # what it finds without the code, and no question on the terminal
    assert not (tmp_path / "canary").exists()


def test_code_of_a_model_runs_where_it_was_asked_for_and_is_told(model_with_code: Path, tmp_path: Path) -> None:
    from rcpt_ray.mixture.tokenize import load_tokenizer

    model = resolve_model(str(model_with_code), trust_remote_code=True)
    assert model.trust_remote_code and model.told()["trust_remote_code"] is True
    load_tokenizer(model.path, model.trust_remote_code)
    assert (tmp_path / "canary").exists()
    (model_with_code / "canary_config.py").write_text("# changed\n")
    assert resolve_model(str(model_with_code), trust_remote_code=True).checksum != model.checksum


def test_stock_tasks_download_no_scripts_of_metrics() -> None:
    import evaluate

    from rcpt_ray.evaluation.stock import _keep_scripts_out

    _keep_scripts_out()
    with pytest.raises(Exception, match=r"Offline mode|Couldn't find"):
        evaluate.load("code_eval")


def test_names_and_texts_from_data_show_as_text_in_a_browser(tmp_path: Path) -> None:
    """Of models, failures, questions and thoughts, in tables and beside plots."""
    inputs = make_inputs()
    arms = [
        arm.__class__(**vars(arm) | {"scores": _renamed(arm.scores), "description": MARKUP, "failure": MARKUP})
        for arm in inputs.arms
    ]
    examples = [row | {"doc_id": MARKUP, "text": MARKUP, "thought": MARKUP} for row in inputs.examples]
    changed = inputs.__class__(**vars(inputs) | {"arms": arms, "examples": examples, "student": MARKUP})
    write_report(changed, tmp_path)
    page = open_page(tmp_path / "report.html", tmp_path, picture=False)
    assert page.dom.count("&lt;script&gt;alert(1)") > 3
    assert "<script" not in page.dom and "<img" not in page.dom and 'href="javascript' not in page.dom
    assert page.console == []
    told = (tmp_path / "report.md").read_text().split("\n## Thoughts beside their texts")[0]
    assert "<script" not in told and "<img" not in told and not re.search(r"(?<!\\)\]\(javascript", told)
    assert "\x1b" not in (tmp_path / "report.md").read_text()


def _renamed(scores: pa.Table) -> pa.Table:
    place = scores.schema.get_field_index("domain")
    return scores.set_column(
        place, "domain", pa.array([MARKUP if one else one for one in scores["domain"].to_pylist()])
    )


def test_own_parts_hold_no_type_but_arrows_own(tmp_path: Path) -> None:
    """The refusal is of types, not of columns: text beside such a column is read."""
    storage = pa.array([[1.0, 2.0]], pa.list_(pa.float64(), 2))
    table = pa.table({"id": ["a"], "text": ["words"], "vector": pa.FixedShapeTensorArray.from_storage(
        pa.fixed_shape_tensor(pa.float64(), [2]), storage)})  # fmt: skip
    pq.write_table(table, tmp_path / "corpus.parquet")
    assert [row.texts for row in _source(tmp_path / "corpus.parquet")] == [("words",)]


def test_secrets_are_in_no_line_of_the_log_nor_on_the_screen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """As libraries tell them: quoted in errors, in URLs and headers, and written by native code."""
    secret = "canary/SECRET+0123456789"
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
    # As outside of pytest: what Python prints goes to the descriptors.
    for number, name in ((1, "stdout"), (2, "stderr")):
        monkeypatch.setattr(sys, name, os.fdopen(number, "w", encoding="utf-8", closefd=False))
    url = f"https://user:hunter2@host/v1?X-Amz-Signature={secret}"
    with quiet_terminal(tmp_path / "log") as terminal:
        terminal.say(f"failed: GET {url} [/b] \x1b[2J")
        with terminal.bar(f"model {secret} [/b]") as bar:
            bar.note(secret)
        print(f"Authorization: Bearer abcdefgh, {secret}")
        print(quote(secret, safe=""), file=sys.stderr)
        os.write(2, f"native {secret}\n".encode())
    told, log = capfd.readouterr().out, (tmp_path / "log").read_text()
    assert told == "failed: GET https://***@host/v1?X-Amz-Signature=*** [/b] \\x1b[2J\n"
    assert sorted(log.splitlines()) == ["***", "Authorization: Bearer ***, ***", "native ***"]
    assert reason_of(ConnectionError(f"cannot reach {url}")) == (
        "ConnectionError: cannot reach https://***@host/v1?X-Amz-Signature=***"
    )
