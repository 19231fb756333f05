"""What a training shows while it runs: a bar on a terminal, a dense line every `log_every` steps elsewhere."""

import logging
from contextlib import ExitStack

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from gensr_dist.train.report import StepReport

LOG = logging.getLogger("gensr_dist.train")


class Display:
    """Of rank 0; closed at the end.

    Args:
        steps: of the whole training.
        done: of them, before this start.
        candidates: of a step.
    """

    def __init__(self, steps: int, done: int, candidates: int) -> None:
        self.steps, self.candidates = steps, candidates
        self._stack = ExitStack()
        self._bar = self._stack.enter_context(
            tqdm(desc="train", total=steps, initial=done, unit="step", disable=None, dynamic_ncols=True)
        )
        if not self._bar.disable:  # lines of events go above the bar
            self._stack.enter_context(logging_redirect_tqdm())

    def advance(self) -> None:
        """A step is done."""
        self._bar.update()

    def report(self, report: StepReport) -> None:
        """Show the numbers of a step."""
        if self._bar.disable:
            LOG.info(report.line(self.steps, self.candidates))
        else:
            self._bar.set_postfix_str(report.short())

    def close(self) -> None:
        """Leave the bar as it is."""
        self._stack.close()
