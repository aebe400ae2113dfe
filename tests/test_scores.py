"""Scores of thoughts: the arithmetic, the stage around it, and real vLLM behind both kinds."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from processes import rcpt
from run_folder import manifests, only_folder, rows

from rcpt_ray.thoughts.scorers import mean_digit


def test_mean_digit_weighs_the_digits_by_their_probabilities() -> None:
    likely = {"4": math.log(0.3), " 5": math.log(0.1), "Good": math.log(0.6)}
    assert mean_digit(likely) == pytest.approx(4.25)


def test_no_digit_among_the_likely_tokens_is_no_score() -> None:
    assert mean_digit({"Good": -0.1, "6": -2.0, "10": -3.0}) is None


@given(st.dictionaries(st.sampled_from(["1", " 2", "3", "4\n", "5", "x"]), st.floats(-50, 0), min_size=1))
def test_mean_digit_lies_from_1_to_5(likely: dict[str, float]) -> None:
    score = mean_digit(likely)
    assert score is None or 1.0 - 1e-9 <= score <= 5.0 + 1e-9


@pytest.mark.slow
def test_gain_and_critic_with_vllm_agree_with_transformers(tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from rcpt_ray.models import resolve_model

    run = tmp_path / "run"
    ran = rcpt(
        "synthesize",
        "jobs/recipes/tiny.yaml",
        f"run={run}",
        "corpus.sources={law: {path: 'samples://corpus/law.jsonl', domain: law, max_documents: 6}}",
        "corpus.heldout_share=0",
        "thoughts.precision=fp32",
        "thoughts.pool={cpus_per_engine: 2}",
        "thoughts.select={min_thought_tokens: 0, choose: gain, min_critic_score: 1.0}",
        "arms={reasoning: {}}",
        "report.baseline=reasoning",
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert manifests(run, "scores")[0].details["scored"] == {"gain_bits": 6, "critic": 6}
    path = resolve_model("tiny-random-llama").path
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(path)
    scored = {row["doc_id"]: row for row in rows(only_folder(run, "scores"))}
    for thought in rows(only_folder(run, "thoughts")):
        before = f"<thought>\n{thought['thought']}\n</thought>\n\n"
        text_ids, thought_ids = (
            tokenizer(part, add_special_tokens=False, split_special_tokens=True)["input_ids"]
            for part in (thought["text"], before)
        )
        logprobs = []
        for ids in ([tokenizer.bos_token_id, *text_ids], [tokenizer.bos_token_id, *thought_ids, *text_ids]):
            with torch.no_grad():
                logits_TV = model(torch.tensor([ids])).logits[0].log_softmax(-1)
            positions = range(len(ids) - len(text_ids), len(ids))
            logprobs.append(sum(float(logits_TV[position - 1, ids[position]]) for position in positions))
        gain_bits = (logprobs[1] - logprobs[0]) / math.log(2)
        assert scored[thought["doc_id"]]["gain_bits"] == pytest.approx(gain_bits, abs=0.05)
        assert 1.0 <= scored[thought["doc_id"]]["critic"] <= 5.0
