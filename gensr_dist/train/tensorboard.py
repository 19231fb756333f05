"""What a run shows in TensorBoard. Only rank 0 writes.

Dimensions: I items, K of them, T title tokens, E width of a CF vector, D width of the backbone.
"""

import shutil
from collections.abc import Mapping

import numpy as np
import torch
from torch.utils.tensorboard import SummaryWriter

from gensr_dist.config.root import Config, resolved_yaml
from gensr_dist.data.items import ItemStore
from gensr_dist.evaluation.metrics import TASK_NAMES
from gensr_dist.model.gensr import GenSR
from gensr_dist.runs.folder import RunFolder
from gensr_dist.train.checkpoints import Settings
from gensr_dist.train.report import StepReport
from gensr_dist.train.validation import ValidationResult

_PROJECTED_ITEMS = 2_000
_LABEL_LETTERS = 80


def _beside(metric: str) -> dict[str, list[object]]:
    """A chart a task of training rows beside validation rows."""
    return {
        f"{name}: {metric}": ["Multiline", [f"training_{name}/{metric}", f"validation_{name}/{metric}"]]
        for name in TASK_NAMES.values()
    }


# What TensorBoard's tab `custom scalars` shows, first things first.
_LAYOUT: dict[str, dict[str, list[object]]] = {
    "does it learn, and does it hold on new rows": {
        "loss": ["Multiline", ["loss/total", "loss/task", "loss/match"]],
        **_beside("loss"),
        **_beside("ndcg@10"),
    },
    "the answers of both tasks": {
        f"{name}: log-odds of positives and negatives": [
            "Multiline",
            [f"step_{name}/positive_log_odds", f"step_{name}/negative_log_odds"],
        ]
        for name in TASK_NAMES.values()
    },
    "the soft filters": {
        f"{name}: entropy": ["Multiline", [f"soft_filter_{name}/{view}_entropy" for view in ("cf", "semantic")]]
        for name in TASK_NAMES.values()
    },
    "does it run well": {
        "gradient norm": ["Multiline", ["optimizer/gradient_norm"]],
        "candidates a second": ["Multiline", ["speed/candidates_per_second"]],
        "share of the time waiting for the loader": ["Multiline", ["speed/loader_wait_share"]],
    },
}


class TrainingBoard:
    """The event files of one training run.

    Args:
        run: folder; the events go to its `tensorboard`.
        steps: finished already. What an interrupted run wrote after them is hidden, so that no step shows twice.
    """

    def __init__(self, run: RunFolder, steps: int) -> None:
        self.folder = run.tensorboard
        self.writer = SummaryWriter(str(self.folder), purge_step=steps + 1 if steps else 0)
        if not steps:
            self.writer.add_custom_scalars(_LAYOUT)

    def config(self, config: Config) -> None:
        """The resolved configuration as text."""
        self.writer.add_text("config", "".join(f"    {line}\n" for line in resolved_yaml(config).splitlines()))

    def step(self, report: StepReport) -> None:
        """Scalars of a training step."""
        scalars = {
            "loss/total": report.total,
            "loss/task": report.losses.task,
            "loss/contrastive": report.losses.contrastive,
            "loss/match": report.losses.match,
            "optimizer/learning_rate": report.learning_rate,
            "optimizer/gradient_norm": report.gradient_norm,
            "speed/candidates_per_second": report.candidates_per_second,
            "speed/tokens_per_second": report.tokens_per_second,
            "speed/loader_wait_share": report.wait_share,
            "memory/peak_resident_gb": report.memory_gb,
        }
        if report.cuda_memory_gb:
            scalars["memory/peak_cuda_gb"] = report.cuda_memory_gb
        if report.flops_utilisation is not None:
            scalars["speed/model_flops_utilisation"] = report.flops_utilisation
        for task, diagnosis in report.tasks.items():
            scalars |= {f"step_{TASK_NAMES[task]}/{key}": value for key, value in vars(diagnosis).items()}
        for tag, value in scalars.items():
            self.writer.add_scalar(tag, value, report.steps)

    def validation(self, result: ValidationResult, steps: int) -> None:
        """Scalars of a validation: every metric and the loss of both tasks, of training rows too, and how they part."""
        for task, fit in result.tasks.items():
            name = TASK_NAMES[task]
            scalars = {f"validation_{name}/{key}": value for key, value in fit.validation.values().items()}
            if fit.training is not None:
                scalars |= {f"training_{name}/{key}": value for key, value in fit.training.values().items()}
            scalars |= {f"gap/{name}_{key}": value for key, value in fit.gaps().items()}
            for tag, value in scalars.items():
                self.writer.add_scalar(tag, value, steps)
            for view, entropy in result.entropies.get(task, {}).items():
                self.writer.add_scalar(f"soft_filter_{name}/{view}_entropy", entropy, steps)
        self.writer.add_scalar("validation/mean_ndcg@10", result.ndcg, steps)
        self.writer.flush()

    def conflict(self, cosines: Mapping[str, float], steps: int) -> None:
        """Cosines of both tasks' gradients, by layer."""
        for layer, value in cosines.items():
            self.writer.add_scalar(f"conflict/{layer}", value, steps)

    def outcome(self, settings: Settings, *, best_ndcg: float, best_step: int) -> None:
        """The settings with the best validation, for comparing runs."""
        self.writer.add_hparams(dict(settings), {"best/mean_ndcg@10": best_ndcg, "best/step": best_step}, run_name=".")

    def item_projector(self, model: GenSR, items: ItemStore, cf_IE: np.ndarray, seed: int) -> None:
        """CF and semantic vectors of a sample of items, labelled with their texts."""
        count = min(_PROJECTED_ITEMS, len(cf_IE))
        shutil.rmtree(self.folder / "00000", ignore_errors=True)  # of an earlier training of this run
        item_K = np.sort(np.random.default_rng(seed).choice(len(cf_IE), size=count, replace=False))
        label_K = [" ".join(text.split())[:_LABEL_LETTERS] or "(no text)" for text in items.texts.gather(item_K)]
        with torch.no_grad():
            semantic_KD = model.item_semantic(torch.from_numpy(items.title_IT[item_K].astype(np.int64)))
        for tag, vector_KD in (("items_cf", torch.from_numpy(cf_IE[item_K])), ("items_semantic", semantic_KD)):
            self.writer.add_embedding(vector_KD, metadata=label_K, tag=tag)

    def close(self) -> None:
        """Write what is still held back."""
        self.writer.close()
