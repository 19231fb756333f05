"""T5 backbones: with random weights, pretrained from a folder or the Hub, or from the folder of a run.

Pretrained ones are opened by transformers, which takes seconds to import: nothing else needs it.

Dimensions: V vocabulary, D width, X any shape.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from gensr_dist.errors import InputError
from gensr_dist.model.config import SIZES
from gensr_dist.model.t5_modules import T5, T5Shape

if TYPE_CHECKING:
    from transformers import T5ForConditionalGeneration

CONFIG, WEIGHTS = "config.json", "model.safetensors"


def load_t5(name: str, vocabulary: int, dropout: float) -> T5:
    """A T5 of one of our sizes with random weights, or pretrained from a folder or the Hub.

    Args:
        name: key of `SIZES`, folder, or Hub name.
        vocabulary: tokens of the tokenizer; a smaller embedding table is enlarged.
        dropout: rate of all its dropouts.

    Raises:
        InputError: `name` is none of these, the Hub cannot be reached, or the folder is damaged.
    """
    if name in SIZES:
        d_model, d_kv, heads, d_ff, encoder_layers, decoder_layers = SIZES[name]
        return random_t5(
            T5Shape(
                vocab_size=vocabulary,
                d_model=d_model,
                d_kv=d_kv,
                d_ff=d_ff,
                num_layers=encoder_layers,
                num_decoder_layers=decoder_layers,
                num_heads=heads,
                feed_forward_proj="gated-gelu",
                dropout_rate=dropout,
            )
        )
    from huggingface_hub.errors import StrictDataclassError
    from transformers import T5ForConditionalGeneration
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # one line for every file of weights
    try:
        t5, report = T5ForConditionalGeneration.from_pretrained(
            name, dtype=torch.float32, output_loading_info=True, dropout_rate=dropout
        )
        if lacking := report["missing_keys"]:  # transformers fills them with random ones
            raise ValueError(f"it lacks {min(lacking)}")
        head_VD = t5.lm_head.weight
        missing = vocabulary - head_VD.shape[0]
        if missing > 0:
            tied = head_VD is t5.shared.weight
            t5.resize_token_embeddings(vocabulary)
            if not tied:  # resizing ties the head to the token table
                t5.lm_head.weight = nn.Parameter(torch.cat([head_VD, head_VD.mean(0).expand(missing, -1)]).detach())
        return of_transformers(t5)
    except (OSError, ValueError, RuntimeError, SafetensorError, StrictDataclassError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        remedy = f"give one of {', '.join(SIZES)}, a folder with a T5, or a Hub name that this machine can reach"
        raise InputError("model.backbone", f"cannot load {name!r} ({reason})", remedy) from None


def random_t5(shape: T5Shape) -> T5:
    """Weights as T5 begins its training with them, drawn in the order of their names in the tree.

    Normal, without a bound, of such deviations that a sum over inputs of unit variance has it too. Queries are smaller
    by the root of a head's width: T5's attention does not divide its logits by it. Norms are 1.
    """
    width, inner = shape.d_model**-0.5, (shape.num_heads * shape.d_kv) ** -0.5
    deviations = {
        "shared": 1.0,
        "q": width * shape.d_kv**-0.5,
        **dict.fromkeys(("k", "v", "wi", "wi_0", "wi_1", "relative_attention_bias"), width),
        "o": inner,
        "wo": shape.d_ff**-0.5,
    }

    def drawn(name: str, size: torch.Size) -> Tensor:
        layer = name.split(".")[-2]
        return torch.ones(size) if layer.endswith("norm") else torch.randn(size) * deviations[layer]

    return T5.of(shape, {name: drawn(name, size) for name, size in T5.sizes(shape).items()})


def of_transformers(t5: "T5ForConditionalGeneration") -> T5:
    """Our modules with the very weights of transformers'.

    Raises:
        ValueError: it is of a kind that we do not know.
    """
    weights = t5.state_dict()
    if t5.lm_head.weight is t5.shared.weight:
        del weights["lm_head.weight"]
    return T5.of(T5Shape.read(t5.config.to_dict()), weights)


def open_t5(folder: Path) -> T5:
    """What `save_t5` wrote, in single precision; such weights are mapped.

    Raises:
        OSError, SafetensorError: a file cannot be read.
        ValueError: the files do not fit together.
    """
    shape = T5Shape.read(json.loads((folder / CONFIG).read_text(encoding="utf-8")))
    return T5.of(shape, {name: weight_X.float() for name, weight_X in load_file(folder / WEIGHTS).items()})


def save_t5(t5: T5, folder: Path) -> None:
    """Write a new folder, which transformers opens, too."""
    folder.mkdir()
    (folder / CONFIG).write_text(json.dumps(t5.config.config(), indent=2, sort_keys=True) + "\n", encoding="utf-8")
    save_file(t5.own_weights(), folder / WEIGHTS, metadata={"format": "pt"})
