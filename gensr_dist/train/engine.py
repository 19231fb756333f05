"""DeepSpeed around a model: precision, ZeRO, micro-batches, clipping and optimizer from `TrainConfig`."""

import contextlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from gensr_dist.distributed.deepspeed_library import deepspeed
from gensr_dist.distributed.ranks import Ranks
from gensr_dist.model.gensr import GenSR
from gensr_dist.train.config import TrainConfig
from gensr_dist.train.schedule import learning_rate_factor

_NEVER = 10**12  # steps between DeepSpeed's own reports

Model = TypeVar("Model", bound=nn.Module)


@dataclass(frozen=True)
class Learning:
    """How the weights of a model learn."""

    groups: Sequence[dict[str, Any]]  # of AdamW, or of Adam
    rate: Callable[[int], float]  # factor on the learning rate by step, counted from 0
    coupled_decay: bool = False  # weight decay is a part of the gradient: Adam's, not AdamW's
    beta2: float = 0.999  # memory of the gradient's squares


class Engine(Generic[Model]):
    """A model under DeepSpeed.

    Under bf16 the optimizer holds fp32 master weights. DeepSpeed keeps those in its ZeRO optimizer, so that stage 0
    with bf16 runs as stage 1.

    Args:
        model: to train; it moves to the rank's device.
        config: of training.
        ranks: this process among the others.
        learning: of the model.
    """

    def __init__(self, model: Model, config: TrainConfig, ranks: Ranks, learning: Learning) -> None:
        self.config = config
        self.ranks = ranks
        self.zero_stage = max(config.zero_stage, 1) if config.precision == "bf16" else config.zero_stage
        optimizer = torch.optim.Adam if learning.coupled_decay else torch.optim.AdamW
        with contextlib.redirect_stdout(io.StringIO()):  # the bf16 optimizer prints how much memory it takes
            self.deepspeed, _, _, _ = deepspeed.initialize(
                model=model,
                optimizer=optimizer(
                    list(learning.groups),
                    lr=config.learning_rate,
                    betas=(0.9, learning.beta2),
                    fused=True,  # one pass over the weights: on CPUs a quarter of the time, and nothing is compiled
                ),
                lr_scheduler=lambda optimizer: LambdaLR(optimizer, learning.rate),
                config=deepspeed_config(config, self.zero_stage, ranks.world),
                dist_init_required=False,
            )
        self._gradient_norm: Tensor | None = None

    @property
    def model(self) -> Model:
        """The model under training; with ZeRO-3 its weights are there only during a forward pass."""
        model: Model = self.deepspeed.module
        return model

    @property
    def learning_rate(self) -> float:
        """Learning rate of the next optimizer step."""
        return float(self.deepspeed.get_lr()[0])

    @property
    def gradient_norm(self) -> float:
        """Norm of the whole gradient of the last optimizer step, before clipping. Waits for the device."""
        norm = self._gradient_norm if self.zero_stage == 0 else self.deepspeed.get_global_grad_norm()
        return float("nan") if norm is None else float(norm)

    def forward(self, *inputs: Any, last: bool) -> Any:
        """Forward pass of one micro-batch, in training mode; gives what the model gives.

        Args:
            inputs: of the model.
            last: whether it is the last one of the step.
        """
        self.deepspeed.train()
        self.deepspeed.set_gradient_accumulation_boundary(last)
        return self.deepspeed(*inputs)

    def backward(self, loss: Tensor) -> None:
        """Backward pass of a micro-batch; after the last one of a step the sums of all ranks are averaged."""
        self.deepspeed.backward(loss)
        if self.zero_stage == 0 and self.deepspeed.is_gradient_accumulation_boundary():
            # DeepSpeed clips here too, but throws the norm away.
            self._gradient_norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip)

    @property
    def norm_before_update(self) -> Tensor | None:
        """Norm of the whole gradient, where it is known before `step`: not under ZeRO, whose `step` looks at it."""
        return self._gradient_norm if self.zero_stage == 0 else None

    def step(self) -> bool:
        """Update the weights and the learning rate, after the last micro-batch of a step.

        Returns:
            False where the ZeRO optimizers found the gradient not finite and left everything as it was.
        """
        self.deepspeed.step()
        return not getattr(self.deepspeed.optimizer, "overflow", False)

    def release_weights(self) -> None:
        """Let go of what ZeRO-3 gathered and keeps for a backward pass that will not come. Every rank must call it."""
        if self.zero_stage == 3:
            self.deepspeed.empty_partition_cache()

    def weights(self) -> dict[str, Tensor]:
        """All weights in fp32 on the CPU, by name, on rank 0 and empty elsewhere. Every rank must call it."""
        weights: dict[str, Tensor] = {}
        for parameter, names in _names(self.model).items():
            full = deepspeed.utils.safe_get_full_fp32_param(parameter)  # a collective under ZeRO; None without
            if self.ranks.first:
                value = (parameter if full is None else full).detach().float().cpu()
                weights |= dict.fromkeys(names, value)
        return weights


def _names(model: nn.Module) -> dict[nn.Parameter, list[str]]:
    """Every name of each parameter: T5's token table has several."""
    names: dict[nn.Parameter, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(parameter, []).append(name)
    return names


def deepspeed_config(config: TrainConfig, zero_stage: int, world: int) -> dict[str, Any]:
    """What DeepSpeed is told; everything else comes from `TrainConfig` directly."""
    settings: dict[str, Any] = {
        "train_batch_size": config.batch,
        "train_micro_batch_size_per_gpu": config.batch // world,
        "gradient_accumulation_steps": 1,  # whatever their number is: `Engine.forward` is told which one is the last
        "gradient_clipping": config.clip if zero_stage else 0.0,
        "zero_optimization": {"stage": zero_stage},
        "steps_per_print": _NEVER,
        "timers": {"throughput": {"enabled": False}},  # it would wait for the device twice a step
    }
    if config.offload != "none":
        settings["zero_optimization"]["offload_optimizer"] = {"device": "cpu"}
        settings["zero_force_ds_cpu_optimizer"] = False
    if config.offload == "parameters":
        settings["zero_optimization"]["offload_param"] = {"device": "cpu"}
    if config.precision == "bf16":
        # Without `immediate_grad_update`, DeepSpeed 0.19 adds accumulated bf16 gradients of stage 1 twice.
        settings["bf16"] = {"enabled": True, "immediate_grad_update": True}
        settings["data_types"] = {"grad_accum_dtype": "fp32"}
    return settings


def gensr_learning(model: GenSR, config: TrainConfig) -> Learning:
    """A token table of its own rate, no decay where there is none to wish for, half a cosine after the warm-up.

    Squares of gradients are remembered over fifty steps, as is usual for transformers: a training has few thousands.
    """
    rate = partial(learning_rate_factor, warmup_steps=config.warmup_steps, steps=config.steps)
    return Learning(groups=parameter_groups(model, config), rate=rate, beta2=0.98)


def parameter_groups(model: GenSR, config: TrainConfig) -> list[dict[str, Any]]:
    """Matrices of linear layers, which decay; norms, biases, learned vectors and small tables; the token table."""
    table = model.token_embeddings()
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for parameter in model.parameters():
        if parameter is not table:
            (free if parameter.ndim < 2 or id(parameter) in embeddings else decayed).append(parameter)
    return [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": free, "weight_decay": 0.0},
        {"params": [table], "weight_decay": 0.0, "lr": config.learning_rate * config.token_table_rate},
    ]
