"""Whether both tasks pull the weights that they share in the same direction: cosines of their gradients, by layer.

A cosine below zero is a conflict (Yu et al. 2020, arXiv 2001.06782). A weight matrix counts where every gradient that
is compared reaches it: what one task alone uses is no shared layer.

Dimensions: G groups, K gradients, P elements of the weights of a layer.
"""

from collections.abc import Mapping, Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn

from gensr_dist.config.root import Config
from gensr_dist.data.events import Behaviour
from gensr_dist.distributed.ranks import Ranks
from gensr_dist.model.config import Likelihood
from gensr_dist.model.gensr import GenSR, GenSROutput
from gensr_dist.model.inputs import ModelInput
from gensr_dist.train.objective import seed_dropout

ALL = "all"  # shared layers together
_UNDER = ("backbone.t5.", "networks.")  # what lies there is named by its own parts
_TABLE = "token_table"

Layers = Mapping[str, Sequence[nn.Parameter]]
Gradient = Mapping[str, Sequence[Tensor]]  # of each parameter of each layer


def layers_of(model: nn.Module) -> Layers:
    """Trained parameters by layer: the model's own parts; of T5 its blocks, of a peer's networks their parts."""
    layers: dict[str, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            layers.setdefault(_layer(name), []).append(parameter)
    return layers


def _layer(name: str) -> str:
    for prefix in _UNDER:
        name = name.removeprefix(prefix)
    first, *others = name.split(".")
    if first in ("encoder", "decoder"):
        return ".".join([first, *others[: 2 if others[0] == "block" else 1]])
    return _TABLE if first == "shared" else first


def task_loss_of(output: GenSROutput, task_G: Tensor, task: Behaviour) -> Tensor:
    """Eq. 9 of the rows of one task, summed: their share of a step's loss but for a factor."""
    return (output.nll_GC * (task_G == int(task))[:, None]).sum()


def gradient_of(loss: Tensor, layers: Layers, *, keep_graph: bool = False) -> Gradient:
    """Gradient of a loss in fp32, zeros where it does not reach; no parameter's `grad` is touched.

    Args:
        loss: a scalar.
        layers: of `layers_of`.
        keep_graph: another gradient of the same pass is wanted afterwards.
    """
    parameters = [parameter for layer in layers.values() for parameter in layer]
    found = iter(torch.autograd.grad(loss, parameters, retain_graph=keep_graph, allow_unused=True))
    return {name: [_or_zeros(next(found), each) for each in layer] for name, layer in layers.items()}


def _or_zeros(gradient: Tensor | None, parameter: nn.Parameter) -> Tensor:
    return torch.zeros_like(parameter, dtype=torch.float32) if gradient is None else gradient.detach().float()


def products_of(gradients: Sequence[Gradient], ranks: Ranks) -> dict[str, Tensor]:
    """Dot products of gradients among each other, float64 [K, K] on the CPU, by shared layer and over `ALL` of them.

    Args:
        gradients: of the same layers.
        ranks: whose gradients are summed before they are compared; every one of them must call it.
    """
    products: dict[str, Tensor] = {}
    for name, parameters in gradients[0].items():
        all_KP = torch.stack([torch.cat([part.flatten() for part in gradient[name]]) for gradient in gradients])
        if ranks.world > 1:
            dist.all_reduce(all_KP)
        shared = [part_KP for part_KP in all_KP.split([p.numel() for p in parameters], 1) if part_KP.any(1).all()]
        if shared:
            products[name] = torch.stack([part_KP.double() @ part_KP.double().T for part_KP in shared]).sum(0)
    if products:
        products[ALL] = torch.stack(list(products.values())).sum(0)
    return {name: product_KK.cpu() for name, product_KK in products.items()}


def cosine(product_KK: Tensor) -> float:
    """Of the first two of the gradients that the products are of."""
    return float(product_KK[0, 1] / (product_KK[0, 0] * product_KK[1, 1]).sqrt())


class ConflictWatch:
    """Measures every `train.conflict_every` steps, on a step's first micro-batch of all ranks, before the update.

    It changes nothing: gradients go nowhere, and dropout, the same as the step's, is drawn again for the step.

    Args:
        model: in training, with whole weights.
        config: of the run.
        ranks: this process among the others.
    """

    def __init__(self, model: GenSR, config: Config, ranks: Ranks) -> None:
        self.model, self.ranks, self.seed, self.every = model, ranks, config.seed, config.train.conflict_every
        self.likelihood: Likelihood = config.train.likelihood

    def look(self, step: int, inputs: ModelInput) -> Mapping[str, float] | None:
        """Cosines of a step, counted from 0, by layer; None where it is not due. Every rank must call it.

        The random state of dropout is left as it comes: seed it afterwards.
        """
        if not self.every or (step + 1) % self.every:
            return None
        self.model.train()
        seed_dropout(self.seed, step, self.ranks.rank)
        layers, output = layers_of(self.model), self.model(inputs, self.likelihood)
        tasks = tuple(Behaviour)
        gradients = [
            gradient_of(task_loss_of(output, inputs.batch.task_G, task), layers, keep_graph=task is not tasks[-1])
            for task in tasks
        ]
        return {name: cosine(product_KK) for name, product_KK in products_of(gradients, self.ranks).items()}
