"""The training state of an engine, free of ranks and ZeRO stage: gathered on rank 0, and spread over ranks again.

It is what AdamW and the learning rate of the next step depend on: fp32 weights and both moments of every parameter, by
its name in the model, and the number of finished steps. Low-precision weights are made from the fp32 ones.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias, get_args

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.functional import pad

from gensr_dist.distributed.deepspeed_library import deepspeed
from gensr_dist.train.engine import Engine

Part: TypeAlias = Literal["weights", "exp_avg", "exp_avg_sq"]  # the moments are named as AdamW names them
PARTS: tuple[Part, ...] = get_args(Part)

State: TypeAlias = Mapping[Part, Mapping[str, Tensor]]  # part -> name -> fp32 tensor on the CPU, of the model's shape


def shapes(engine: Engine[Any]) -> dict[str, tuple[int, ...]]:
    """Shape of each parameter by name; a parameter of several names has the first."""
    return {name: tuple(_shape(parameter)) for name, parameter in engine.model.named_parameters()}


def gather_state(engine: Engine[Any]) -> State:
    """Copy the state to the CPU of rank 0; elsewhere it has no tensors. Every rank must call it.

    Parameters are gathered one by one, so that no other memory than the copy's is needed.
    """
    _prepare_moments(engine)
    state: dict[Part, dict[str, Tensor]] = {part: {} for part in PARTS}
    for name, parameter in engine.model.named_parameters():
        for part in PARTS:
            value = _gather(engine, parameter, part)
            if engine.ranks.first:
                state[part][name] = torch.empty(value.shape, dtype=torch.float32).copy_(value.detach())
    return state


def spread_state(engine: Engine[Any], read: Callable[[Part, str], Tensor] | None, steps: int) -> None:
    """Make the engine one that has done `steps` steps and has this state. Every rank must call it.

    Args:
        engine: that has not trained yet.
        read: gives a tensor of a state; only rank 0 needs it.
        steps: finished optimizer steps.
    """
    _prepare_moments(engine, steps)
    for name, parameter in engine.model.named_parameters():
        for part in PARTS:
            value = torch.empty(_shape(parameter), device=engine.ranks.device)
            if engine.ranks.first:
                assert read is not None
                value.copy_(read(part, name))
            dist.broadcast(value, src=0)
            _spread(engine, parameter, part, value)
    if engine.zero_stage in (1, 2):
        engine.deepspeed.optimizer.update_lp_params()
    _set_steps(engine, steps)


def _shape(parameter: nn.Parameter) -> torch.Size:
    return getattr(parameter, "ds_shape", parameter.shape)


def _gather(engine: Engine[Any], parameter: nn.Parameter, part: Part) -> Tensor:
    if engine.zero_stage == 0:
        return parameter if part == "weights" else engine.deepspeed.optimizer.state[parameter][part]
    if part == "weights":
        return deepspeed.utils.safe_get_full_fp32_param(parameter)
    return deepspeed.utils.safe_get_full_optimizer_state(parameter, part)


@torch.no_grad()
def _spread(engine: Engine[Any], parameter: nn.Parameter, part: Part, value: Tensor) -> None:
    if engine.zero_stage == 0:
        _gather(engine, parameter, part).copy_(value)
    elif engine.zero_stage == 3:
        if part == "weights":
            with deepspeed.runtime.zero.GatheredParameters([parameter], modifier_rank=0):
                parameter.copy_(value)
        _spread_local(engine, parameter, part, value)
    elif part == "weights":
        deepspeed.utils.safe_set_full_fp32_param(parameter, value)
    else:
        deepspeed.utils.safe_set_full_optimizer_state(parameter, value, part)


def _spread_local(engine: Engine[Any], parameter: Any, part: Part, value: Tensor) -> None:
    """ZeRO-3: each rank sets its own piece. DeepSpeed's setters of whole tensors fail where pieces need padding."""
    size = parameter.ds_tensor.ds_numel
    padded = pad(value.flatten(), (0, size * engine.ranks.world - value.numel()))
    piece = padded.narrow(0, size * engine.ranks.rank, size)
    if part == "weights":
        deepspeed.utils.safe_set_local_fp32_param(parameter, piece)
    else:
        deepspeed.utils.safe_set_local_optimizer_state(parameter, piece, part)


def _prepare_moments(engine: Engine[Any], steps: int = 0) -> None:
    """Give the optimizer its moments, which it else has only after the first step, and DeepSpeed its views of them."""
    optimizer = engine.deepspeed.optimizer
    base = optimizer if engine.zero_stage == 0 else optimizer.optimizer
    if engine.zero_stage == 3:
        masters = list(optimizer.fp32_partitioned_groups_flat)
    else:
        masters = [master for group in base.param_groups for master in group["params"]]
    for master in masters:
        if not base.state.get(master):
            moments = {part: torch.zeros_like(master).detach() for part in PARTS[1:]}
            # As AdamW itself does: the fused one counts where the weights lie.
            device = master.device if base.defaults["fused"] else None
            base.state[master] = {"step": torch.tensor(float(steps), device=device)} | moments
    if engine.zero_stage in (1, 2):
        # DeepSpeed 0.19 makes these views after the step of the first parameter group, when the others have no state.
        for parameter in engine.model.parameters():
            mapping = getattr(parameter, "_hp_mapping", None)
            if mapping is not None:
                (master,) = base.param_groups[mapping.param_group_index]["params"]
                mapping.set_optim_state_fragment(master, base.state[master])


def _set_steps(engine: Engine[Any], steps: int) -> None:
    """Counters of DeepSpeed, and the learning rates of the next step."""
    engine.deepspeed.global_steps = steps
    engine.deepspeed.global_samples = steps * engine.config.batch
    scheduler = engine.deepspeed.lr_scheduler
    rates = [base * factor(steps) for base, factor in zip(scheduler.base_lrs, scheduler.lr_lambdas, strict=True)]
    for group, rate in zip(scheduler.optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
    scheduler.last_epoch, scheduler._step_count, scheduler._last_lr = steps, steps + 1, rates
