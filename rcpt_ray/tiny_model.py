"""A random Llama small enough for tests and for smoke runs of the whole pipeline, made from a seed.

The folder it writes is an ordinary Hugging Face one: config, generation config, safetensors weights, tokenizer and chat
template. What it says is noise; what it costs is next to nothing, so every stage runs for real in seconds.

Invariants: the same arguments, package texts and library versions give the same bytes. The tokenizer is byte-level with
all 256 bytes in its alphabet and no normalizer, so decoding gives any Unicode text back exactly; no token is added at
either end. Sampled tokens need not form valid UTF-8: decoded, such bytes show as U+FFFD.

Price: 0.2 s of one core once torch and transformers are imported, and 0.5 MB of disk (189,000 parameters).
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokenizers import Tokenizer

MAKER_VERSION = 1
"""Raised by hand when the same arguments come to give another model."""

END_OF_TEXT, TURN_START, TURN_END, PADDING = "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>"
CONTROL_TOKENS = (END_OF_TEXT, TURN_START, TURN_END, PADDING)
"""Token ids 0 to 3, in this order."""

_NUM_BYTES = 256
_HEAD_DIM_MULTIPLE = 32  # vLLM's CPU attention takes head sizes of 32, 64, 96, 128 ...
_SAMPLES = Path(__file__).parent / "samples" / "corpus"

_CHAT_TEMPLATE = """\
{%- for turn in messages -%}
    {%- if turn['role'] not in ['system', 'user', 'assistant'] -%}
        {{- raise_exception('a turn is spoken by system, user or assistant, not by ' + turn['role']) -}}
    {%- endif -%}
    {{- '<|im_start|>' + turn['role'] + '\\n' + turn['content'] + '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- '<|im_start|>assistant\\n' -}}
{%- endif -%}
"""

_FALLBACK_TEXT = """\
A reader who follows an argument does more than take in its sentences. Between one line and the next there is a step
that the writer left out: why this case is split in two, why that number cannot be even, which rule the court had in
mind when it turned the claim away. Suppose that the sum of two odd numbers were odd. Write them as 2a + 1 and 2b + 1;
then their sum is 2(a + b + 1), which is even, and the supposition falls. The proof is short because the work was done
before it was written down. "What did they think of first?" is a fair question to ask of any text, and the answer is
often simple: they tried a small example, saw a pattern, doubted it, tried 3, 5 and 17, and only then began to write.
"""


def make_tiny_llama(
    folder: Path,
    *,
    seed: int = 0,
    vocab_size: int = 1024,
    hidden_size: int = 64,
    num_layers: int = 2,
    num_heads: int = 2,
    num_kv_heads: int = 1,
    context_tokens: int = 2048,
) -> None:
    """Write a random Llama with its tokenizer into `folder`, which is made if it is missing.

    `vocab_size` is an upper bound: few texts may give fewer merges, and the model's vocabulary is the tokenizer's.
    A turn of a chat ends with <|im_end|> (eos), a text begins with <|endoftext|> (bos; also ends generation) and
    padding has a token of its own, so nothing real is ever mistaken for padding.

    Weights are bfloat16, which vLLM's CPU engine computes in and CPU training is fastest in: float32 weights would be
    rounded on loading, and teacher and student would no longer be the same numbers.

    Raises ValueError where the sizes do not fit each other. The random state of the caller is left as it was.
    """
    if vocab_size < _NUM_BYTES + len(CONTROL_TOKENS):
        raise ValueError(f"vocab_size {vocab_size}: needs {_NUM_BYTES} bytes and {len(CONTROL_TOKENS)} control tokens")
    if hidden_size % (num_heads * _HEAD_DIM_MULTIPLE) != 0:
        raise ValueError(
            f"hidden_size {hidden_size} over num_heads {num_heads}: a head must be a multiple of {_HEAD_DIM_MULTIPLE} "
            "wide for vLLM's CPU attention; choose other sizes"
        )
    if num_heads % num_kv_heads != 0:
        raise ValueError(f"num_heads {num_heads} must be a multiple of num_kv_heads {num_kv_heads}")

    import torch
    import transformers

    hf: Any = transformers

    bpe = train_tokenizer(training_texts(), vocab_size)
    tokenizer = hf.PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=END_OF_TEXT,
        eos_token=TURN_END,
        pad_token=PADDING,
        additional_special_tokens=[TURN_START],
        model_max_length=context_tokens,
        clean_up_tokenization_spaces=False,
        chat_template=_CHAT_TEMPLATE,
    )
    token_id = {token: bpe.token_to_id(token) for token in CONTROL_TOKENS}
    config = hf.LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden_size,
        intermediate_size=4 * hidden_size,
        num_hidden_layers=num_layers,
        num_attention_heads=num_heads,
        num_key_value_heads=num_kv_heads,
        head_dim=hidden_size // num_heads,
        max_position_embeddings=context_tokens,
        tie_word_embeddings=True,
        bos_token_id=token_id[END_OF_TEXT],
        eos_token_id=token_id[TURN_END],
        pad_token_id=token_id[PADDING],
        dtype="bfloat16",
    )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # the CPU's alone: an accelerator is left untouched
        model: Any = hf.LlamaForCausalLM(config).to(torch.bfloat16)
    model.generation_config = hf.GenerationConfig(
        bos_token_id=token_id[END_OF_TEXT],
        eos_token_id=[token_id[TURN_END], token_id[END_OF_TEXT]],
        pad_token_id=token_id[PADDING],
    )
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def maker_digest(seed: int = 0) -> str:
    """Twelve hex digits that change when `make_tiny_llama(folder, seed=seed)` would learn from other texts."""
    digest = hashlib.sha256(f"{MAKER_VERSION} {seed}".encode())
    for text in training_texts():
        digest.update(b"\0" + text.encode())
    return digest.hexdigest()[:12]


def training_texts() -> Iterator[str]:
    """The texts of the package's sample corpus, in order of file name and line; one paragraph where there is none."""
    files = sorted(_SAMPLES.glob("*.jsonl"))
    if not files:
        yield _FALLBACK_TEXT
    for file in files:
        with file.open(encoding="utf-8") as lines:  # splits at newlines alone, as JSON lines want
            for line in lines:
                yield json.loads(line)["text"]


def train_tokenizer(texts: Iterator[str], vocab_size: int) -> "Tokenizer":
    """A byte-level BPE of at most `vocab_size` tokens, the control tokens first, then the 256 bytes, then merges."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(CONTROL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer
