"""The exported model, where it is more than the weights that learn."""

import dataclasses

import numpy as np
import pytest
import torch

from gensr_dist.data.items import ItemStore, token_idf
from gensr_dist.model.gensr import GenSR
from gensr_dist.run_folder import RunFolder
from gensr_dist.train.loop import train
from tests.train.small_runs import small_config


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_it_weighs_tokens_as_the_catalogue_does(small_run: RunFolder, small_items: ItemStore, precision: str) -> None:
    config = small_config(steps=1, validate_every=1, precision=precision)
    train(dataclasses.replace(config, model=dataclasses.replace(config.model, cf_heads=2)), small_run)
    expected_V = token_idf(small_items.title_IT, len(small_items.tokenizer()))
    assert len(np.unique(expected_V)) > 3
    model = GenSR.from_pretrained(small_run.model)
    assert model.token_idf_V.dtype == torch.float32
    assert np.array_equal(model.token_idf_V.numpy(), expected_V)
