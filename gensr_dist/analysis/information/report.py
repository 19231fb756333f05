"""What the report of mutual information says and shows."""

from collections.abc import Mapping
from typing import TypeAlias

from gensr_dist.analysis.finding import Claim
from gensr_dist.analysis.information.figures import Figure
from gensr_dist.analysis.intervals import Verdict
from gensr_dist.pages.charts import BarChart, Series
from gensr_dist.pages.table import Table

COLUMNS = ("MINE", "InfoNCE", "NWJ", "plug-in", "clicked, MINE", "clicked, InfoNCE", "clicked, NWJ")
PROTOCOL = (
    "Examples: each held-out test row gives two, its positive and its first frozen negative, so that an answer has "
    "about one bit. X is the pooled embedded input that the answer is made from: of GenSR the mean over the tokens "
    "and slots of the candidate's prompt as they enter T5's encoder, of the peer the vector that enters its tasks' "
    "shared encoder; standardised. Y is the model's answer: a draw of Yes or No from its calibrated P(Yes | prompt). "
    "The log-odds themselves are no answer to measure: a function of a continuous input has infinite information.",
    "Users are divided, never rows: a fifth calibrates the log-odds (Platt: slope and shift) and is not used again; "
    "of the others each seed takes a fifth to estimate, a fifth to stop training early, and the rest to train. Five "
    "seeds estimate on every user once. Each answer is drawn 8 times. Intervals: 95 %, 1,000 bootstrap resamples of "
    "users, the critics given.",
    "MINE is eq. 12, with the moving-average correction of its gradient; InfoNCE and NWJ are other lower bounds by "
    "the same critic. Plug-in is H(mean p) - mean H(p): all that the answer holds of the whole input. For the peer it "
    "is I(X; Y) itself; for GenSR, whose pooled input leaves out the order of tokens, it is at least that. So a bound "
    "far below the plug-in says that the critic cannot read the answer from so few examples, not that it is not "
    "there. No value can exceed H(Y) but by sampling error. I(X; clicked) has the true label in place of the answer: "
    "a model may be sure of its answers and wrong.",
)

Figures: TypeAlias = Mapping[str, Mapping[str, Mapping[str, Figure]]]  # by task, model and name


def shown(figure: Figure | None) -> str:
    """Bits with their interval."""
    return "failed" if figure is None else str(figure)


def paper_table(figures: Figures) -> Table:
    """Table 1 as the paper prints it."""
    models = dict.fromkeys(model for of_task in figures.values() for model in of_task)
    return Table(
        title="Table 1: I(X; Y) by MINE, bits",
        heads=("method", *figures),
        rows=tuple((model, *(shown(of_task[model].get("MINE")) for of_task in figures.values())) for model in models),
    )


def whole_table(figures: Figures, entropies: Mapping[str, Mapping[str, float]]) -> Table:
    """All figures."""
    names = (*COLUMNS[:4], "H(Y)", *COLUMNS[4:])
    return Table(
        title="All estimates, bits",
        note=" ".join(("Clicked: the true label in place of the answer.", *_unread(figures))),
        heads=("task and model", *names),
        rows=tuple(
            (
                f"{task}, {model}",
                *(f"{entropies[task][model]:.3f}" if name == "H(Y)" else shown(of.get(name)) for name in names),
            )
            for task, of_task in figures.items()
            for model, of in of_task.items()
        ),
    )


def _unread(figures: Figures) -> tuple[str, ...]:
    """Where the critics found less than is there."""
    low = [
        f"{task}, {model}"
        for task, of_task in figures.items()
        for model, of in of_task.items()
        if "MINE" in of and of["MINE"].high < of["plug-in"].low
    ]
    if not low:
        return ()
    return (f"MINE is below the plug-in value, by more than the sampling of users explains, for {'; '.join(low)}.",)


def bars(figures: Figures) -> BarChart:
    """MINE and plug-in by task and model; a figure that failed has a bar of no height."""
    places = [(f"{model} in {task}", of) for task, of_task in figures.items() for model, of in of_task.items()]
    none = Figure(bits=0.0, low=0.0, high=0.0)
    series = []
    for name in ("MINE", "plug-in", "clicked, MINE"):
        found = [of.get(name, none) for _, of in places]
        series.append(
            Series(
                label=name,
                x=tuple(map(float, range(len(places)))),
                y=tuple(each.bits for each in found),
                low=tuple(each.low for each in found),
                high=tuple(each.high for each in found),
            )
        )
    return BarChart(
        name="information",
        title="Information between input and answer",
        alt="Bits by task and model: MINE, the plug-in value, and information about clicks, with intervals",
        x="bits",
        groups=tuple(place for place, _ in places),
        series=tuple(series),
    )


def claim(task: str, peer: str, differences: Mapping[str, Figure]) -> Claim:
    """By MINE, unless the plug-in says otherwise."""
    signs: list[Verdict] = []
    for name in ("MINE", "plug-in"):
        figure = differences.get(name)
        decided = figure is not None and (figure.low > 0 or figure.high < 0)
        signs.append("undecided" if figure is None or not decided else "yes" if figure.low > 0 else "no")
    texts = [f"{name} {shown(differences.get(name))}" for name in ("MINE", "plug-in", "clicked, MINE")]
    return Claim(
        statement=f"{task}: the generative model has more information between input and task output than {peer}",
        holds="undecided" if {"yes", "no"} == set(signs) else signs[0],
        measured=f"GenSR less {peer}, bits: {'; '.join(texts)}",
    )
