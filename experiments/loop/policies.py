"""The policies that `make loop` compares, by name, and the numbers that each runs with.

Ours explore around the loop's outcome model; their numbers were chosen on seeds 200 to 211. Rivals have the numbers of
their papers, or the better of a few on the same seeds (LinUCB).
"""

from __future__ import annotations

from experiments.loop import rules
from experiments.loop.rules import Knobs
from experiments.loop.simulate import BARP, NEURAL, PRIOR, RIDGE, Policy

UNIFORM = {f"uniform {epsilon}": Policy(Knobs(rules.UNIFORM, epsilon)) for epsilon in (0.02, 0.05, 0.1, 0.2)}
OURS = {
    "thompson": Policy(Knobs(rules.THOMPSON, 0.2, joint=1.0)),
    "thompson, fading": Policy(Knobs(rules.THOMPSON, 1.0, joint=1.0, fade=0.7)),
    "thompson, limited": Policy(Knobs(rules.THOMPSON, 1.0, joint=1.0, loss=0.002)),
    "contenders, limited": Policy(Knobs(rules.CONTENDERS, 0.1, loss=0.001)),
    "for evaluation, limited": Policy(Knobs(rules.EVALUATION, 0.5, joint=1.0, loss=0.0005)),
}
RIVALS = {
    "LinUCB": Policy(Knobs(rules.UPPER, 0.1)),
    "linear Thompson": Policy(Knobs(rules.THOMPSON, 1.0)),
    "ParetoBandit's rule": Policy(Knobs(rules.UPPER, 0.05, forget=0.997), RIDGE),
    "PILOT": Policy(Knobs(rules.UPPER, 0.1), PRIOR),
    "shadow sample": Policy(Knobs(rules.GREEDY, shadow=0.1)),
}
BOUNDS = {
    "thompson, fading, for free": Policy(OURS["thompson, fading"].knobs._replace(free=1.0)),
    "informed, for free": Policy(Knobs(rules.INFORMED, free=1.0)),
    "every answer, for free": Policy(Knobs(rules.GREEDY, free=1.0, every=1.0)),
}
"""No policies: the router's own answer is served, and what is explored is logged at no cost."""
POLICIES = {"no exploration": Policy(Knobs(rules.GREEDY)), **UNIFORM, **OURS, **RIVALS, **BOUNDS}
NETWORKS = {"neural-linear Thompson": Policy(Knobs(rules.THOMPSON, 1.0), NEURAL), "BaRP": Policy(Knobs(0), BARP)}
DRIFT = (
    *(
        "no exploration",
        "uniform 0.02",
        "for evaluation, limited",
        "contenders, limited",
        "thompson",
        "thompson, fading",
    ),
    "ParetoBandit's rule",
)
"""Run under every scenario."""
EXACT = (*UNIFORM, *OURS, "linear Thompson", "neural-linear Thompson")
"""Policies that log exact propensities and whose interval is judged."""
