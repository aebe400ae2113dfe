"""Writing beside the training: a copy in memory, then a thread that takes it to the run folder.

The copy's memory is kept for the next one, because touching memory for the first time takes several times as long as
copying (SmolLM2-135M on two virtual cores: 0.8 s or more the first time, 0.15 s from then on); on a GPU it is pinned.
Price: 12 bytes of the host's memory for each trained parameter that the rank answers for, from the first checkpoint on.
"""

import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

_ALIGNMENT = 16


class Snapshot:
    """Copies of tensors, in memory that is used again."""

    def __init__(self) -> None:
        self._memory: Any = None

    def take(self, tensors: Mapping[str, Any]) -> dict[str, Any]:
        """Copies that the next steps do not change, on the CPU; those of the snapshot before are overwritten."""
        import torch

        sizes = {name: -(-tensor.nbytes // _ALIGNMENT) * _ALIGNMENT for name, tensor in tensors.items()}
        on_gpu = any(tensor.is_cuda for tensor in tensors.values())
        if self._memory is None or self._memory.numel() < sum(sizes.values()):
            self._memory = torch.empty(sum(sizes.values()), dtype=torch.uint8, pin_memory=on_gpu)
        copies, start = {}, 0
        for name, tensor in tensors.items():
            copy = self._memory[start : start + tensor.nbytes].view(tensor.dtype).view(tensor.shape)
            copies[name] = copy.copy_(tensor, non_blocking=True)
            start += sizes[name]
        if on_gpu:
            torch.cuda.synchronize()
        return copies


class Upload:
    """Work in a thread of its own."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="checkpoint upload", daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Wait for the work's end; raises what it raised."""
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            self._work()
        except Exception as error:  # raised again in the thread that waits for it
            self._error = error


def write_part(path: Path, tensors: Mapping[str, Any], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file beside its place, wait until it would outlive a loss of power, rename it into it."""
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    save_file(dict(tensors), temporary, dict(metadata))
    make_durable(temporary)
    temporary.rename(path)
    make_durable(path.parent)


def make_durable(path: Path) -> None:
    """Wait until a file's content, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
