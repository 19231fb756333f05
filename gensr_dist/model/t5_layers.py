"""Layers of T5 with the weights that transformers made and our fused operations.

Dimensions: B any batch, D width, F width of the feed-forward layer.
"""

from typing import Any

from torch import Tensor, nn
from transformers import T5ForConditionalGeneration

from gensr_dist.kernels.gated_gelu.op import gated_gelu
from gensr_dist.kernels.rms_norm.op import rms_norm


class RMSNorm(nn.Module):
    """T5's layer norm."""

    def __init__(self, norm: Any) -> None:
        super().__init__()
        self.weight = norm.weight
        self.eps = norm.variance_epsilon

    def forward(self, x_BD: Tensor) -> Tensor:
        """[B, D], see `rms_norm`."""
        return rms_norm(x_BD, self.weight, self.eps)


class GatedFeedForward(nn.Module):
    """W_o (gelu(W_0 x) * W_1 x), of T5 1.1 and flan-T5."""

    def __init__(self, dense: Any) -> None:
        super().__init__()
        self.wi_0, self.wi_1, self.wo, self.dropout = dense.wi_0, dense.wi_1, dense.wo, dense.dropout

    def forward(self, x_BD: Tensor) -> Tensor:
        """[B, D]."""
        return self.wo(self.dropout(gated_gelu(self.wi_0(x_BD), self.wi_1(x_BD))))


def fuse_layers(t5: T5ForConditionalGeneration) -> None:
    """Put our layers in the place of transformers'; names and values of all weights stay."""
    gated = t5.config.dense_act_fn == "gelu_new" and t5.config.is_gated_act
    for stack in (t5.encoder, t5.decoder):
        stack.final_layer_norm = RMSNorm(stack.final_layer_norm)
        for block in stack.block:
            for layer in block.layer:
                layer.layer_norm = RMSNorm(layer.layer_norm)
            if gated:
                block.layer[-1].DenseReluDense = GatedFeedForward(block.layer[-1].DenseReluDense)
