"""Held-out bits per byte while training, as the evaluation defines them (evaluation/tasks.py): lm-eval's windows.

    B rows, T tokens

Of each domain the documents with the smallest hashes of their ids are taken, so every measurement, attempt and number
of workers scores the same ones. Windows of like length share a forward pass; passes go round the ranks, and a rank that
has fewer runs an empty one, so that ranks which hold the parameters together (ZeRO 3) stay in step.
Invariant: the model, its gradients, the optimizer and the generators of random numbers are as before.
Price: a third of the operations of training on as many tokens; the texts are tokenized once a training.
"""

import math
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from rcpt_ray.corpus.split import unit_hash
from rcpt_ray.records import TEXT
from rcpt_ray.training.batch import Batch
from rcpt_ray.training.job import TrainingJob
from rcpt_ray.training.losses import token_losses
from rcpt_ray.training.row_file import Row


@dataclass(frozen=True)
class Window:
    """A stretch of a document: the tokens that are read, and how many of the last ones are predicted."""

    domain: int
    token_ids: list[int]
    """What is read and, one further, the last token that is predicted."""
    num_predicted: int


def choose_documents(parts: Sequence[Path], num_per_domain: int) -> dict[str, list[str]]:
    """Texts by domain, domains in order of name: of each the documents whose ids have the smallest hashes."""
    columns = ["doc_id", "domain", "text"]
    chosen: dict[str, list[tuple[float, str, str]]] = defaultdict(list)
    for part in parts:
        for row in pq.read_table(part, columns=columns).to_pylist():
            chosen[row["domain"]].append((unit_hash("heldout measurement", row["doc_id"]), row["doc_id"], row["text"]))
        chosen = defaultdict(list, {domain: sorted(texts)[:num_per_domain] for domain, texts in chosen.items()})
    return {domain: [text for _, _, text in texts] for domain, texts in sorted(chosen.items())}


def cut_windows(token_ids: list[int], prefix_id: int, max_length: int, domain: int) -> list[Window]:
    """lm-eval's windows: each token predicted once, with as much before it as fits."""
    from lm_eval.utils import get_rolling_token_windows

    windows = get_rolling_token_windows(token_ids, prefix_id, max_length, context_len=1)
    return [Window(domain, [*read, predicted[-1]], len(predicted)) for read, predicted in windows]


def group_windows(windows: Sequence[Window], max_tokens: int, num_ranks: int) -> list[list[Window]]:
    """Windows of like length by forward pass, each of at most `max_tokens` with padding; a multiple of the ranks."""
    groups: list[list[Window]] = []
    for window in sorted(windows, key=lambda one: len(one.token_ids), reverse=True):
        if not groups or (len(groups[-1]) + 1) * (len(groups[-1][0].token_ids) - 1) > max_tokens:
            groups.append([])
        groups[-1].append(window)
    return groups + [[] for _ in range(-len(groups) % num_ranks)]


def batch_of(windows: Sequence[Window]) -> Batch:
    """A forward pass of one window a row, padded at its end; of none, one empty row."""
    width = max((len(window.token_ids) - 1 for window in windows), default=1)
    input_ids_BT = np.zeros((max(1, len(windows)), width), np.int64)
    target_ids_BT, target_kind_BT = np.zeros_like(input_ids_BT), np.zeros(input_ids_BT.shape, np.int8)
    for row, window in enumerate(windows):
        length = len(window.token_ids) - 1
        input_ids_BT[row, :length] = window.token_ids[:-1]
        target_ids_BT[row, :length] = window.token_ids[1:]
        target_kind_BT[row, length - window.num_predicted : length] = TEXT
    position_ids_BT = np.broadcast_to(np.arange(width), input_ids_BT.shape).copy()
    return Batch(input_ids_BT, position_ids_BT, target_ids_BT, target_kind_BT)


class HeldoutMeter:
    """Measures a model in training; made and used by all ranks alike."""

    def __init__(self, job: TrainingJob, rank: int) -> None:
        from transformers import AutoTokenizer

        spec, num_ranks = job.spec.watch, job.plan.num_workers
        # As in the evaluation: a text that holds <|im_end|> is scored as those characters.
        tokenizer = AutoTokenizer.from_pretrained(
            job.tokenizer_path,
            split_special_tokens=True,
            local_files_only=True,
            trust_remote_code=job.trust_remote_code,
        )
        prefix_id = tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
        texts = choose_documents(job.heldout_parts, spec.heldout_documents)
        windows: list[Window] = []
        for domain, own in enumerate(texts.values()):
            for text in own:
                # A start token that the tokenizer adds would stand behind that of the window.
                ids = tokenizer.encode(text, add_special_tokens=False)
                windows += cut_windows(ids, prefix_id, spec.heldout_max_length_tokens, domain)
        self._documents = {domain: len(own) for domain, own in texts.items()}
        self._num_bytes = {domain: sum(len(text.encode()) for text in own) for domain, own in texts.items()}
        max_tokens = max(job.plan.row_tokens, spec.heldout_max_length_tokens)
        self._groups = group_windows(windows, max_tokens, num_ranks)[rank::num_ranks]

    def measure(self, engine: Any, step: int) -> list[Row]:
        """A row (records.HELDOUT_BITS) a domain; the engine trains again afterwards."""
        import torch

        started = time.monotonic()
        nats = torch.zeros(len(self._documents), dtype=torch.float64, device=engine.device)
        engine.eval()
        with torch.no_grad():
            for group in self._groups:
                losses_BT, _ = token_losses(engine, batch_of(group))
                if group:
                    domains = torch.tensor([window.domain for window in group], device=engine.device)
                    nats.index_add_(0, domains, losses_BT.double().sum(dim=1))
        engine.train()
        torch.distributed.all_reduce(nats)
        seconds = time.monotonic() - started
        return [
            {
                "step": step,
                "domain": domain,
                "bits_per_byte": float(nats[number]) / math.log(2) / max(1, self._num_bytes[domain]),
                "num_documents": num_documents,
                "num_bytes": self._num_bytes[domain],
                "seconds": seconds,
            }
            for number, (domain, num_documents) in enumerate(self._documents.items())
        ]


def mean_bits(rows: Sequence[Row]) -> float | None:
    """Mean over the domains of the newest measurement, each counted alike; None where nothing was measured."""
    newest = [row["bits_per_byte"] for row in rows if row["step"] == rows[-1]["step"]]
    return sum(newest) / len(newest) if newest else None


def bits_by_domain(rows: Sequence[Row]) -> dict[str, list[float]]:
    """Bits per byte of the first and the last measurement, by domain."""
    of_domain: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        of_domain[row["domain"]].append(row["bits_per_byte"])
    return {domain: [bits[0], bits[-1]] for domain, bits in of_domain.items()}
