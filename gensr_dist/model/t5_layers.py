"""Layers of T5 with the weights that transformers made and our fused operations.

Dimensions: B any batch, D width, V vocabulary, A answers.
"""

from typing import Any

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from transformers import T5ForConditionalGeneration

from gensr_dist.kernels.config import KernelPath
from gensr_dist.kernels.gated_gelu.op import gated_gelu
from gensr_dist.kernels.rms_norm.op import rms_norm
from gensr_dist.model.dropout import Dropout


class RMSNorm(nn.Module):
    """T5's layer norm."""

    kernels: KernelPath = "auto"

    def __init__(self, norm: Any) -> None:
        super().__init__()
        self.weight = norm.weight
        self.eps = norm.variance_epsilon

    def forward(self, x_BD: Tensor) -> Tensor:
        """[B, D], see `rms_norm`."""
        return rms_norm(x_BD, self.weight, self.eps, self.kernels)


class GatedFeedForward(nn.Module):
    """W_o (gelu(W_0 x) * W_1 x), of T5 1.1 and flan-T5."""

    kernels: KernelPath = "auto"

    def __init__(self, dense: Any) -> None:
        super().__init__()
        self.wi_0, self.wi_1, self.wo, self.dropout = dense.wi_0, dense.wi_1, dense.wo, dense.dropout

    def forward(self, x_BD: Tensor) -> Tensor:
        """[B, D]."""
        return self.wo(self.dropout(gated_gelu(self.wi_0(x_BD), self.wi_1(x_BD), self.kernels)))


class Head(nn.Module):
    """Logits of all tokens or of some. Reads the rows of its weight itself: ZeRO-3 has them only in a module's pass."""

    def __init__(self, linear: Any) -> None:
        super().__init__()
        self.weight = linear.weight

    def forward(self, x_BD: Tensor, token_A: Tensor | None = None) -> Tensor:
        """[B, V], or [B, A] in float32: in half precision many candidates of a group would have the same score."""
        if token_A is None:
            return F.linear(x_BD, self.weight)
        return F.linear(x_BD.float(), self.weight[token_A].float())


def fuse_layers(t5: T5ForConditionalGeneration) -> None:
    """Put our layers in the place of transformers'; names and values of all weights stay."""
    for module in list(t5.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.Dropout):
                setattr(module, name, Dropout(child.p))
    t5.lm_head = Head(t5.lm_head)
    gated = t5.config.dense_act_fn == "gelu_new" and t5.config.is_gated_act
    for stack in (t5.encoder, t5.decoder):
        stack.final_layer_norm = RMSNorm(stack.final_layer_norm)
        for block in stack.block:
            for layer in block.layer:
                layer.layer_norm = RMSNorm(layer.layer_norm)
            if gated:
                block.layer[-1].DenseReluDense = GatedFeedForward(block.layer[-1].DenseReluDense)
