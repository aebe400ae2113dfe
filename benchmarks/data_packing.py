"""One run of one system over the same texts: `data_packing.py SYSTEM FOLDER MODEL ROW_TOKENS`.

    bare        the fast tokenizer alone, tokens thrown away
    ours        tokenize shards and pack them into Parquet parts, as the mixture stage does
    ours_pack   the same, timed from the tokenized files on
    trl         tokenize with datasets.map and the same tokenizer, pack with TRL's best fit
    trl_pack    the same, timed from the tokenized dataset on
    datatrove   tokenize with datatrove's DocumentTokenizer, which writes one stream of tokens

Texts are read from the folder that data.py made. Prints tokens, seconds and the share of padding.
"""

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from rich.console import Console

BATCH = 1000


def main(system: str, folder: Path, model_path: str, row_tokens: int) -> None:
    runs = {
        "bare": bare,
        "ours": ours,
        "ours_pack": lambda *given: ours(*given, only_packing=True),
        "trl": trl,
        "trl_pack": lambda *given: trl(*given, only_packing=True),
        "datatrove": datatrove,
    }
    with tempfile.TemporaryDirectory(dir=folder) as out:
        print(json.dumps(runs[system](folder, model_path, row_tokens, Path(out))))


def texts_of(folder: Path) -> list[str]:
    return [text for shard in sorted(folder.glob("part-train-*")) for text in pq.read_table(shard)["text"].to_pylist()]


def bare(folder: Path, model_path: str, row_tokens: int, out: Path) -> dict[str, float]:
    from tokenizers import Tokenizer

    tokenizer, texts = Tokenizer.from_file(f"{model_path}/tokenizer.json"), texts_of(folder)
    tokenizer.encode_special_tokens = True
    started = time.perf_counter()
    num_tokens = 0
    for first in range(0, len(texts), BATCH):
        encodings = tokenizer.encode_batch_fast(texts[first : first + BATCH], add_special_tokens=False)
        num_tokens += sum(len(encoding.ids) for encoding in encodings)
    return {"tokens": num_tokens, "seconds": time.perf_counter() - started}


def ours(folder: Path, model_path: str, row_tokens: int, out: Path, only_packing: bool = False) -> dict[str, float]:
    from rcpt_ray.corpus.digest import shard_digest
    from rcpt_ray.mixture.mix import MixtureInput, mix
    from rcpt_ray.mixture.spec import MixtureSpec
    from rcpt_ray.mixture.tokenize import text_tokenizer
    from rcpt_ray.spread import here
    from rcpt_ray.terminal import Bar

    spec = MixtureSpec(layout="text_only", documents="all", row_tokens=row_tokens)
    given = MixtureInput([(shard_digest(shard), shard) for shard in sorted(folder.glob("part-train-*"))], ["web"], [])
    tokenizer, bar = text_tokenizer(model_path, spec), Bar(Console(quiet=True), "mixture", None)
    marks: list[float] = []
    spread = here()

    def timed(work: Any, items: Any, num_bytes: int, num_threads: int = 2) -> Any:
        marks.append(time.perf_counter())
        return spread(work, items, num_bytes, num_threads)

    outcome = mix(given, spec, None, None, 17, tokenizer, out, timed, bar)  # type: ignore[arg-type]
    seconds = time.perf_counter() - marks[1 if only_packing else 0]
    return {"tokens": outcome.tokens["text"], "seconds": seconds, "padding": outcome.details["padding_share"]}


def trl(folder: Path, model_path: str, row_tokens: int, out: Path, only_packing: bool = False) -> dict[str, float]:
    from datasets import Dataset, disable_progress_bars
    from tokenizers import Tokenizer
    from trl.data_utils import pack_dataset

    disable_progress_bars()
    tokenizer = Tokenizer.from_file(f"{model_path}/tokenizer.json")
    # On disk, as a corpus that does not fit into memory would be.
    Dataset.from_dict({"text": texts_of(folder)}).save_to_disk(str(out / "texts"))
    texts = Dataset.load_from_disk(str(out / "texts"))
    end = tokenizer.token_to_id("<|im_end|>")

    def tokenize(batch: dict[str, list[str]]) -> dict[str, list[list[int]]]:
        encodings = tokenizer.encode_batch_fast(batch["text"], add_special_tokens=False)
        return {"input_ids": [[*encoding.ids, end] for encoding in encodings]}

    started = time.perf_counter()
    tokenized = texts.map(tokenize, batched=True, batch_size=BATCH, remove_columns=["text"])
    if only_packing:
        started = time.perf_counter()
    packed = pack_dataset(tokenized, row_tokens, strategy="bfd_split")
    num_rows = len(packed)
    seconds = time.perf_counter() - started
    num_tokens = sum(sum(lengths) for lengths in packed["seq_lengths"])
    num_text = num_tokens - len(texts)  # without the end of each document
    return {"tokens": num_text, "seconds": seconds, "padding": 1 - num_tokens / (num_rows * row_tokens)}


def datatrove(folder: Path, model_path: str, row_tokens: int, out: Path) -> dict[str, float]:
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.tokens import DocumentTokenizer

    tokenizer = DocumentTokenizer(
        str(out / "tokens"),
        f"{model_path}/tokenizer.json",
        eos_token="<|im_end|>",
        shuffle_documents=False,
        batch_size=BATCH,
        save_final_metadata=False,
    )
    started = time.perf_counter()
    LocalPipelineExecutor(
        pipeline=[JsonlReader(str(folder / "jsonl")), tokenizer],
        tasks=1,
        logging_dir=str(out / "logs"),
    ).run()
    seconds = time.perf_counter() - started
    num_bytes = sum(file.stat().st_size for file in (out / "tokens").glob("*.ds"))
    return {"tokens": num_bytes // tokenizer.token_size, "seconds": seconds}


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
