"""The rows that stages hand on, as Arrow schemas: the contracts between the folders of this package.

Every stage accounts for what it was given: in = ok + rejected in its unit, and no key twice.
"""

from typing import Final

import pyarrow as pa

DOCUMENT: Final = pa.schema(
    [
        ("doc_id", pa.string()),
        ("source", pa.string()),
        ("domain", pa.string()),
        ("text", pa.string()),
        ("segment_ends", pa.list_(pa.int32())),
        ("num_words", pa.int32()),
    ]
)
"""A document that was kept; unit of the corpus stage together with `DOCUMENT_REJECTION`.

`segment_ends` are the ends, in characters of the text, of the segments that the document came with; empty without.
"""

DOCUMENT_REJECTION: Final = pa.schema(
    [
        ("source", pa.string()),
        ("row", pa.int64()),
        ("doc_id", pa.string()),
        ("reason", pa.string()),
        ("detail", pa.string()),
    ]
)
"""A document or passage that was left out; `row` counts the rows of its source from 0.

`detail` says of which document it is a duplicate, which question it holds, or which language it is in.
"""

THOUGHT: Final = pa.schema(
    [
        ("doc_id", pa.string()),
        ("source", pa.string()),
        ("domain", pa.string()),
        ("text", pa.string()),
        ("thought", pa.string()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("finish_reason", pa.string()),
        ("sample_index", pa.int32()),
        ("prompt_id", pa.string()),
        ("prompt_digest", pa.string()),
        ("model", pa.string()),
        ("model_revision", pa.string()),
        ("seed", pa.int64()),
        ("sampling", pa.string()),
        ("num_text_tokens", pa.int32()),
        ("num_prompt_tokens", pa.int32()),
        ("num_thought_tokens", pa.int32()),
        ("thought_logprob", pa.float32()),
        ("attempts", pa.int32()),
    ]
)
"""A thought about a document, kept (status ok) or not (rejected, with its reason). Key: doc_id, sample_index."""

SCORED_THOUGHT: Final = pa.schema(
    [("doc_id", pa.string()), ("sample_index", pa.int32()), ("gain_bits", pa.float32()), ("critic", pa.float32())]
)
"""Scores of a thought; null where it was not scored by that kind."""

PACKED_ROW: Final = pa.schema(
    [
        ("input_ids", pa.list_(pa.int32())),
        ("position_ids", pa.list_(pa.int32())),
        ("segment_kind", pa.list_(pa.int8())),
        ("segment_id", pa.list_(pa.int32())),
        ("doc_ids", pa.list_(pa.string())),
    ]
)
"""A row of exactly T tokens; positions restart at each document; `doc_ids[segment_id]` names a token's document."""

STEP: Final = pa.schema(
    [
        ("step", pa.int32()),
        ("loss", pa.float64()),
        ("loss_text", pa.float64()),
        ("loss_thought", pa.float64()),
        ("loss_delimiter", pa.float64()),
        ("loss_bos_eos", pa.float64()),
        ("grad_norm", pa.float64()),
        ("learning_rate", pa.float64()),
        ("num_tokens", pa.int64()),
        ("tokens_per_s", pa.float64()),
        ("mfu", pa.float64()),
        ("memory_bytes", pa.int64()),
        ("seconds", pa.float64()),
        ("overhead_seconds", pa.float64()),
        ("wait_seconds", pa.float64()),
        ("pause_seconds", pa.float64()),
    ]
)
"""One optimizer step (from 0); losses are weighted means in nats a token over the global batch.

The loss of a kind without targets is null, and so is the gradient norm of a step that fp16's loss scale skipped.
`num_tokens` are targets; `memory_bytes` is the most that any worker has held so far (on its GPU, else as a process);
`seconds` is the whole step and `overhead_seconds` its part outside forward, backward and optimizer. In neither, and in
no speed, are `wait_seconds`, in which the first worker waited for its rows, and `pause_seconds`, which went into
checkpoints and measurements since the step before.
"""

HELDOUT_BITS: Final = pa.schema(
    [
        ("step", pa.int32()),
        ("domain", pa.string()),
        ("bits_per_byte", pa.float64()),
        ("num_documents", pa.int32()),
        ("num_bytes", pa.int64()),
        ("seconds", pa.float64()),
    ]
)
"""Bits per byte of one domain's held-out documents after so many steps; 0 is the student as it came."""

TIMELINE: Final = pa.schema(
    [
        ("time_s", pa.float64()),
        ("session", pa.string()),
        ("engines_up", pa.int32()),
        ("engines_busy", pa.int32()),
        ("engines_most", pa.int32()),
        ("num_thoughts", pa.int64()),
        ("num_thought_tokens", pa.int64()),
        ("num_batches", pa.int64()),
        ("num_steps", pa.int64()),
        ("step_seconds", pa.float64()),
    ]
)
"""Both pools of a streaming training at a moment (seconds since the epoch); numbers and `step_seconds`, the time spent
in steps without waiting for rows, are those of the whole training so far, `session` is the command that saw them."""

SCORE: Final = pa.schema(
    [
        ("task", pa.string()),
        ("item_id", pa.string()),
        ("category", pa.string()),
        ("domain", pa.string()),
        ("subject", pa.string()),
        ("difficulty", pa.string()),
        ("metric", pa.string()),
        ("value", pa.float64()),
        ("weight", pa.float64()),
    ]
)
"""The score of one item in one metric; no item twice in a metric of a task.

    acc            1 right, 0 wrong; of a task with several samples an item the share of them that are right; weight 1
    pass@k         the chance that one of k samples is right (k = 1, 2, 4, ... and the number of samples); weight 1
    maj@k          1 where the answer that most of the k samples gave is right, all samples; weight 1
    extracted      the share of an item's samples in which an answer was found; weight 1
    bits_per_byte  of a held-out document; weighs by its bytes
    thought_nats   mean nats a token of a held-out document's thought, exp of it is the perplexity; weighs by its tokens
    gain           bits saved on a held-out document's text when its thought is read first, a byte; weighs by its bytes

A stock task's own metrics keep lm-eval's names, with weight 1. Fields that an item does not have are empty.
"""

ANSWER: Final = pa.schema(
    [
        ("task", pa.string()),
        ("item_id", pa.string()),
        ("sample_index", pa.int32()),
        ("category", pa.string()),
        ("domain", pa.string()),
        ("subject", pa.string()),
        ("difficulty", pa.string()),
        ("thought", pa.string()),
        ("output", pa.string()),
        ("answer", pa.string()),
        ("right", pa.bool_()),
        ("hit_limit", pa.bool_()),
        ("num_prompt_tokens", pa.int32()),
        ("num_thought_tokens", pa.int32()),
        ("num_thought_sentences", pa.int32()),
    ]
)
"""One generated sample (answers.parquet): what the model thought, what it wrote after, the answer found in that (null
where none was), and whether the thought ran into its limit."""

CHOICE: Final = pa.schema(
    [
        ("task", pa.string()),
        ("item_id", pa.string()),
        ("log_likelihoods", pa.list_(pa.float64())),
        ("choice", pa.int8()),
        ("answer", pa.int8()),
    ]
)
"""What likelihood said of one question (choices.parquet): nats of each letter, the one chosen, the right one."""

EVALUATED: Final = pa.schema(
    [
        ("step", pa.int32()),
        ("task", pa.string()),
        ("metric", pa.string()),
        ("group", pa.string()),
        ("value", pa.float64()),
        ("standard_error", pa.float64()),
        ("num_items", pa.int32()),
        ("seconds", pa.float64()),
    ]
)
"""What a checkpoint scored, beside the training: the mean of a task's metric over `group` (all, or a domain) after so
many steps; the standard error is null with fewer than two items."""

PADDING, TEXT, THOUGHT_KIND, DELIMITER, BOS_EOS = range(5)
"""Segment kinds of a packed token."""
SEGMENT_KINDS: Final = ("padding", "text", "thought", "delimiter", "bos_eos")
