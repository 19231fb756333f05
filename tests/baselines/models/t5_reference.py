"""The T5 of transformers with the weights of a baseline's."""

import torch
from torch import Tensor
from transformers import T5Config, T5ForConditionalGeneration

from gensr_dist.baselines.contract import Baseline, LogFacts
from gensr_dist.baselines.layers.t5_reader import T5Reader
from gensr_dist.baselines.registry import BASELINES
from tests.baselines.builders import small_settings


def built(name: str, facts: LogFacts, **changes: object) -> Baseline:
    """A baseline as its training begins, but for position biases that are large enough to matter."""
    torch.manual_seed(0)
    model = BASELINES[name].build(small_settings(name, **changes), facts).eval()
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if "relative_attention_bias" in key:
                parameter.normal_()
    return model


def reference(reader: T5Reader) -> T5ForConditionalGeneration:
    """Computes what the reader's T5 should."""
    t5 = T5ForConditionalGeneration(T5Config.from_dict(reader.backbone.t5.config.config()))
    _, unknown = t5.load_state_dict(reader.backbone.t5.state_dict(), strict=False)
    assert not unknown
    return t5.eval()


def first_logits(t5: T5ForConditionalGeneration, input_ND: Tensor) -> Tensor:
    """Logits of all tokens as the first of the answer, [V]."""
    with torch.no_grad():
        return t5(inputs_embeds=input_ND[None], decoder_input_ids=torch.tensor([[0]])).logits[0, 0]
