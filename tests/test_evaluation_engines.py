"""What computes an evaluation: thinking in two steps, tokens, transformers, and lm-eval over any engine."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from evaluation_fixtures import start_texts
from hypothesis import given
from hypothesis import strategies as st

from rcpt_ray.errors import UserError
from rcpt_ray.evaluation.cost import Held
from rcpt_ray.evaluation.engine_work import Continuation, NextTokens, Piece, Scored
from rcpt_ray.evaluation.engines_on_ray import shards_of
from rcpt_ray.evaluation.job import EvaluationJob
from rcpt_ray.evaluation.models import check_context, close_models, engines_used, open_model
from rcpt_ray.evaluation.spec import EvaluationSpec
from rcpt_ray.evaluation.thinking import Answered, Draw, Question, Written, draw_seed, in_lockstep, think
from rcpt_ray.evaluation.tokens import TextTokens

OPEN, CLOSE = "<thought>\n", "\n</thought>\n\n"
TEXT = "The force on a body is its mass times its acceleration. So twice the mass needs twice the force."


def question(**changed: Any) -> Question:
    """Five prompt tokens, a closing of two; letters are tokens."""
    fields: dict[str, Any] = {
        "name": "quiz/q1/0",
        "sample_index": 0,
        "prompt_ids": [1, 2, 3, 4, 5],
        "thought_close": CLOSE,
        "closing_ids": [90, 91],
        "max_thought_tokens": 4,
        "max_answer_tokens": 3,
        "temperature": 0.0,
        "top_p": 1.0,
        "seed": 17,
    }
    return Question(**fields | changed)


def letters(text: str) -> list[int]:
    return [ord(letter) for letter in text]


def told(asked: Question, *written: Written) -> tuple[list[Draw], Answered]:
    """What a question wants written when it is told this, and where it ends."""
    steps, draws = think(asked, letters), list[Draw]()
    draws.append(next(steps))
    try:
        for text in written:
            draws.append(steps.send(text))
    except StopIteration as end:
        return draws, end.value
    raise AssertionError("it wanted more")


def test_answer_is_asked_for_behind_the_thought_and_its_closing() -> None:
    draws, answered = told(question(), Written(" hm\n", False), Written(" B", False))
    assert [draw.prompt_ids for draw in draws] == [[1, 2, 3, 4, 5], [1, 2, 3, 4, 5, *letters("hm"), 90, 91]]
    assert [(draw.stops, draw.max_tokens) for draw in draws] == [(("</thought>",), 4), (("\n",), 3)]
    assert answered == Answered("hm", " B", False, num_prompt_tokens=5, num_thought_tokens=2)


def test_thought_that_never_closes_is_answered_all_the_same() -> None:
    draws, answered = told(question(), Written("abcd", True), Written("", True))
    assert draws[1].prompt_ids == [1, 2, 3, 4, 5, *letters("abcd"), 90, 91]
    assert answered == Answered("abcd", "", True, num_prompt_tokens=5, num_thought_tokens=4)


def test_thought_whose_text_has_more_tokens_than_were_written_stays_within_the_limit() -> None:
    """Bytes that are no text come back as three tokens each."""
    draws, answered = told(question(), Written("abcdefgh", False), Written("A", False))
    assert draws[1].prompt_ids == [1, 2, 3, 4, 5, *letters("abcd"), 90, 91]
    assert answered.num_thought_tokens == 4


def test_seeds_differ_by_sample_and_step_and_not_by_order() -> None:
    samples = [question(sample_index=index, temperature=1.0) for index in range(3)]
    seeds = [draw.seed for each in samples for draw in told(each, Written("a", False), Written("b", False))[0]]
    assert len(set(seeds)) == 6
    again = [draw.seed for each in samples[::-1] for draw in told(each, Written("x", False), Written("y", False))[0]]
    assert sorted(again) == sorted(seeds)
    assert draw_seed(17, "a", 1) != draw_seed(18, "a", 1)


def test_all_questions_go_a_step_at_a_time() -> None:
    batches = []

    def write_all(questions: Sequence[Question], draws: Sequence[Draw]) -> list[Written]:
        batches.append([each.name for each in questions])
        return [Written(f"{each.name}:{draw.max_tokens}", False) for each, draw in zip(questions, draws, strict=True)]

    found = in_lockstep([question(name="a"), question(name="b")], letters, write_all)
    assert batches == [["a", "b"], ["a", "b"]]
    assert [(each.thought, each.output) for each in found] == [("a:4", "a:3"), ("b:4", "b:3")]


def test_what_goes_through_lm_eval_comes_back() -> None:
    answered = Answered('a "thought"\n', " Ω", True, 12, 34)
    assert Answered.from_json(answered.to_json()) == answered
    assert set(json.loads(answered.to_json())) == {
        "thought",
        "output",
        "hit_limit",
        "num_prompt_tokens",
        "num_thought_tokens",
    }


@given(num_pieces=st.integers(0, 2000), num_places=st.integers(1, 64))
def test_shards_hold_each_piece_once_and_reach_every_place(num_pieces: int, num_places: int) -> None:
    shards = shards_of(num_pieces, num_places)
    assert [number for shard in shards for number in shard] == list(range(num_pieces))
    assert all(1 <= len(shard) <= 64 for shard in shards)
    assert len({len(shard) for shard in shards[:-1]}) <= 1
    assert len(shards) >= min(num_places, num_pieces) / 2


def test_engines_are_those_of_the_tasks() -> None:
    quiz = {"path": "samples://quiz/test.jsonl"}

    def used(**settings: Any) -> set[str]:
        return engines_used(EvaluationSpec.model_validate(settings))

    assert used() == {"transformers"}
    assert used(heldout_bits_per_byte=False) == set()
    assert used(likelihood_engine="vllm", tasks={"quiz": quiz}) == {"vllm"}
    assert used(tasks={"quiz": quiz | {"kind": "generated"}}) == {"transformers", "vllm"}
    assert used(heldout_bits_per_byte=False, tasks={"quiz": quiz | {"kind": "generated"}}) == {"vllm"}
    assert used(heldout_bits_per_byte=False, tasks={"pro": {"kind": "stock", "name": "mmlu_pro"}}) == {
        "transformers",
        "vllm",
    }


@pytest.fixture
def special_model(tiny_model_folder: Path, tmp_path: Path) -> str:
    """The tiny model's tokenizer with two delimiters of its own, as a mixture with delimiters=special leaves it."""
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(tiny_model_folder)
    tokenizer.add_tokens(["<thought>", "</thought>"], special_tokens=True)
    tokenizer.save_pretrained(tmp_path)
    return str(tmp_path)


def test_plain_delimiters_are_tokenized_apart_from_the_text(tiny_model_folder: Path) -> None:
    tokens = TextTokens(str(tiny_model_folder), [OPEN, CLOSE])
    assert tokens.encode(f"Why?\n{OPEN}") == [*tokens.encode_plain("Why?\n"), *tokens.encode_plain(OPEN)]
    assert tokens.encode(TEXT) == tokens.encode_plain(TEXT)


def test_special_delimiters_are_one_token_and_control_tokens_are_characters(special_model: str) -> None:
    tokens = TextTokens(special_model, ["<thought>", "</thought>"])
    first, second = tokens.tokenizer.convert_tokens_to_ids(["<thought>", "</thought>"])
    assert tokens.encode("<thought>a</thought>") == [first, *tokens.encode_plain("a"), second]
    assert first not in tokens.encode_plain("<thought>")
    end = tokens.tokenizer.eos_token_id
    assert end not in tokens.encode(tokens.tokenizer.decode(end))


def job(model: Path, **settings: Any) -> EvaluationJob:
    spec = EvaluationSpec.model_validate(
        {"precision": "fp32", "max_length_tokens": 256, "generation_engine": "transformers", "batch_size": 4} | settings
    )
    return EvaluationJob(spec, str(model), [], Path("unused"), seed=17, thought_open=OPEN, thought_close=CLOSE)


def requests(kind: Any, arguments: Sequence[tuple[Any, ...]], task: str = "quiz") -> list[Any]:
    from lm_eval.api.instance import Instance

    return [
        Instance(kind, {"item_id": f"q{number}"}, each, 0, (task, number, 1)) for number, each in enumerate(arguments)
    ]


def asks_of(model: Any) -> Any:
    """An engine in vLLM's place: the same pieces of work, answered with torch alone."""
    import torch

    def log_probabilities(ids: list[int]) -> Any:
        with torch.no_grad():
            return model(torch.tensor([ids])).logits[0].float().log_softmax(-1)

    def ask(pieces: Sequence[Piece]) -> list[Scored]:
        found = []
        for piece in pieces:
            match piece:
                case NextTokens():
                    last_V = log_probabilities(piece.context_ids)[-1]
                    best = int(last_V.argmax())
                    found.append(
                        Scored(
                            [float(last_V[token]) for token in piece.token_ids], [t == best for t in piece.token_ids]
                        )
                    )
                case Continuation():
                    scored_TV = log_probabilities(piece.token_ids[:-1])[-piece.num_scored :]
                    last = piece.token_ids[-piece.num_scored :]
                    total = sum(float(row_V[token]) for row_V, token in zip(scored_TV, last, strict=True))
                    found.append(Scored([total], [scored_TV.argmax(-1).tolist() == last]))
        return found

    return ask


def test_both_uses_share_one_model_and_another_job_has_its_own(tiny_model_folder: Path) -> None:
    first = open_model(job(tiny_model_folder), "likelihood")
    assert open_model(job(tiny_model_folder), "likelihood") is first
    thinking = open_model(job(tiny_model_folder), "generation")
    assert (thinking.engine, thinking.seeds, thinking.num_truncated) == ("transformers", "engine", 0)
    assert open_model(job(tiny_model_folder, batch_size=2), "likelihood") is not first
    held = close_models()
    assert held.transformers_s > 0 == held.engines_s
    assert close_models() == Held()


def test_context_above_the_models_is_refused_before_and_when_it_is_opened(tiny_model_folder: Path) -> None:
    check_context(job(tiny_model_folder, max_length_tokens=2048).spec, str(tiny_model_folder))
    asked = job(tiny_model_folder, max_length_tokens=4096)
    for refuse in (lambda: check_context(asked.spec, asked.model_path), lambda: open_model(asked, "likelihood")):
        with pytest.raises(UserError) as refused:
            refuse()
        assert str(refused.value) == (
            "evaluation.max_length_tokens=4096 is longer than the model's context of 2048 tokens; lower it"
        )


def test_engines_score_what_transformers_scores(tiny_model_folder: Path) -> None:
    """Letters by one request, longer continuations, a context that is cut, texts in windows: equal to lm-eval's own."""
    from rcpt_ray.evaluation.engines_lm import EnginesLM

    reference = open_model(job(tiny_model_folder), "likelihood")
    tokens = TextTokens(str(tiny_model_folder), [OPEN, CLOSE])
    engines = EnginesLM(tokens, asks_of(reference.model), 256, seed=17)
    pairs = [
        *((f"{TEXT} Answer:", f" {letter}") for letter in "ABCD"),
        (TEXT, " It is the third law that says so."),
        ("", TEXT),
        (f"{OPEN}{TEXT}{CLOSE}", TEXT),
        (TEXT * 40, " too long"),
    ]
    wanted = reference.loglikelihood(requests("loglikelihood", pairs))
    found = engines.loglikelihood(requests("loglikelihood", pairs))
    assert [nats for nats, _ in found] == pytest.approx([nats for nats, _ in wanted], abs=1e-3)
    assert [is_greedy for _, is_greedy in found] == [is_greedy for _, is_greedy in wanted]
    assert reference.truncated == engines.truncated == {"quiz": 1}
    texts = [(TEXT,), (TEXT * 40,), ("",)]
    assert engines.loglikelihood_rolling(requests("loglikelihood_rolling", texts)) == pytest.approx(
        reference.loglikelihood_rolling(requests("loglikelihood_rolling", texts)), rel=1e-5
    )
    assert reference.num_truncated == engines.num_truncated == 1


def test_a_whole_text_stands_behind_one_start_token(tiny_model_folder: Path, tmp_path: Path) -> None:
    """By hand, with a tokenizer that puts a start token before each text; both engines, and more than one window."""
    import torch

    from rcpt_ray.evaluation.engines_lm import EnginesLM

    folder = start_texts(tiny_model_folder, tmp_path / "model")
    lm, tokens = open_model(job(folder, max_length_tokens=16), "likelihood"), TextTokens(str(folder), [OPEN, CLOSE])
    ids = [tokens.prefix_id, *tokens.encode_plain("A short text.")]
    assert tokens.encode("A short text.") == ids and len(ids) < 16
    with torch.no_grad():
        nats_TV = lm.model(torch.tensor([ids])).logits[0].float().log_softmax(-1)
    by_hand = sum(float(nats_TV[place, token]) for place, token in enumerate(ids[1:]))
    engines = EnginesLM(tokens, asks_of(lm.model), 16, seed=17)
    asked = requests("loglikelihood_rolling", [("A short text.",), (TEXT,)])
    found = [model.loglikelihood_rolling(asked) for model in (lm, engines)]
    assert found[0][0] == pytest.approx(by_hand, rel=1e-5)
    assert found[1] == pytest.approx(found[0], rel=1e-5)
    question = requests("loglikelihood", [(TEXT[:20], TEXT[20:30])])
    assert engines.loglikelihood(question)[0][0] == pytest.approx(lm.loglikelihood(question)[0][0], abs=1e-3)


def test_a_models_own_settings_of_generation_do_not_count(tiny_model_folder: Path, tmp_path: Path) -> None:
    plain = answers(open_model(job(tiny_model_folder), "generation"), PROMPTS)
    folder = tmp_path / "model"
    shutil.copytree(tiny_model_folder, folder)
    own = json.loads((folder / "generation_config.json").read_text())
    own |= {"max_new_tokens": 40, "repetition_penalty": 5.0, "do_sample": True, "no_repeat_ngram_size": 1}
    (folder / "generation_config.json").write_text(json.dumps(own))
    model = open_model(job(folder), "generation")
    assert answers(model, PROMPTS) == plain
    assert all(each.num_thought_tokens <= 12 for each in plain)
    stock = {"until": ["\n"], "max_gen_toks": 6, "do_sample": False}
    asked = requests("generate_until", [(TEXT, stock)])
    wanted = open_model(job(tiny_model_folder), "generation").generate_until(asked)
    assert open_model(job(folder), "generation").generate_until(asked) == wanted


def thinking_settings(**changed: Any) -> dict[str, Any]:
    fields = {"thought_close": CLOSE, "answer_cue": "Answer:", "max_thought_tokens": 12, "max_answer_tokens": 4}
    return fields | {"do_sample": False, "until": []} | changed


def answers(model: Any, prompts: Sequence[str], repeats: int = 1, **changed: Any) -> list[Answered]:
    asked = requests("generate_until", [(prompt, thinking_settings(**changed)) for prompt in prompts])
    return [Answered.from_json(text) for text in model.generate_until([one for one in asked for _ in range(repeats)])]


PROMPTS = [f"Why is that?\n{OPEN}", f"{TEXT}\n{OPEN}", f"A{OPEN}", f"{TEXT * 2}{OPEN}", f"No.\n{OPEN}"]


def test_thoughts_in_batches_are_those_of_each_question_alone(tiny_model_folder: Path) -> None:
    """Greedy, against transformers by hand; the prompts differ in length, so all but one of a batch are padded."""
    import torch

    model = open_model(job(tiny_model_folder), "generation")
    tokens, own = TextTokens(str(tiny_model_folder), [OPEN, CLOSE]), open_model(job(tiny_model_folder), "likelihood")

    def write(ids: list[int], most: int) -> str:
        with torch.no_grad():
            out = own.model.generate(torch.tensor([ids]), max_new_tokens=most, do_sample=False, pad_token_id=3)[0]
        written = [token for token in out[len(ids) :].tolist() if token not in own.model.generation_config.eos_token_id]
        return str(tokens.tokenizer.decode(written))

    found = answers(model, PROMPTS)
    for prompt, answered in zip(PROMPTS, found, strict=True):
        ids = tokens.encode(prompt)
        thought = write(ids, 12)
        thought_ids = tokens.encode_plain(thought.strip())[:12]
        output = write([*ids, *thought_ids, *tokens.encode(CLOSE + "Answer:")], 4)
        assert (answered.thought, answered.output) == (thought.strip(), output.split("\n")[0])
        assert answered.num_prompt_tokens == len(ids)
    assert any(answered.hit_limit for answered in found)
    assert all(answered.num_thought_tokens == 12 for answered in found if answered.hit_limit)


def test_samples_differ_and_repeat(tiny_model_folder: Path) -> None:
    model = open_model(job(tiny_model_folder), "generation")
    drawn = answers(model, PROMPTS[:2], repeats=3, do_sample=True, temperature=1.0)
    assert len({each.thought for each in drawn}) == 6
    assert answers(model, PROMPTS[:2], repeats=3, do_sample=True, temperature=1.0) == drawn


def test_prompt_that_leaves_no_room_is_cut_and_counted(tiny_model_folder: Path) -> None:
    model = open_model(job(tiny_model_folder), "generation")
    (short, long) = answers(model, [PROMPTS[0], TEXT * 40 + OPEN])
    assert (model.num_truncated, model.truncated) == (1, {"quiz": 1})
    closing = len(TextTokens(str(tiny_model_folder), [OPEN, CLOSE]).encode(CLOSE + "Answer:"))
    assert long.num_prompt_tokens == 256 - 12 - 4 - closing > short.num_prompt_tokens


def test_limits_above_the_context_are_refused(tiny_model_folder: Path) -> None:
    model = open_model(job(tiny_model_folder), "generation")
    with pytest.raises(UserError, match="evaluation.max_length_tokens=256 leaves no room for a question"):
        answers(model, PROMPTS, max_thought_tokens=300)


def test_requests_of_other_tasks_are_written_as_lm_eval_writes_them(tiny_model_folder: Path) -> None:
    """Mixed with thoughts, and back in order."""
    model = open_model(job(tiny_model_folder), "generation")
    plain = {"until": ["\n"], "max_gen_toks": 6, "do_sample": False}
    mixed = requests("generate_until", [(TEXT, plain), (PROMPTS[0], thinking_settings()), (TEXT, dict(plain))])
    first, thought, last = model.generate_until(mixed)
    assert first == last
    assert Answered.from_json(thought) == answers(model, PROMPTS[:1])[0]
