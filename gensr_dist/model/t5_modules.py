"""T5 as a tree of modules whose weights have transformers' names, and the entries of its config that matter here.

The forward pass is that of `backbone.py`.

Dimensions: D width, H heads, K width of a head, V vocabulary, N positions.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn
from typing_extensions import Self

from gensr_dist.model.dropout import Dropout
from gensr_dist.model.t5_layers import FeedForward, Head, RMSNorm

_SHARED = "shared.weight"
_COPIES = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight")  # always the token table
_HEAD = "lm_head.weight"  # the token table too, where a folder has no other


@dataclass(frozen=True, kw_only=True)
class T5Shape:
    """Entries of `config.json`, of both kinds of T5 that there are; their names and defaults are transformers'."""

    vocab_size: int
    d_model: int
    d_kv: int
    d_ff: int
    num_layers: int
    num_decoder_layers: int
    num_heads: int
    feed_forward_proj: Literal["relu", "gated-gelu"]
    dropout_rate: float = 0.1
    layer_norm_epsilon: float = 1e-6
    relative_attention_num_buckets: int = 32
    relative_attention_max_distance: int = 128
    decoder_start_token_id: int = 0
    pad_token_id: int = 0
    eos_token_id: int = 1
    scale_decoder_outputs: bool = True  # in config.json it follows from `tie_word_embeddings` where it is absent

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> Self:
        """The entries of a config.

        Raises:
            ValueError: it is not one of a T5 that we know.
        """
        try:
            return TypeAdapter(cls).validate_python(
                {"scale_decoder_outputs": config.get("tie_word_embeddings") is not False, **config}
            )
        except ValidationError as error:
            fault = error.errors()[0]
            raise ValueError(f"{'.'.join(map(str, fault['loc']))} of its config: {fault['msg']}") from None

    def config(self) -> dict[str, Any]:
        """What makes a `config.json` that transformers of any release opens."""
        return {
            "architectures": ["T5ForConditionalGeneration"],
            "model_type": "t5",
            "is_encoder_decoder": True,
            "dtype": "float32",
            "tie_word_embeddings": self.scale_decoder_outputs,
            **asdict(self),
        }


def distance_buckets(distance_NN: Tensor, buckets: int, farthest: int) -> Tensor:
    """Bucket of each distance: half are for single distances, the others grow with the logarithm, the last is for
    all that is far.

    Args:
        distance_NN: int64, 0 or more.
        buckets: of one direction.
        farthest: distance from which on all are alike.
    """
    single = buckets // 2
    growth_NN = torch.log(distance_NN.clamp_min(1) / single) / math.log(farthest / single) * (buckets - single)
    far_NN = (single + growth_NN.to(torch.long)).clamp_max(buckets - 1)
    return torch.where(distance_NN < single, distance_NN, far_NN)


class Attention(nn.Module):
    """Weights of an attention; the first of a stack knows relative positions."""

    def __init__(self, shape: T5Shape, *, first: bool = False) -> None:
        super().__init__()
        self.shape, inner = shape, shape.num_heads * shape.d_kv
        self.q, self.k, self.v = (nn.Linear(shape.d_model, inner, bias=False) for _ in range(3))
        self.o = nn.Linear(inner, shape.d_model, bias=False)
        if first:
            self.relative_attention_bias = _table(shape.relative_attention_num_buckets, shape.num_heads)

    def position_bias(self, length: int) -> Tensor:
        """Of all pairs of positions [H, N, N], of which each may see every other: half of the buckets a direction."""
        buckets = self.shape.relative_attention_num_buckets // 2
        farthest = self.shape.relative_attention_max_distance
        position_N = torch.arange(length, device=self.relative_attention_bias.weight.device)
        offset_NN = position_N - position_N[:, None]
        bucket_NN = distance_buckets(offset_NN.abs(), buckets, farthest) + (offset_NN > 0) * buckets
        return self.relative_attention_bias(bucket_NN).permute(2, 0, 1)


class T5(nn.Module):
    """The weights; make one with `T5.of`."""

    def __init__(self, shape: T5Shape) -> None:
        super().__init__()
        self.config = shape
        self.shared = _table(shape.vocab_size, shape.d_model)
        self.encoder = _stack(shape, shape.num_layers, decodes=False)
        self.decoder = _stack(shape, shape.num_decoder_layers, decodes=True)
        self.lm_head = Head(shape.vocab_size, shape.d_model)

    @classmethod
    def sizes(cls, shape: T5Shape) -> dict[str, torch.Size]:
        """Of each weight, as `of` takes them; the head is the token table."""
        with torch.device("meta"):
            t5: Any = cls(shape)
        return {name: weight_X.shape for name, weight_X in t5.state_dict().items() if name not in (*_COPIES, _HEAD)}

    @classmethod
    def of(cls, shape: T5Shape, weights: Mapping[str, Tensor]) -> Self:
        """A T5 with these very tensors, none of which is copied; no random number is drawn.

        Args:
            shape: of the weights.
            weights: by their names; without one of its own, the head is the token table.

        Raises:
            ValueError: a weight is missing, unknown, or of another shape.
        """
        with torch.device("meta"):
            t5: Any = cls(shape)
        table_VD = weights.get(_SHARED)
        given = dict(weights) if table_VD is None else {**dict.fromkeys((*_COPIES, _HEAD), table_VD), **weights}
        expected = {name: weight_X.shape for name, weight_X in t5.state_dict().items()}
        found = {name: weight_X.shape for name, weight_X in given.items()}
        if wrong := sorted(name for name in expected.keys() | found if expected.get(name) != found.get(name)):
            raise ValueError(f"weight {wrong[0]} is missing, unknown or of another shape")
        t5.load_state_dict(given, assign=True)
        for stack in (t5.encoder, t5.decoder):
            stack.embed_tokens.weight = t5.shared.weight
        if given[_HEAD] is table_VD:
            t5.lm_head.weight = t5.shared.weight
        return t5

    def own_weights(self) -> dict[str, Tensor]:
        """Each weight once, as `of` takes them: the head only where it is not the token table."""
        aliases = {*_COPIES, *([_HEAD] if self.lm_head.weight is self.shared.weight else [])}
        return {name: weight_X.contiguous() for name, weight_X in self.state_dict().items() if name not in aliases}


def _stack(shape: T5Shape, layers: int, *, decodes: bool) -> nn.Module:
    def layer(**inside: nn.Module) -> nn.Module:
        return _module(**inside, layer_norm=norm(), dropout=Dropout(shape.dropout_rate))

    def norm() -> RMSNorm:
        return RMSNorm(shape.d_model, shape.layer_norm_epsilon)

    def block(number: int) -> nn.Module:
        parts = [layer(SelfAttention=Attention(shape, first=not number))]
        if decodes:
            parts.append(layer(EncDecAttention=Attention(shape)))
        gated = shape.feed_forward_proj == "gated-gelu"
        dense = FeedForward(shape.d_model, shape.d_ff, gated=gated, dropout=shape.dropout_rate)
        return _module(layer=nn.ModuleList([*parts, layer(DenseReluDense=dense)]))

    return _module(
        embed_tokens=_table(shape.vocab_size, shape.d_model),
        block=nn.ModuleList(map(block, range(layers))),
        final_layer_norm=norm(),
        dropout=Dropout(shape.dropout_rate),
    )


def _module(**inside: nn.Module) -> nn.Module:
    """One that only holds others; the backbone computes with them."""
    module = nn.Module()
    for name, child in inside.items():
        module.add_module(name, child)
    return module


def _table(rows: int, width: int) -> nn.Embedding:
    """One without numbers: drawing them on the meta device imports torch's compiler."""
    return nn.Embedding(rows, width, _weight=torch.empty(rows, width))
