"""Every method that makes a router from a log: one record each. To add one: its ``make``, and a record here.

What the study found is how far a method's mean regret lies above the recommended recipe's at the study's centre (the
log of a weak router, 2,000 rows, ten seeds; experiments/README.md), over its five real tables and on its synthetic
problem. ``tests/test_methods.py`` computes these numbers anew from experiments/results/study.parquet. The study trained
one network per cost weight and chose its step on a log of its own; here every fold of the log has networks and they are
averaged, so its numbers are a guide to the order of the methods.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from jaxroute.learn import end_to_end, every_weight, neighbours, objectives, plug_ins
from jaxroute.learn.inputs import MethodInput, MethodResult
from jaxroute.nuisance.learners import HOST_LEARNERS, LEARNERS
from jaxroute.types import InputError, Loss

Interval = tuple[float, float, float]  # mean, low and high end of 95%


class Behind(NamedTuple):
    """Points of regret (quality x 100) above the recommended recipe's, negative where the method is ahead."""

    real: Interval
    synthetic: Interval


@dataclass(frozen=True)
class Method:
    """A way from a log to a router.

    name: of the command line, and of `experiments`. summary: what it is, in a sentence. cost: what it takes beside
    the nuisances. note: what more there is to know of it. behind: what the study found; None: not in it.
    learner: an outcome learner that it needs fitted. loss: that its networks are trained on; None: it trains none
    on a loss of choice. decides: whether networks learn the decision itself, so that ``estimator``, ``hyperparams`` and
    ``training`` mean something. weighs: whether a row counts as often as it stands for (``logs.weight``).
    informed: whether it takes a prior of the models' mean quality.
    """

    name: str
    summary: str
    cost: str
    make: Callable[[MethodInput], MethodResult]
    note: str = ""
    behind: Behind | None = None
    learner: str | None = None
    loss: Loss | None = None
    decides: bool = False
    weighs: bool = True
    informed: bool = False

    @property
    def finding(self) -> str:
        """What the study found, in sentences."""
        if self.name == "recommended":
            return self.note
        if self.behind is None:
            return f"Not in the study. {self.note}".strip()
        real, synthetic = (f"{mean:+.2f} ({low:.2f} to {high:.2f})" for mean, low, high in self.behind)
        return f"Regret {real} points over recommended's on real tables, {synthetic} on synthetic. {self.note}".strip()


DISTILLED = "one network that learns the predictions"
POINTS = "a small network per cost weight, fold and seed"


def _plug_in(learner: str, what: str, behind: Behind | None, note: str = "") -> Method:
    return Method(
        f"plug_in_{learner}",
        f"Plug-in of {what}.",
        DISTILLED,
        plug_ins.of_learner(learner),
        note,
        behind,
        learner=learner,
    )


def _trained(name: str, summary: str, behind: Behind | None, note: str = "", estimator: str = "dr") -> Method:
    loss = objectives.LOSSES[name.removesuffix(f"_{estimator}")]
    make = end_to_end.per_weight(loss, estimator)
    return Method(name, summary, POINTS, make, note, behind, loss=loss, decides=True)


_LIST = (
    Method(
        "recommended",
        "The stacked plug-in with corrected model means and only the part of the predicted differences between models "
        "that the log confirms.",
        DISTILLED,
        plug_ins.recommended,
        "Significantly worse than a baseline in 0 and better in 455 of 1,483 comparisons; on the synthetic problem "
        "five soft RM-Classification routers averaged are 1.1 ahead of it.",
        informed=True,
    ),
    Method(
        "plug_in_stack",
        "Plug-in of the nuisances' outcome models together, weighted by their out-of-fold loss.",
        DISTILLED,
        plug_ins.stack,
        "Level with recommended beside 250 shadow prompts.",
        Behind((0.78, 0.31, 1.25), (-0.19, -1.0, 0.62)),
    ),
    _plug_in("mean", "each model's mean, the same for every prompt", None, "It is the best single model of the log."),
    _plug_in("ridge", "a ridge regression per model", Behind((2.07, 1.51, 2.64), (3.61, 2.63, 4.58))),
    _plug_in(
        "hierarchical",
        "ridge regressions that share what prompts have in common",
        Behind((0.97, 0.58, 1.36), (3.06, 2.16, 3.96)),
    ),
    _plug_in("knn", "the nearest prompts of the log", Behind((2.56, 1.8, 3.33), (5.4, 4.34, 6.46))),
    _plug_in("gp", "a Gaussian process over prompts and models", Behind((1.09, 0.61, 1.57), (-0.13, -0.97, 0.7))),
    _plug_in("mlp", "a network", Behind((1.81, 1.15, 2.48), (5.79, 4.27, 7.3))),
    _plug_in(
        "trees", "gradient-boosted trees (scikit-learn)", None, "As one more learner of the stack it gains nothing."
    ),
    _plug_in("xgboost", "gradient-boosted trees (needs xgboost)", None),
    _trained(
        "rm_classification",
        "RM-Classification: the label is the model of the best doubly robust utility.",
        Behind((1.73, 1.34, 2.13), (-0.72, -1.35, -0.09)),
        "On the synthetic problem 8.9 ahead of the plug-in of an outcome model that knows means alone; with full "
        "feedback the worst learner, as its label is the first of tied answers.",
    ),
    _trained(
        "rm_classification_soft",
        "The same with the softmax of the utilities as the label, so that ties share it.",
        Behind((2.15, 1.86, 2.43), (-0.82, -1.43, -0.21)),
        "Five initialisations averaged are 1.1 ahead on the synthetic problem.",
    ),
    _trained(
        "rm_classification_gap",
        "The same, each prompt weighted by its best minus its worst utility.",
        Behind((1.99, 1.54, 2.43), (0.15, -0.58, 0.87)),
    ),
    _trained(
        "dr_weighted_classification",
        "Policy learning by weighted classification: a cost-sensitive hinge on doubly robust utilities.",
        Behind((1.92, 1.52, 2.33), (-0.13, -0.83, 0.58)),
    ),
    _trained(
        "rm_softmax",
        "RM-Softmax: the regret of the softmax policy.",
        Behind((1.52, 1.07, 1.97), (4.1, 2.66, 5.54)),
    ),
    _trained(
        "rm_softmax_entropic",
        "RM-Softmax with an entropy bonus, which removes plateaus and gives scores one scale.",
        Behind((2.46, 2.13, 2.79), (2.5, 1.75, 3.26)),
    ),
    _trained(
        "rm_softmax_pessimistic",
        "RM-Softmax on utilities one standard error below the doubly robust ones.",
        Behind((0.94, 0.76, 1.12), (2.48, 1.41, 3.55)),
        "Where a log follows its own router strongly, 0.5 ahead of the stacked plug-in and 0.9 behind recommended.",
        estimator="pessimistic",
    ),
    _trained(
        "rm_classification_calibrated",
        "RM-Classification on predictions whose mean over the log, model by model, is the recipe's.",
        Behind((0.23, 0.06, 0.4), (0.1, -0.38, 0.57)),
        "On real tables 1.5 ahead of the same loss on doubly robust outcomes, and 0.55 ahead of the stacked plug-in. "
        "It needs an outcome model that tells prompts apart.",
        estimator="calibrated",
    ),
    _trained(
        "rm_softmax_entropic_calibrated",
        "Entropic RM-Softmax on the same predictions.",
        Behind((0.04, -0.06, 0.13), (-0.07, -0.59, 0.46)),
        "On real tables 2.4 ahead of the same loss on doubly robust outcomes, and 0.7 ahead of the stacked plug-in.",
        estimator="calibrated",
    ),
    Method(
        "rm_interval",
        "One router for every cost weight: entropic RM-Softmax at the ends of five intervals, a joint network inside.",
        "seven small networks per fold and seed",
        every_weight.interval,
        "Between trained weights 0.27 better than one router per weight.",
        Behind((2.5, 2.24, 2.76), (2.46, 1.73, 3.18)),
        decides=True,
    ),
    Method(
        "rm_affine",
        "One router for every cost weight: the stacked plug-in, corrected end to end and kept only on evidence.",
        f"a small network per fold and seed, and {DISTILLED}",
        every_weight.affine,
        "Starts as the plug-in, and stays it in most runs.",
        Behind((0.78, 0.31, 1.25), (0.49, -0.45, 1.44)),
        decides=True,
    ),
    Method(
        "knn_guarded",
        "Nearest prompts of the log, leaving the best single model only where they clearly say so.",
        f"{POINTS} that learns the neighbours' bounds: no row of the log is kept",
        neighbours.guarded,
        "",
        Behind((1.55, 1.12, 1.98), (7.16, 6.2, 8.12)),
        decides=True,
        weighs=False,
    ),
)
METHODS: dict[str, Method] = {method.name: method for method in _LIST}
"""By name. An outcome learner or a loss that no record above describes is a method all the same."""
for _other in (
    *(_plug_in(name, f"the outcome learner {name}", None) for name in (*LEARNERS, *HOST_LEARNERS)),
    *(_trained(name, f"Trained on the loss {name}.", None) for name in objectives.LOSSES),
):
    METHODS.setdefault(_other.name, _other)


def named(method: str | Loss | Method) -> Method:
    """The method of this name, or a method that trains on a loss of one's own.

    Args:
        method: a name of ``METHODS``, a loss of the protocol of `types.Loss`, or a record like those of ``METHODS``.

    Raises:
        InputError: an unknown name (close ones are named first), or something that is none of the three.

    Example:
        >>> from jaxroute import losses
        >>> named(losses.spo_plus).name
        'spo_plus'
        >>> named("rm_sofmax")
        Traceback (most recent call last):
        jaxroute.types.InputError: unknown method 'rm_sofmax': did you mean rm_softmax or rm_softmax_entropic? ...
    """
    if isinstance(method, Method):
        return method
    if isinstance(method, str) and method in METHODS:
        return METHODS[method]
    if isinstance(method, str):
        close = difflib.get_close_matches(method, METHODS, 3)
        hint = f": did you mean {' or '.join(close)}? The" if close else "; the"
        raise InputError(f"unknown method {method!r}{hint} methods are {', '.join(METHODS)}")
    if not callable(method):
        raise InputError(f"method {method!r}: give a name, or a loss; the names are {', '.join(METHODS)}")
    name = objectives.name_of(method)
    make = end_to_end.per_weight(method)
    return Method(name, f"A loss of your own, {name}.", POINTS, make, loss=method, decides=True)
