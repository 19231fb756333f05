"""Settings of GenSR training."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from gensr_dist.config.marks import Mark
from gensr_dist.model.config import Likelihood


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One optimizer step sees `batch` groups of one positive and its negatives, over all ranks and micro-batches."""

    steps: Annotated[int, Field(ge=1)] = 1_000
    batch: Annotated[int, Field(ge=1)] = 128  # groups a step, all ranks and micro-batches together
    # Tokens that all ranks together take at a time, as shards/README.md counts them; a step of more is cut into
    # micro-batches, which bounds memory. The contrastive loss compares the rows of one: let it hold many. 0: no limit.
    micro_tokens: Annotated[int, Field(ge=0)] = 0
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    # The token table learns this many times faster: T5 draws its entries ten times larger than those of its matrices,
    # and was made for steps relative to a weight's size. Pretrained weights want 1.
    token_table_rate: Annotated[float, Field(gt=0)] = 10.0
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    warmup_steps: Annotated[int, Field(ge=0)] = 100
    clip: Annotated[float, Field(gt=0)] = 1.0
    precision: Literal["fp32", "bf16"] = "fp32"
    zero_stage: Annotated[int, Field(ge=0, le=3), Mark.OPERATIONAL] = 0
    # To CPU memory: fp32 weights and moments, whose update is computed there; with `parameters` the weights too.
    offload: Annotated[Literal["none", "optimizer", "parameters"], Mark.OPERATIONAL] = "none"
    activation_checkpointing: Annotated[bool, Mark.OPERATIONAL] = (
        False  # the backward pass computes T5's blocks again, which saves memory
    )
    # A step makes the target likelier among all tokens (eq. 9), or among Yes and No. Where T5's head is tied to
    # its token table, the first moves the embedding of every word in every step, which slows search from scratch.
    likelihood: Likelihood = "vocabulary"
    temperature: Annotated[float, Field(gt=0)] = 0.1  # tau of eq. 10
    contrastive_weight: Annotated[float, Field(ge=0)] = 0.01  # lambda of eq. 8; 0 is the ablation
    match_weight: Annotated[float, Field(ge=0)] = 0.3  # of the match towers' loss
    validate_every: Annotated[int, Field(ge=1)] = 200
    # Rows a task. As many training rows are ranked too, which doubles what a validation costs: where those do
    # much better, the model has memorised them or sees a leak.
    validate_rows: Annotated[int, Field(ge=1)] = 1_000
    patience: Annotated[int, Field(ge=1)] = 5  # validations without a better mean NDCG@10 before it stops
    checkpoint_every: Annotated[int, Field(ge=1), Mark.OPERATIONAL] = 200
    keep_last: Annotated[int, Field(ge=1), Mark.OPERATIONAL] = 2
    log_every: Annotated[int, Field(ge=1), Mark.OPERATIONAL] = 10
    workers: Annotated[int, Field(ge=0), Mark.OPERATIONAL] = 1  # loader processes a rank
    # Without a pass of the model for so long, every rank shows its stacks and the job ends, so that the launcher
    # restarts it. Longer than anything that training does in one piece, such as a checkpoint.
    stall_minutes: Annotated[float, Field(gt=0), Mark.OPERATIONAL] = 8.0
    max_hours: Annotated[float, Field(ge=0), Mark.OPERATIONAL] = (
        0.0  # of one start, then it saves a checkpoint and ends; 0 is no limit
    )
