"""T5 backbones: built from a config, or pretrained from a folder or the Hub.

Dimensions: V vocabulary, D width.
"""

from pathlib import Path

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch import nn
from transformers import T5Config, T5ForConditionalGeneration
from transformers.utils.logging import disable_progress_bar

from gensr_dist.errors import InputError
from gensr_dist.model.config import SIZES

disable_progress_bar()  # one line for every file of weights that is read or written


def load_t5(name: str, vocabulary: int, dropout: float) -> T5ForConditionalGeneration:
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
        return T5ForConditionalGeneration(
            T5Config(
                vocab_size=vocabulary,
                d_model=d_model,
                d_kv=d_kv,
                num_heads=heads,
                d_ff=d_ff,
                num_layers=encoder_layers,
                num_decoder_layers=decoder_layers,
                feed_forward_proj="gated-gelu",
                dropout_rate=dropout,
                decoder_start_token_id=0,
            )
        )
    t5 = open_t5(
        name,
        where="model.backbone",
        remedy=f"give one of {', '.join(SIZES)}, a folder with a T5, or a Hub name that this machine can reach",
        dropout_rate=dropout,
    )
    head_VD = t5.lm_head.weight
    missing = vocabulary - head_VD.shape[0]
    if missing > 0:
        tied = head_VD is t5.shared.weight
        t5.resize_token_embeddings(vocabulary)
        if not tied:  # resizing ties the head to the token table
            t5.lm_head.weight = nn.Parameter(torch.cat([head_VD, head_VD.mean(0).expand(missing, -1)]).detach())
    return t5


def open_t5(name: str, *, where: str | Path, remedy: str, **changes: float) -> T5ForConditionalGeneration:
    """A pretrained T5 in single precision, with every one of its weights.

    Args:
        name: folder or Hub name.
        where: see `InputError`.
        remedy: see `InputError`.
        changes: entries of its config to replace.

    Raises:
        InputError: it cannot be read, or lacks weights, which transformers would fill with random ones.
    """
    try:
        t5, report = T5ForConditionalGeneration.from_pretrained(
            name, dtype=torch.float32, output_loading_info=True, **changes
        )
    except (OSError, ValueError, RuntimeError, SafetensorError, StrictDataclassError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(where, f"cannot load {name!r} ({reason})", remedy) from None
    if report["missing_keys"]:
        raise InputError(where, f"cannot load {name!r} (it lacks {min(report['missing_keys'])})", remedy)
    return t5
