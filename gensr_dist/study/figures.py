"""Figures of a study as SVG text."""

import io
import re

from gensr_dist.study.result import StudyResult

_SIZE = (9.0, 4.5)  # inches


def curves_svg(result: StudyResult) -> str:
    """Mean validation NDCG@10 over minutes of training, a line a system; empty where nothing was trained."""
    drawn = [system for system in result.systems if len(system.curve) > 1]
    if not drawn:
        return ""
    figure, axes = _axes("minutes of training", "validation N@10, mean of the system's tasks")
    for system in drawn:
        minutes, values = zip(*((seconds / 60, value) for seconds, value in system.curve), strict=True)
        axes.plot(minutes, values, label=system.label, linewidth=1.5)
    axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1.0, 0.5))
    return _svg(figure)


def quality_svg(result: StudyResult) -> str:
    """NDCG@10 of each task against minutes of a training; empty where nothing was trained."""
    trained = [system for system in result.systems if system.seconds and system.sampled]
    if not trained:
        return ""
    figure, axes = _axes("minutes a training", "N@10 of test rows")
    axes.set_xscale("log")
    for task, marker in (("rec", "o"), ("search", "s")):
        points = [
            (system.seconds / 60, system.sampled[task]["ndcg@10"].mean, system.label)
            for system in trained
            if task in system.sampled
        ]
        if points:
            minutes, values, labels = zip(*points, strict=True)
            axes.scatter(minutes, values, marker=marker, label={"rec": "recommendation", "search": "search"}[task])
            for x, y, label in zip(minutes, values, labels, strict=True):
                axes.annotate(label, (x, y), xytext=(4, 3), textcoords="offset points", fontsize="x-small")
    axes.legend(fontsize="small")
    return _svg(figure)


def _axes(x: str, y: str):  # type: ignore[no-untyped-def]  # matplotlib's own types come with it
    from matplotlib.figure import Figure

    figure = Figure(figsize=_SIZE, layout="constrained")
    axes = figure.subplots()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.3)
    return figure, axes


def _svg(figure) -> str:  # type: ignore[no-untyped-def]
    from matplotlib import rc_context

    text = io.StringIO()
    with rc_context({"svg.hashsalt": "study", "svg.fonttype": "path"}):
        figure.savefig(text, format="svg", metadata={"Date": None})
    return re.sub(r"^.*?(?=<svg )", "", text.getvalue(), flags=re.DOTALL)
