"""Where each stage of a run keeps what it makes."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RunFolder:
    """The layout of one run: `RunFolder(Path("runs/quickstart")).metrics` and so on."""

    root: Path

    @property
    def config(self) -> Path:
        """The resolved configuration, YAML."""
        return self.root / "config.yaml"

    @property
    def stages(self) -> Path:
        """One JSON record a finished stage: fingerprint, seconds, summary."""
        return self.root / "stages"

    @property
    def raw(self) -> Path:
        """Simulated raw logs."""
        return self.root / "raw"

    @property
    def shards(self) -> Path:
        """Timeline shards, item store, tokenizer and manifest."""
        return self.root / "shards"

    @property
    def cf(self) -> Path:
        """LightGCN vectors: `items.npy`, `users.npy`, `lightgcn.json`."""
        return self.root / "cf"

    @property
    def checkpoints(self) -> Path:
        """DeepSpeed checkpoints to resume from."""
        return self.root / "checkpoints"

    @property
    def model(self) -> Path:
        """The best model as a `save_pretrained` folder."""
        return self.root / "model"

    @property
    def tensorboard(self) -> Path:
        """TensorBoard event files."""
        return self.root / "tensorboard"

    @property
    def index(self) -> Path:
        """FAISS indices of the catalogue."""
        return self.root / "index"

    @property
    def metrics(self) -> Path:
        """Evaluation results, JSON."""
        return self.root / "metrics.json"

    @property
    def report(self) -> Path:
        """Evaluation results, Markdown."""
        return self.root / "report.md"
