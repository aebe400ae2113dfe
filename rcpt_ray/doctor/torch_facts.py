"""What torch says of itself and of the GPUs, as JSON: run by the doctor in a process of its own."""

import json
import sys
from typing import Any


def torch_facts() -> dict[str, Any]:
    """Version, the CUDA it was built for and the CUDA of the driver (as 13.0), NCCL, the cards and their GiB."""
    import torch

    is_available = torch.cuda.is_available()
    built_for = torch.version.cuda
    facts: dict[str, Any] = {"torch": torch.__version__, "built_for": built_for, "available": is_available}
    facts["driver_cuda"] = _driver_cuda(torch) if built_for else None
    facts["nccl"] = ".".join(map(str, torch.cuda.nccl.version())) if is_available else None
    cards = [
        torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count() if is_available else 0)
    ]
    facts["cards"] = [{"name": card.name, "gib": round(card.total_memory / 2**30)} for card in cards]
    facts["bf16"] = bool(is_available and torch.cuda.is_bf16_supported())
    return facts


def _driver_cuda(torch: Any) -> str | None:
    """The newest CUDA that the driver runs, None without a driver; 13020 is 13.2."""
    try:
        number = int(torch._C._cuda_getDriverVersion())
    except (AttributeError, RuntimeError):
        return None
    return f"{number // 1000}.{number % 1000 // 10}" if number else None


if __name__ == "__main__":
    json.dump(torch_facts(), sys.stdout)
