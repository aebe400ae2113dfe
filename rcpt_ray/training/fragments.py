"""Where DeepSpeed keeps the fp32 weights and the optimizer's state, by parameter and place.

Each ZeRO stage lays these out in its own way: whole tensors (0), slices of one flat tensor (1, 2), slices of each
parameter in sub-groups (3). Told as fragments (elements `start` to `start + numel` of a flattened parameter) they are
the same thing for any stage and any number of workers: what one attempt wrote, another one with other workers reads.

Invariant: the weights that the model computes with are the fp32 ones, rounded, after every step; so the fp32 ones alone
are kept, and `round_weights` makes the others from them. Nothing is copied here: fragments are views.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

WEIGHT = "weight"


@dataclass(frozen=True)
class Fragment:
    """A stretch of a flattened parameter, and where its fp32 weights are."""

    name: str
    start: int
    numel: int
    master: Any
    """The fp32 tensor that the optimizer updates; also the key of its state."""
    offset: int
    """Where in the flattened master the stretch begins."""

    def of(self, tensor: Any) -> Any:
        """This stretch, as a view, of a tensor that is laid out like the master."""
        return tensor.detach().view(-1)[self.offset : self.offset + self.numel]

    def share(self, rank: int, num_ranks: int) -> "Fragment":
        """The part of it that one of several ranks answers for that all hold it."""
        first, end = (self.numel * number // num_ranks for number in (rank, rank + 1))
        return replace(self, start=self.start + first, numel=end - first, offset=self.offset + first)


def held_fragments(engine: Any, rank: int) -> list[Fragment]:
    """What this rank holds of the parameters that are trained."""
    optimizer, found, whole = engine.optimizer, list[Fragment](), _whole_masters(engine)
    for parameter, name in engine.param_names.items():
        if not parameter.requires_grad:
            continue
        if hasattr(parameter, "ds_id"):
            group, offset, padded_numel = optimizer.grad_position[optimizer.get_param_id(parameter)]
            start = rank * padded_numel
            numel = min(padded_numel, parameter.ds_numel - start)
            found.append(Fragment(name, start, numel, optimizer.fp32_partitioned_groups_flat[group], offset))
        elif hasattr(parameter, "_hp_mapping"):
            if (place := parameter._hp_mapping) is not None:
                (master,) = engine.basic_optimizer.param_groups[place.param_group_index]["params"]
                low, high = place.lp_fragment_address, place.hp_fragment_address
                found.append(Fragment(name, low.start, low.numel, master, high.start))
        else:
            master, offset = whole[parameter]
            found.append(Fragment(name, 0, parameter.numel(), master, offset))
    return [fragment for fragment in found if fragment.numel > 0]


def own_fragments(engine: Any, rank: int, num_ranks: int) -> list[Fragment]:
    """What this rank answers for: over all ranks, each element of each trained parameter once."""
    held = held_fragments(engine, rank)
    if engine.zero_optimization_stage() > 0:
        return held
    return [share for fragment in held if (share := fragment.share(rank, num_ranks)).numel > 0]


def gather_weights(engine: Any, rank: int) -> dict[str, Any] | None:
    """The fp32 weights of each trained parameter, flat, by name, on rank 0's host; None elsewhere. All ranks call it.

    Price: a sum over the ranks as large as the trained weights, one parameter at a time.
    """
    import torch

    num_ranks = torch.distributed.get_world_size()
    own = {fragment.name: fragment for fragment in own_fragments(engine, rank, num_ranks)}
    gathered: dict[str, Any] = {}
    for parameter, name in engine.param_names.items():
        if not parameter.requires_grad:
            continue
        # One rank holds a number and the others add zero bits to it: as numbers, -0.0 + 0.0 would lose its sign.
        numel = getattr(parameter, "ds_numel", parameter.numel())
        bits = torch.zeros(numel, dtype=torch.int32, device=engine.device)
        if name in own:
            fragment = own[name]
            bits[fragment.start : fragment.start + fragment.numel] = fragment.of(fragment.master).view(torch.int32)
        torch.distributed.reduce(bits, dst=0)
        if rank == 0:
            gathered[name] = bits.view(torch.float32).cpu()
    return gathered if rank == 0 else None


def tensors_of(engine: Any, fragment: Fragment) -> dict[str, Any]:
    """Views of the fp32 weights and of the optimizer's state (Adam's two means; none before the first step)."""
    state = engine.basic_optimizer.state.get(fragment.master, {})
    views = {key: fragment.of(value) for key, value in state.items() if _is_laid_out_like(fragment.master, value)}
    return {WEIGHT: fragment.of(fragment.master), **views}


def make_states(engine: Any, fragment: Fragment, names: list[str], counters: Mapping[str, Any]) -> None:
    """Have an optimizer's state of these names, and its counters (steps taken), as the first step would make them."""
    import torch

    state = engine.basic_optimizer.state[fragment.master]
    for name in names:
        if name != WEIGHT and name not in state:
            state[name] = torch.zeros_like(fragment.master, requires_grad=False)
    group = engine.basic_optimizer.param_groups[0]
    device = fragment.master.device if group.get("fused") or group.get("capturable") else "cpu"
    for name, value in counters.items():
        # torch counts steps in a float tensor, DeepSpeed's own optimizers in an int.
        state[name] = torch.tensor(value, device=device) if isinstance(value, float) else value


def state_names(engine: Any) -> list[str]:
    """What `tensors_of` gives of each fragment; equal on all ranks."""
    for master, state in engine.basic_optimizer.state.items():
        return [WEIGHT, *(key for key, value in state.items() if _is_laid_out_like(master, value))]
    return [WEIGHT]


def counters_of(engine: Any) -> dict[str, float | int]:
    """The optimizer's numbers that are no tensors of weights (steps taken); equal on all ranks."""
    for master, state in engine.basic_optimizer.state.items():
        return {
            key: float(value) if hasattr(value, "item") else value
            for key, value in state.items()
            if not _is_laid_out_like(master, value)
        }
    return {}


def scaler_numbers(engine: Any) -> dict[str, dict[str, float | int]]:
    """What DeepSpeed's loss scaling (fp16) has come to."""
    return {
        name: {key: value for key, value in vars(scaler).items() if isinstance(value, int | float)}
        for name in ("loss_scaler", "loss_scale_config")
        if (scaler := getattr(engine.optimizer, name, None)) is not None
    }


def set_scaler_numbers(engine: Any, numbers: Mapping[str, Mapping[str, float | int]]) -> None:
    """Go on with the loss scaling of an earlier attempt, where this engine has one of that kind."""
    for name, values in numbers.items():
        if hasattr(engine.optimizer, name):
            vars(getattr(engine.optimizer, name)).update(values)


def round_weights(engine: Any) -> None:
    """Make the model's weights from the fp32 ones; all ranks call it."""
    import torch

    optimizer = engine.optimizer
    with torch.no_grad():
        if hasattr(optimizer, "fp32_partitioned_groups_flat"):
            optimizer.checkpoint_event_prologue()
            for group in range(len(optimizer.fp32_partitioned_groups_flat)):
                optimizer._reassign_or_swap_out_partitioned_parameters(group)
            optimizer.checkpoint_event_epilogue()
        elif hasattr(optimizer, "update_lp_params"):
            optimizer.update_lp_params()
        else:
            for parameter, (master, offset) in _whole_masters(engine).items():
                if parameter is not master:
                    stretch = master.detach().view(-1)[offset : offset + parameter.numel()]
                    parameter.copy_(stretch.view_as(parameter))


def _whole_masters(engine: Any) -> dict[Any, tuple[Any, int]]:
    """Under ZeRO 0, each trained parameter's master and where in it the parameter begins."""
    optimizer, masters = engine.optimizer, dict[Any, tuple[Any, int]]()
    if engine.zero_optimization_stage() > 0:
        return masters
    if optimizer is engine.basic_optimizer:
        return {parameter: (parameter, 0) for group in optimizer.param_groups for parameter in group["params"]}
    for number, group in enumerate(optimizer.fp16_groups):
        offset = 0
        for place, parameter in enumerate(group):
            if hasattr(optimizer, "fp32_groups_flat"):
                masters[parameter] = (optimizer.fp32_groups_flat[number], offset)
                offset += parameter.numel()
            else:
                masters[parameter] = (optimizer.fp32_groups[number][place], 0)
    return masters


def _is_laid_out_like(master: Any, value: Any) -> bool:
    return hasattr(value, "shape") and value.shape == master.shape
