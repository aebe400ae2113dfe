"""A document cannot speak as the system, no thought is bought twice, and none disappears."""

import asyncio
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rcpt_ray.artifacts import Outcome
from rcpt_ray.errors import UserError
from rcpt_ray.mixture.tokenize import load_tokenizer
from rcpt_ray.records import DOCUMENT, THOUGHT
from rcpt_ray.thoughts.engine import Completion, FakeEngine, Request, RowRefused
from rcpt_ray.thoughts.generate import (
    Generation,
    Receipt,
    adopt_parts,
    generate_rows,
    make_part,
    read_receipts,
    request_seed,
    shard_digest,
)
from rcpt_ray.thoughts.prompt import Prompt, load_prompt, tokenize_prompt
from rcpt_ray.thoughts.select import select, select_rows
from rcpt_ray.thoughts.spec import SelectSpec, ThoughtsSpec
from rcpt_ray.tiny_model import CONTROL_TOKENS

Row = dict[str, Any]
PROMPT = Prompt("short", system="Think aloud.", user="In {words} words:\n\n{text}")


@pytest.fixture(scope="module")
def tokenizer(tiny_model_folder: Path) -> Any:
    return load_tokenizer(str(tiny_model_folder))


def control_tokens(token_ids: list[int], tokenizer: Any) -> list[str]:
    return [token for token in tokenizer.convert_ids_to_tokens(token_ids) if token in CONTROL_TOKENS]


AWKWARD = st.one_of(st.sampled_from([*CONTROL_TOKENS, "{text}", "{words}"]), st.text(max_size=6))


@settings(max_examples=40, deadline=None)
@given(parts=st.lists(AWKWARD, max_size=8))
def test_whatever_a_document_holds_only_the_template_speaks_in_control_tokens(tokenizer: Any, parts: list[str]) -> None:
    """The turns of system, user and assistant; the document is between them, character by character."""
    text = "".join(parts)
    prompt = tokenize_prompt(PROMPT, text, 80, tokenizer)
    start, end = "<|im_start|>", "<|im_end|>"
    assert control_tokens(prompt.token_ids, tokenizer) == [start, end, start, end, start]
    assert tokenizer.decode(prompt.token_ids) == (
        f"{start}system\nThink aloud.{end}\n{start}user\nIn 80 words:\n\n{text}{end}\n{start}assistant\n"
    )


def test_tokens_of_the_document_are_counted_without_the_prompts(tokenizer: Any) -> None:
    prompt = tokenize_prompt(PROMPT, "to be <|im_end|>", 80, tokenizer)
    assert prompt.num_text_tokens == len(tokenizer("to be <|im_end|>", split_special_tokens=True)["input_ids"])


def test_model_without_chat_template_gets_plain_words(tiny_model_folder: Path) -> None:
    tokenizer: Any = load_tokenizer(str(tiny_model_folder))
    tokenizer.chat_template = None
    prompt = tokenize_prompt(PROMPT, "a <|im_end|> text", 80, tokenizer)
    assert control_tokens(prompt.token_ids, tokenizer) == []
    assert tokenizer.decode(prompt.token_ids).startswith("Think aloud.\n\nIn 80 words:\n\na <|im_end|> text\n\n")


def test_template_that_knows_no_system_still_gets_the_systems_words(tiny_model_folder: Path) -> None:
    """As the templates of the Gemma 2 family, with the paper's teacher, do."""
    tokenizer: Any = load_tokenizer(str(tiny_model_folder))
    tokenizer.chat_template = (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
        "{% for turn in messages %}{{ '<|im_start|>' + turn['role'] + '\n' + turn['content'] | trim + '<|im_end|>' }}"
        "{% endfor %}"
    )
    said = tokenizer.decode(tokenize_prompt(PROMPT, "the document", 80, tokenizer).token_ids)
    assert "Think aloud." in said and "the document" in said


def test_prompt_of_the_package_asks_for_words_and_shows_the_document(tokenizer: Any) -> None:
    prompt = load_prompt("expert")
    asked = tokenizer.decode(tokenize_prompt(prompt, "DOCUMENT", 120, tokenizer).token_ids)
    assert "120 words" in asked and "DOCUMENT" in asked and "{" not in asked
    assert prompt.prompt_id == f"expert@{prompt.digest[:8]}"


def test_prompt_id_follows_the_words() -> None:
    assert replace(PROMPT, system="Think silently.").prompt_id != PROMPT.prompt_id
    assert replace(PROMPT, user=PROMPT.user + ".").prompt_id != PROMPT.prompt_id


def test_unknown_prompt_is_refused_with_those_there_are() -> None:
    with pytest.raises(UserError, match=r"^thoughts\.prompt=novice does not exist; choose one of .*expert"):
        load_prompt("novice")


def spec_of(**changed: Any) -> ThoughtsSpec:
    return ThoughtsSpec(**({"engine": "fake", "teacher": {"reference": "none"}} | changed))


def generation_of(num_samples: int = 1, key: str = "key-1") -> Generation:
    spec = spec_of(sampling={"num_samples": num_samples, "max_thought_tokens": 12})
    return Generation(spec, seed=17, key=key, model="a-model", model_path="", model_revision="r1", prompt_id="short@1")


def document(number: int, text: str | None = None) -> Row:
    text = f"text {number}" if text is None else text
    return {"doc_id": f"web/{number}", "source": "web", "domain": "stem", "text": text, "num_words": len(text.split())}


def complete(engine: Any, **changed: Any) -> Completion:
    values = {"doc_id": "web/1", "sample_index": 0, "text": "a text of five words", "seed": 3}
    return asyncio.run(engine.complete(Request(**(values | changed))))


def test_fake_engine_says_the_same_twice_and_counts_its_words() -> None:
    first, second = (complete(FakeEngine(40)) for _ in range(2))
    assert first == second
    assert first.num_thought_tokens == len(first.thought.split())
    assert 20 <= first.num_thought_tokens <= 40
    assert first.num_text_tokens == 5


@pytest.mark.parametrize("changed", [{"seed": 4}, {"doc_id": "web/2"}, {"sample_index": 1}])
def test_fake_engine_says_something_else_to_another_request(changed: Row) -> None:
    assert complete(FakeEngine(40), **changed).thought != complete(FakeEngine(40)).thought


def test_fake_engine_keeps_a_limit_of_one_and_refuses_an_empty_text() -> None:
    assert complete(FakeEngine(1)).num_thought_tokens == 1
    with pytest.raises(RowRefused, match="^empty_text$"):
        complete(FakeEngine(1), text=" \n")


def test_seed_of_a_draw_follows_names_alone() -> None:
    seeds = {request_seed(seed, doc_id, index) for seed in (1, 2) for doc_id in ("a", "b") for index in (0, 1)}
    assert len(seeds) == 8
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert request_seed(1, "a", 0) == request_seed(1, "a", 0)


def generate(documents: list[Row], engine: Any, generation: Generation | None = None) -> list[Row]:
    return asyncio.run(generate_rows(documents, engine, generation or generation_of()))


def keys(rows: list[Row]) -> list[tuple[str, int]]:
    return [(row["doc_id"], row["sample_index"]) for row in rows]


class LastComesFirst:
    """An engine that waits until so many requests are there and answers the last one first."""

    seeds_requests = False

    def __init__(self, num_requests: int) -> None:
        self._num_requests = num_requests
        self._waiting: list[asyncio.Future[None]] = []

    async def complete(self, request: Request) -> Completion:
        answered = asyncio.get_running_loop().create_future()
        self._waiting.append(answered)
        if len(self._waiting) == self._num_requests:
            for each in reversed(self._waiting):
                each.set_result(None)
        await answered
        return Completion(f"about {request.text}", "stop", 2, 9, 3)

    def close(self) -> None: ...


def test_rows_keep_the_order_of_documents_and_samples_whoever_ends_first() -> None:
    rows = generate([document(1), document(2)], LastComesFirst(6), generation_of(num_samples=3))
    assert keys(rows) == [(f"web/{number}", sample) for number in (1, 2) for sample in range(3)]
    assert [row["thought"] for row in rows] == ["about text 1"] * 3 + ["about text 2"] * 3


def test_row_carries_all_that_a_reader_needs_to_repeat_it() -> None:
    (row,) = generate([document(1)], FakeEngine(12))
    assert set(row) == set(THOUGHT.names)
    assert (row["status"], row["reason"], row["finish_reason"], row["attempts"]) == ("ok", "", "stop", 1)
    assert (row["model"], row["model_revision"], row["prompt_id"]) == ("a-model", "r1", "short@1")
    assert row["seed"] == request_seed(17, "web/1", 0)
    assert json.loads(row["sampling"])["max_thought_tokens"] == 12


def test_engine_with_one_seed_for_all_says_so() -> None:
    (row,) = generate([document(1)], LastComesFirst(1))
    assert row["seed"] == 17


def test_refused_row_stays_in_its_place_with_its_reason() -> None:
    rows = generate([document(1), document(2, " "), document(3)], FakeEngine(12))
    assert [(row["status"], row["reason"]) for row in rows] == [("ok", ""), ("rejected", "empty_text"), ("ok", "")]
    assert (rows[1]["thought"], rows[1]["num_thought_tokens"], rows[1]["finish_reason"]) == ("", 0, "refused")
    assert set(rows[1]) == set(THOUGHT.names)


class Says:
    """An engine that says one thing, or raises it."""

    seeds_requests = True

    def __init__(self, thought: str | Exception) -> None:
        self._thought = thought

    async def complete(self, request: Request) -> Completion:
        if isinstance(self._thought, Exception):
            raise self._thought
        return Completion(self._thought, "stop", 2, 9, len(self._thought.split()))

    def close(self) -> None: ...


def test_empty_thought_is_rejected() -> None:
    (row,) = generate([document(1)], Says(""))
    assert (row["status"], row["reason"]) == ("rejected", "empty_thought")


def write_shard(folder: Path, documents: list[Row], name: str = "shard.parquet") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(documents, schema=DOCUMENT), folder / name)
    return folder / name


def make(shard: Path, folder: Path, engine: Any = None, generation: Generation | None = None) -> Receipt:
    folder.mkdir(parents=True, exist_ok=True)
    part = make_part(shard, shard_digest(shard), folder, engine or FakeEngine(12), generation or generation_of())
    return asyncio.run(part)


def test_shard_digest_follows_ids_and_texts_and_not_names(tmp_path: Path) -> None:
    documents = [document(1), document(2)]
    same = write_shard(tmp_path, documents), write_shard(tmp_path / "elsewhere", documents, "other.parquet")
    assert shard_digest(same[0]) == shard_digest(same[1])
    others = [[document(1)], documents[::-1], [document(1), document(2, "text 3")], [document(1), document(3)]]
    digests = {shard_digest(write_shard(tmp_path, other, f"{n}.parquet")) for n, other in enumerate(others)}
    assert len(digests | {shard_digest(same[0])}) == 5


def test_characters_that_move_between_documents_change_the_digest(tmp_path: Path) -> None:
    first = write_shard(tmp_path, [document(1, "ab"), document(2, "c")], "first.parquet")
    second = write_shard(tmp_path, [document(1, "a"), document(2, "bc")], "second.parquet")
    assert shard_digest(first) != shard_digest(second)


def test_shard_becomes_a_part_and_a_receipt_that_agree(tmp_path: Path) -> None:
    shard = write_shard(tmp_path, [document(1), document(2, ""), document(3)])
    receipt = make(shard, tmp_path / "out")
    rows = pq.read_table(tmp_path / "out" / receipt.part, schema=THOUGHT).to_pylist()
    assert keys(rows) == [("web/1", 0), ("web/2", 0), ("web/3", 0)]
    assert (receipt.num_ok, receipt.rejected) == (2, {"empty_text": 1})
    assert receipt.num_thought_tokens == sum(row["num_thought_tokens"] for row in rows)
    assert read_receipts(tmp_path / "out", "key-1") == {shard_digest(shard): receipt}


def test_part_of_a_repeated_shard_is_the_same_bytes(tmp_path: Path) -> None:
    shard = write_shard(tmp_path, [document(1), document(2)])
    parts = [(tmp_path / name / make(shard, tmp_path / name).part).read_bytes() for name in ("a", "b")]
    assert parts[0] == parts[1]


def test_broken_engine_ends_the_shard_and_leaves_nothing(tmp_path: Path) -> None:
    shard = write_shard(tmp_path, [document(1)])
    with pytest.raises(RuntimeError, match="engine died"):
        make(shard, tmp_path / "out", Says(RuntimeError("engine died")))
    assert list((tmp_path / "out").iterdir()) == []


def test_receipt_is_written_after_its_part(tmp_path: Path) -> None:
    """Where the part cannot be put into its place there is no receipt."""
    shard = write_shard(tmp_path, [document(1)])
    (tmp_path / "out" / f"part-{shard_digest(shard)}.parquet").mkdir(parents=True)
    with pytest.raises(OSError):
        make(shard, tmp_path / "out")
    assert read_receipts(tmp_path / "out", "key-1") == {}


def test_part_without_receipt_does_not_count(tmp_path: Path) -> None:
    receipt = make(write_shard(tmp_path, [document(1)]), tmp_path / "out")
    (tmp_path / "out" / receipt.part).with_suffix(".json").unlink()
    assert read_receipts(tmp_path / "out", "key-1") == {}


def test_receipt_without_part_does_not_count(tmp_path: Path) -> None:
    receipt = make(write_shard(tmp_path, [document(1)]), tmp_path / "out")
    (tmp_path / "out" / receipt.part).unlink()
    assert read_receipts(tmp_path / "out", "key-1") == {}


def test_receipt_of_another_generation_does_not_count(tmp_path: Path) -> None:
    make(write_shard(tmp_path, [document(1)]), tmp_path / "out", generation=generation_of(key="key-2"))
    assert read_receipts(tmp_path / "out", "key-1") == {}


def test_finished_part_is_taken_over_from_a_folder_beside(tmp_path: Path) -> None:
    """The corpus grew by a shard: the stage has another fingerprint, the old shard's thoughts are there already."""
    old_shard, new_shard = (write_shard(tmp_path, [document(n)], f"{n}.parquet") for n in (1, 2))
    receipt = make(old_shard, tmp_path / "thoughts" / "before")
    after = tmp_path / "thoughts" / "after"
    after.mkdir()
    wanted = [shard_digest(old_shard), shard_digest(new_shard)]
    assert adopt_parts(after, wanted, "key-1") == {wanted[0]: receipt}
    assert read_receipts(after, "key-1") == {wanted[0]: receipt}
    assert (after / receipt.part).read_bytes() == (tmp_path / "thoughts" / "before" / receipt.part).read_bytes()


def test_part_taken_over_outlives_the_folder_it_came_from(tmp_path: Path) -> None:
    shard = write_shard(tmp_path, [document(1)])
    before, after = tmp_path / "thoughts" / "before", tmp_path / "thoughts" / "after"
    receipt = make(shard, before)
    after.mkdir()
    adopt_parts(after, [receipt.shard], "key-1")
    (before / receipt.part).unlink()
    assert pq.read_table(after / receipt.part).num_rows == 1


def test_nothing_else_is_taken_over(tmp_path: Path) -> None:
    """Not another generation's part, not a part without receipt, not a shard that nobody asked for."""
    shards = [write_shard(tmp_path, [document(number)], f"{number}.parquet") for number in range(3)]
    before, after = tmp_path / "thoughts" / "before", tmp_path / "thoughts" / "after"
    make(shards[0], before, generation=generation_of(key="key-2"))
    unfinished = make(shards[1], before)
    (before / unfinished.part).with_suffix(".json").unlink()
    make(shards[2], before)
    after.mkdir()
    (tmp_path / "thoughts" / "notes.txt").write_text("no folder")
    assert adopt_parts(after, [shard_digest(shards[0]), shard_digest(shards[1])], "key-1") == {}
    assert list(after.iterdir()) == []


def test_own_part_comes_before_one_beside(tmp_path: Path) -> None:
    shard = write_shard(tmp_path, [document(1)])
    make(shard, tmp_path / "thoughts" / "a", Says("theirs"))
    own = make(shard, tmp_path / "thoughts" / "b", Says("my own words"))
    assert adopt_parts(tmp_path / "thoughts" / "b", [own.shard], "key-1") == {own.shard: own}
    rows = pq.read_table(tmp_path / "thoughts" / "b" / own.part).to_pylist()
    assert rows[0]["thought"] == "my own words"


def thought(doc_id: str = "a", sample_index: int = 0, num_tokens: int = 20, **changed: Any) -> Row:
    made = Completion("words", "stop", num_text_tokens=5, num_prompt_tokens=9, num_thought_tokens=num_tokens)
    common = {"source": "web", "domain": "stem", "text": "text", "prompt_id": "p", "model": "m", "model_revision": "r"}
    row = common | {"doc_id": doc_id, "sample_index": sample_index, "seed": 1, "sampling": "{}", "attempts": 1}
    return row | asdict(made) | {"status": "ok", "reason": ""} | changed


def outcomes(rows: list[Row], **settings_of_select: Any) -> list[tuple[str, str]]:
    return [(row["status"], row["reason"]) for row in select_rows(rows, SelectSpec(**settings_of_select))]


def test_thought_with_too_few_tokens_is_rejected() -> None:
    rows = [thought("a", num_tokens=9), thought("b", num_tokens=10)]
    assert outcomes(rows, min_thought_tokens=10) == [("rejected", "too_short"), ("ok", "")]


@pytest.mark.parametrize(("cut_off", "outcome"), [("keep", ("ok", "")), ("reject", ("rejected", "cut_off"))])
def test_thought_that_was_cut_off_is_kept_or_rejected_as_wanted(cut_off: str, outcome: tuple[str, str]) -> None:
    assert outcomes([thought(finish_reason="length")], cut_off=cut_off) == [outcome]


def test_reason_of_the_engine_stays() -> None:
    refused = thought(status="rejected", reason="too_long_for_model", num_tokens=0)
    assert outcomes([refused]) == [("rejected", "too_long_for_model")]


def test_first_sample_that_passes_is_chosen_and_the_later_ones_say_why_not() -> None:
    rows = [thought("a", 0, 3), thought("a", 1), thought("a", 2), thought("a", 3, 3), thought("b", 0)]
    assert outcomes(rows, min_thought_tokens=10) == [
        ("rejected", "too_short"),
        ("ok", ""),
        ("rejected", "not_chosen"),
        ("rejected", "too_short"),
        ("ok", ""),
    ]


def write_part(folder: Path, name: str, rows: list[Row]) -> Path:
    folder.mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=THOUGHT), folder / name)
    return folder / name


def select_into(folder: Path, parts: list[Path], **settings_of_select: Any) -> Outcome:
    folder.mkdir(exist_ok=True)
    return select(parts, SelectSpec(**settings_of_select), folder)


def test_selected_parts_hold_every_row_once_and_the_counts_agree(tmp_path: Path) -> None:
    given_rows = [
        [thought("a", 0, 3), thought("a", 1, 30), thought("b", 0, 40), thought("b", 1, 50)],
        [thought("c", 0, 0, status="rejected", reason="engine_refused"), thought("c", 1, 12)],
    ]
    parts = [write_part(tmp_path / "in", f"part-{n}.parquet", rows) for n, rows in enumerate(given_rows)]
    outcome = select_into(tmp_path / "out", parts, min_thought_tokens=10)
    written = {part.name: pq.read_table(part).to_pylist() for part in (tmp_path / "out").iterdir()}
    assert {name: keys(rows) for name, rows in written.items()} == {
        f"part-{n}.parquet": keys(rows) for n, rows in enumerate(given_rows)
    }
    assert (outcome.counts.num_in, outcome.counts.num_ok) == (6, 3)
    assert outcome.counts.rejected == {"engine_refused": 1, "not_chosen": 1, "too_short": 1}
    assert outcome.tokens == {"thought": 30 + 40 + 12, "thought_rejected": 3 + 50}


def test_selecting_again_leaves_nothing_of_the_time_before(tmp_path: Path) -> None:
    parts = [write_part(tmp_path / "in", f"part-{n}.parquet", [thought(str(n))]) for n in range(2)]
    select_into(tmp_path / "out", parts)
    select_into(tmp_path / "out", parts[:1])
    assert [part.name for part in (tmp_path / "out").iterdir()] == ["part-0.parquet"]
