"""Weights and AdamW's moments of a checkpoint, as safetensors.

weights.safetensors     fp32 weights by parameter name
exp_avg.safetensors     AdamW's first moment
exp_avg_sq.safetensors  its second
"""

from contextlib import ExitStack
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from gensr_dist.train.state import PARTS, Part, State

TENSORS = {part: f"{part}.safetensors" for part in PARTS}


def write_tensors(folder: Path, state: State) -> None:
    """Write the state of training into an existing folder."""
    for part, name in TENSORS.items():
        save_file(dict(state[part]), folder / name)


class TensorReader:
    """Reads the tensors of a checkpoint one by one.

    Args:
        path: of a folder whose checksums are right.
    """

    def __init__(self, path: Path) -> None:
        self._stack = ExitStack()
        self._files = {
            part: self._stack.enter_context(safe_open(path / name, framework="pt")) for part, name in TENSORS.items()
        }

    def __call__(self, part: Part, name: str) -> Tensor:
        """A tensor, on the CPU."""
        return self._files[part].get_tensor(name)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each parameter by name."""
        weights = self._files["weights"]
        return {name: tuple(weights.get_slice(name).get_shape()) for name in weights.keys()}  # noqa: SIM118

    def close(self) -> None:
        """Release the files."""
        self._stack.close()
