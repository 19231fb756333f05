"""The torch path of T5's gated activation."""

import pytest
import torch
from transformers import T5Config
from transformers.models.t5.modeling_t5 import T5DenseGatedActDense

from gensr_dist.kernels.gated_gelu.op import gated_gelu
from gensr_dist.kernels.gated_gelu.reference import gated_gelu_reference
from tests.kernels.elementwise_cases import check_gated_gelu, draw, gated_gelu_equation


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("scale", [0.1, 1.0, 20.0])
def test_as_exact_as_unfused_code(dtype: torch.dtype, scale: float) -> None:
    check_gated_gelu((3, 2, 17), dtype, scale=scale)


def test_the_reference_is_the_equation() -> None:
    arguments = draw((4, 9), torch.float64, 0, "cpu", 3.0), draw((4, 9), torch.float64, 1, "cpu")
    torch.testing.assert_close(gated_gelu_reference(*arguments), gated_gelu_equation(*arguments))


def test_it_is_what_t5_computes() -> None:
    layer = T5DenseGatedActDense(
        T5Config(d_model=6, d_ff=10, feed_forward_proj="gated-gelu", dropout_rate=0.0, dense_act_fn="gelu_new")
    ).double()
    x_BD = draw((5, 6), torch.float64, 0, "cpu")
    ours = layer.wo(gated_gelu(layer.wi_0(x_BD), layer.wi_1(x_BD)))
    torch.testing.assert_close(ours, layer(x_BD))


def test_shapes_or_types_that_differ() -> None:
    with pytest.raises(ValueError, match="gate"):
        gated_gelu(torch.zeros(2, 4), torch.zeros(4))
    with pytest.raises(ValueError, match="gate"):
        gated_gelu(torch.zeros(2, 4), torch.zeros(2, 4).double())
