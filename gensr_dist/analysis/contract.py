"""What an analysis is."""

from abc import ABC, abstractmethod
from typing import ClassVar

from gensr_dist.analysis.finding import Finding
from gensr_dist.analysis.subject import Subject


class Analysis(ABC):
    """Looks at a run. Its finding is a function of the run's results, of its peer and of `analysis.*`."""

    name: ClassVar[str]
    title: ClassVar[str]
    summary: ClassVar[str]  # one line of `gensr analyse --list`
    form: ClassVar[int] = 1  # raise it where the same inputs give another finding
    needs: ClassVar[tuple[str, ...]] = ("prepare", "lightgcn", "train")  # stages whose results it reads
    compares: ClassVar[bool] = False  # with a peer, where there is one

    @abstractmethod
    def find(self, subject: Subject) -> Finding:
        """Do it; rank 0 alone, in one process.

        Raises:
            InputError: the run lacks what it needs, in one line with the remedy. An estimator that gives NaN is no
                error: it goes to `Finding.problems`.
        """
