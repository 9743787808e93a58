"""The comparisons that `study.summary` shows, in words: the first named against the second."""

from __future__ import annotations

from experiments.study.cells import FIRST, NEW_DRAWS
from experiments.study.contrasts import BETWEEN, CENTRE, END_TO_END, SHUFFLED, Contrast, Side, within
from jaxroute.report.results import RECOMMENDED

STACK = "plug_in_stack"
Line = tuple[str, Contrast]
"""What is compared, in words, and the contrast."""

LINEAR, MEANS = ("capacity", "linear"), ("outcome model", "means only")
WHERE = {
    "the centre": CENTRE,
    **{f"new draws, {level}": ("new draws", level) for level in NEW_DRAWS},
    **{
        f"log of {name}": ("logger", name) for name in ("weak router 6", "uniform", "cost-biased 2", "task-dependent 2")
    },
    "500 rows": ("log size", "500"),
    "all rows": ("log size", "all"),
    **{f"{count} models": ("models", count) for count in ("2", "4", "8")},
    "hashed n-grams": ("encoder", "hashed"),
    "tasks held out": ("split", "tasks held out"),
    "250 shadow prompts": ("shadow", "250"),
}
RECIPE: tuple[Line, ...] = tuple((name, within(RECOMMENDED, STACK, *cell)) for name, cell in WHERE.items())
SMALL: tuple[Line, ...] = (
    ("outcome model of means alone: RM-Classification against its plug-in", within("rm_classification", STACK, *MEANS)),
    ("the same against the recipe of these means", within("rm_classification", RECOMMENDED, *MEANS)),
    ("five soft RM-Classification against recipe", within("rm_classification_soft_ensemble", RECOMMENDED)),
    (
        "linear router: decisions against outcomes, both from predictions",
        within(f"{END_TO_END}_dm", "plug_in_student", *LINEAR),
    ),
    (
        "linear router from predictions against ridge",
        Contrast(Side(f"{END_TO_END}_dm", *LINEAR), Side("plug_in_ridge")),
    ),
    ("linear router from the log against ridge", Contrast(Side(END_TO_END, *LINEAR), Side("plug_in_ridge"))),
    ("RM-Softmax from predictions against from the log", within("rm_softmax_dm", "rm_softmax")),
    *(
        (f"{name}: calibrated against doubly robust", within(f"{name}_calibrated", name))
        for name in ("rm_classification", "rm_softmax", END_TO_END)
    ),
)
LOGS: tuple[Line, ...] = (
    (
        "recipe: log of cost-biased 2 against of weak router 6",
        Contrast(Side(RECOMMENDED, "logger", "cost-biased 2"), Side(RECOMMENDED, "logger", "weak router 6")),
    ),
    *(
        (f"recipe against stacked plug-in, 500 rows of {name}", within(RECOMMENDED, STACK, "logger, 500 rows", name))
        for name in ("weak router 6", "uniform", "cost-biased 2", "task-dependent 2")
    ),
    *(
        (f"{method}: {what}", Contrast(Side(method, *cell), Side(method)))
        for what, cell in (
            ("estimated propensities against known", ("propensity", "estimated")),
            ("clip 0.3 against 0.1", ("clip", "0.3")),
            ("clip 0.02 against 0.1", ("clip", "0.02")),
        )
        for method in (RECOMMENDED, END_TO_END, "rm_softmax", "rm_classification")
        if method != RECOMMENDED or cell[0] == "propensity"
    ),
)
ELSE: tuple[Line, ...] = (
    ("one router for every cost weight (RM-Interval) against one for each", within("rm_interval", END_TO_END)),
    ("the same, between the weights they were trained at", within("rm_interval", END_TO_END, metric=BETWEEN)),
    ("a router that is told the weight against one for each", within("rm_conditional", END_TO_END)),
    ("recipe: hashed n-grams against MiniLM", Contrast(Side(RECOMMENDED, "encoder", "hashed"), Side(RECOMMENDED))),
    ("recipe against the first recipe (stack before the process)", Contrast(Side(RECOMMENDED), Side(STACK, *FIRST))),
    (
        "shuffled answers: recipe against best single model of the full table",
        within(RECOMMENDED, "best_single_full", *SHUFFLED),
    ),
)
