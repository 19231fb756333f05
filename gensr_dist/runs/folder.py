"""Where each stage of a run keeps what it makes."""

from dataclasses import dataclass
from pathlib import Path

from typing_extensions import Self

from gensr_dist.config.root import Config
from gensr_dist.errors import InputError
from gensr_dist.storage.cache import Cache
from gensr_dist.storage.folder import Folder


@dataclass(frozen=True)
class RunFolder:
    """The layout of one run: `RunFolder(Path("runs/quickstart")).metrics` and so on."""

    root: Path
    shards_elsewhere: Folder | None = None  # where `data.shards` says

    @classmethod
    def of(cls, config: Config, root: Path | None = None) -> Self:
        """The folder of a configured run.

        Args:
            config: of the run.
            root: where the run folder lies now, if not at `config.run`.

        Raises:
            InputError: `data.shards` is a URL of a kind that cannot be used.
        """
        elsewhere = None
        if config.data.shards:
            elsewhere = Folder.at(config.data.shards, Cache.at(config.data.cache, config.data.cache_gb))
        return cls(root or Path(config.run), elsewhere)

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

    def raw_log(self, config: Config) -> str:
        """Path or URL of the raw log that the run is made from.

        Raises:
            InputError: `data.raw` is not set.
        """
        if config.data.source == "simulate":
            return str(self.raw)
        if not config.data.raw:
            raise InputError("data.raw", "not set, expected the folder of the raw log", "add --set data.raw=FOLDER")
        return config.data.raw

    @property
    def shards(self) -> Folder:
        """Timeline shards, item store, tokenizer and manifest."""
        return self.shards_elsewhere or Folder.at(self.root / "shards")

    @property
    def cf(self) -> Path:
        """LightGCN vectors: `items.npy`, `users.npy`, `lightgcn.json`."""
        return self.root / "cf"

    @property
    def channels(self) -> Path:
        """Lists that channels of candidates read, and `channels.json`."""
        return self.root / "channels"

    @property
    def lightgcn_checkpoint(self) -> Path:
        """What an interrupted LightGCN training resumes from."""
        return self.root / "lightgcn_checkpoint"

    @property
    def checkpoints(self) -> Path:
        """Checkpoints to resume from."""
        return self.root / "checkpoints"

    @property
    def logs(self) -> Path:
        """One log file a rank, of all starts of the training."""
        return self.root / "logs"

    @property
    def not_finite(self) -> Path:
        """What `gensr replay` needs of a step that was stopped because its loss or gradient was not finite."""
        return self.root / "not_finite"

    @property
    def model(self) -> Path:
        """The best model as a `save_pretrained` folder."""
        return self.root / "model"

    @property
    def fit(self) -> Path:
        """Training rows beside validation rows, at the best and at the last validation, JSON."""
        return self.root / "fit.json"

    @property
    def tensorboard(self) -> Path:
        """TensorBoard event files."""
        return self.root / "tensorboard"

    @property
    def index(self) -> Path:
        """FAISS indices of the catalogue."""
        return self.root / "index"

    @property
    def added(self) -> Path:
        """Items that came after training, and the index over all items with them."""
        return self.root / "added"

    def baseline(self, name: str) -> "RunFolder":
        """A trained baseline of this run: a folder with checkpoints, model, metrics and ranks of its own."""
        return RunFolder(self.root / "baselines" / name)

    def analysis(self, name: str) -> Path:
        """What an analysis found."""
        return self.root / "analysis" / name

    @property
    def paper(self) -> Path:
        """The report of `gensr paper`, with its figures and trainings."""
        return self.root / "paper"

    @property
    def metrics(self) -> Path:
        """Evaluation results, JSON."""
        return self.root / "metrics.json"

    @property
    def report(self) -> Path:
        """Evaluation results, Markdown."""
        return self.root / "report.md"

    @property
    def report_page(self) -> Path:
        """Evaluation results with charts, HTML."""
        return self.root / "report.html"

    @property
    def ranks(self) -> Path:
        """Ranks of the evaluated rows, for `gensr compare`."""
        return self.root / "ranks"
