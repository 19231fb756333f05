"""Models in bf16 as training has them."""

from typing import Any

import torch

from gensr_dist.model.precision import with_weights_in
from tests.model.builders import random_batch, tiny_model


@torch.no_grad()
def test_weights_are_rounded_and_buffers_are_not() -> None:
    model: Any = tiny_model()
    model.token_idf_V.uniform_(0.1, 3.0)
    names = [name for name, _ in model.named_parameters()]
    weights = {name: weight.clone() for name, weight in model.named_parameters()}
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    assert with_weights_in(model, torch.bfloat16) is model
    assert [name for name, _ in model.named_parameters()] == names  # weights that are shared still are
    assert all(torch.equal(weight, weights[name].bfloat16()) for name, weight in model.named_parameters())
    assert all(torch.equal(buffer, buffers[name]) for name, buffer in model.named_buffers())
    assert {buffer.dtype for buffer in model.buffers()} >= {torch.float32}


@torch.no_grad()
def test_a_model_in_bf16_reads_texts_by_their_exact_weights() -> None:
    model, batch = tiny_model(), random_batch(5, groups=6)
    model.token_idf_V.uniform_(0.1, 3.0)
    rounded = model.token_idf_V.bfloat16().float()
    half = with_weights_in(model, torch.bfloat16)
    inputs = half.inputs(batch)
    exact = half.views(inputs)
    assert torch.equal(exact.weight_W, model.token_idf_V[inputs.token_W])
    half.token_idf_V.copy_(rounded)
    assert not torch.equal(half.views(inputs).text_UD, exact.text_UD)


@torch.no_grad()
def test_single_precision_stays_as_it_is() -> None:
    model, batch = tiny_model(), random_batch(5)
    expected = model.score(batch)
    assert torch.equal(with_weights_in(model, torch.float32).score(batch), expected)
