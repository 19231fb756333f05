"""Settings of GenSR training."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from gensr_dist.config.marks import Mark
from gensr_dist.model.config import Likelihood

if TYPE_CHECKING:
    from gensr_dist.data.events import Behaviour

Tasks = Literal["both", "recommendation", "search"]


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One optimizer step sees `batch` groups of one positive and its negatives, over all ranks and micro-batches."""

    steps: Annotated[int, Field(ge=1, le=1_000_000_000)] = 1_000
    """Optimizer steps of the whole training."""
    batch: Annotated[int, Field(ge=1)] = 128
    """Groups per step, over all ranks and micro-batches."""
    tasks: Tasks = "both"
    """Tasks whose rows are trained on. One task alone is an ablation, and validated on that task alone."""
    newest_rows: Annotated[int, Field(ge=0)] = 0
    """Rows of each user and task that are trained on, the last ones. 0: all. Where the last interaction of each user is
    held out, rows of long timelines are unlike those that will be asked for."""
    micro_tokens: Annotated[int, Field(ge=0)] = 0
    """Most tokens of a micro-batch over all ranks, as shards/README.md counts them: a step of more is cut into several,
    which bounds memory. The contrastive loss compares the rows of one micro-batch: let it hold many. 0: no limit."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    """Learning rate after the warm-up; it falls to a tenth along half a cosine."""
    token_table_rate: Annotated[float, Field(gt=0)] = 10.0
    """How many times faster the token table learns: T5 draws its entries ten times larger than those of its matrices,
    and was made for steps relative to a weight's size. Pretrained weights want 1."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    """Weight decay of AdamW, of matrices alone."""
    warmup_steps: Annotated[int, Field(ge=0)] = 100
    """Steps in which the learning rate rises from 0."""
    clip: Annotated[float, Field(gt=0)] = 1.0
    """Norm that a larger gradient is scaled down to."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Precision of forward and backward pass; bf16 keeps fp32 master weights."""
    zero_stage: Annotated[int, Field(ge=0, le=3), Mark.OPERATIONAL] = 0
    """What ZeRO of DeepSpeed partitions over ranks. 0: nothing, 1: optimizer states, 2: also gradients, 3: also
    weights."""
    offload: Annotated[Literal["none", "optimizer", "parameters"], Mark.OPERATIONAL] = "none"
    """What goes to CPU memory: fp32 weights and moments, whose update is computed there, and with `parameters` the
    weights of the passes."""
    activation_checkpointing: Annotated[bool, Mark.OPERATIONAL] = False
    """Whether the backward pass computes T5's blocks again: less memory, more time."""
    likelihood: Likelihood = "vocabulary"
    """What the target is made likelier among: all tokens (`vocabulary`, eq. 9), or Yes and No (`answers`). Where T5's
    head is tied to its token table, `vocabulary` moves the embedding of every word in every step, which slows search
    from scratch."""
    temperature: Annotated[float, Field(gt=0)] = 0.1
    """Temperature tau of the contrastive loss (eq. 10)."""
    contrastive_weight: Annotated[float, Field(ge=0)] = 0.01
    """Weight lambda of the contrastive loss in eq. 8; 0 is the ablation."""
    match_weight: Annotated[float, Field(ge=0)] = 0.3
    """Weight of the loss of the match towers (`model.match`)."""
    validate_every: Annotated[int, Field(ge=1)] = 200
    """Steps between validations."""
    validate_rows: Annotated[int, Field(ge=1)] = 1_000
    """Rows of each task in a validation. As many training rows are ranked too, which doubles what a validation costs:
    where those do much better, the model has memorised them or sees a leak."""
    patience: Annotated[int, Field(ge=1)] = 5
    """Validations without a better mean NDCG@10 after which training stops."""
    checkpoint_every: Annotated[int, Field(ge=1), Mark.OPERATIONAL] = 200
    """Steps between checkpoints."""
    keep_last: Annotated[int, Field(ge=1), Mark.OPERATIONAL] = 2
    """Newest checkpoints that are kept, besides that of the best validation."""
    log_every: Annotated[int, Field(ge=1), Mark.OPERATIONAL] = 10
    """Steps between lines of the log."""
    conflict_every: Annotated[int, Field(ge=0), Mark.OPERATIONAL] = 0
    """Steps between measurements of the cosines between both tasks' gradients, which TensorBoard shows by layer. One
    takes the time of one and a half steps, and memory for two more gradients. 0: none."""
    workers: Annotated[int, Field(ge=0), Mark.OPERATIONAL] = 1
    """Loader processes per rank."""
    stall_minutes: Annotated[float, Field(gt=0), Mark.OPERATIONAL] = 8.0
    """Minutes without a pass of the model after which every rank shows its stacks and the job ends, so that the
    launcher restarts it. Longer than anything that training does in one piece, such as a checkpoint."""
    max_hours: Annotated[float, Field(ge=0), Mark.OPERATIONAL] = 0.0
    """Hours after which the command saves a checkpoint and ends; the next one resumes. 0: no limit."""

    @property
    def trained_tasks(self) -> "frozenset[Behaviour]":
        """What `tasks` names."""
        from gensr_dist.data.events import Behaviour  # which imports polars: a config is read without

        return frozenset(Behaviour) if self.tasks == "both" else frozenset({Behaviour[self.tasks.upper()]})
