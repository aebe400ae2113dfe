"""Files, models and folders from elsewhere: what they hold is data, never code, and no other file of this machine."""

import gzip
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
import tracemalloc
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
    with pytest.raises(UserError, match=r"more/private\.txt lies behind a link out of .*corpus; name it by itself"):
        _source(corpus / "**" / "*.txt")  # Python 3.11 enters it here


def test_links_that_are_not_read_refuse_nothing(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("the owner's own words")
    corpus = tmp_path / "corpus"
    (corpus / ".venv" / "bin").mkdir(parents=True)
    (corpus / "own.jsonl").write_text('{"id": "a", "text": "words of the corpus"}\n')
    for ignored in (".venv/bin/python.txt", ".hidden.jsonl", "README.md"):
        (corpus / ignored).symlink_to(tmp_path / "elsewhere")
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


TOKENIZERS = {
    "with a fast form": "from transformers import PreTrainedTokenizerFast as Base\nclass Canary(Base): pass\n",
    "Python alone": """from transformers import PreTrainedTokenizer as Base
class Canary(Base):
    vocab_size = 256
    def __init__(self, **more): super().__init__(**more)
    def get_vocab(self): return {chr(number): number for number in range(256)}
    def _tokenize(self, text, **more): return list(text)
    def _convert_token_to_id(self, token): return ord(token) % 256
    def _convert_id_to_token(self, index): return chr(index)
""",
}


def _with_tokenizer(model: Path, code: str) -> str:
    """A model whose tokenizer is a class of its author's."""
    (model / "canary_tokenizer.py").write_text(code)
    config = json.loads((model / "tokenizer_config.json").read_text())
    config |= {"tokenizer_class": "Canary", "auto_map": {"AutoTokenizer": ["canary_tokenizer.Canary"] * 2}}
    (model / "tokenizer_config.json").write_text(json.dumps(config))
    return str(model)


def test_tokenizer_of_a_models_author_reaches_workers_that_know_no_such_class(
    model_with_code: Path, tmp_path: Path
) -> None:
    """As Ray sends it; the other process has never loaded the model."""
    from ray import cloudpickle

    from rcpt_ray.mixture.tokenize import load_tokenizer, token_counter
    from rcpt_ray.thoughts.truncate import token_ends_of

    path = _with_tokenizer(model_with_code, TOKENIZERS["with a fast form"])
    assert type(load_tokenizer(path, True)).__module__.startswith("transformers_modules")
    text = "Words — and <|more|> of them."
    work = [token_ends_of(path, True), token_counter(path, True)]
    (tmp_path / "work").write_bytes(cloudpickle.dumps(work))
    code = (
        "import pickle, sys; ends, count = pickle.load(open(sys.argv[1], 'rb')); "
        "print(ends(sys.argv[2]), count([sys.argv[2]]))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "work"), text]
    ran = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    expected = load_tokenizer(path, True)(
        text, add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True
    )["offset_mapping"]
    assert ran.stdout.strip() == f"{[end for _, end in expected]} [{len(expected)}]", ran.stderr[-2000:]


def test_tokenizer_that_is_python_alone_is_refused_where_workers_would_need_it(model_with_code: Path) -> None:
    from rcpt_ray.mixture.tokenize import token_counter
    from rcpt_ray.thoughts.truncate import token_ends_of

    path = _with_tokenizer(model_with_code, TOKENIZERS["Python alone"])
    with pytest.raises(UserError, match=r"the tokenizer of .*model \(Canary\) is Python of its author alone"):
        token_counter(path, True)
    ends = token_ends_of(path, True)  # no thought may need to be cut
    with pytest.raises(UserError, match="is Python of its author alone"):
        ends("words")


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


def test_log_without_secrets_is_left_as_it_is_and_a_large_one_is_not_held_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "canarySECRET0123456789")
    log = tmp_path / "log"
    log.write_text(("words of a library " * 50 + "\n") * 12_000)
    before = log.stat()
    tracemalloc.start()
    with quiet_terminal(log):
        pass
    assert (log.stat().st_ino, log.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    with quiet_terminal(log):
        os.write(2, b"native canarySECRET0123456789\n")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < before.st_size * 0.7
    assert log.stat().st_size == before.st_size + len("native ***\n")
    assert log.stat().st_mode == before.st_mode and [file.name for file in tmp_path.iterdir()] == ["log"]


def test_log_that_cannot_be_read_again_does_not_hide_the_commands_own_error(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log"
    with pytest.raises(RuntimeError, match="its own"), quiet_terminal(log):
        log.unlink()
        raise RuntimeError("its own")
    assert "log could not be searched for secrets" in capfd.readouterr().err
