"""Decisions: from scores to action probabilities, and the exact piecewise-constant policy of every cost weight.

decisions   greedy, softmax, epsilon-greedy, the best single model, ensembles
exploration posterior sampling, contenders, the smallest variance for an evaluation, limits on cost and loss
piecewise   breakpoints of affine utilities: exact for one prompt, jit and vmap for a batch
curves      what every cost weight spends and gains, exactly or of one policy for each
budgets     from a budget, or a quality to reach, to a cost weight; needs no JAX to look one up
"""

from typing import TYPE_CHECKING

from jaxroute._lazy import lazy

if TYPE_CHECKING:
    from jaxroute.policies.decisions import best_single as best_single
    from jaxroute.policies.decisions import ensemble as ensemble
    from jaxroute.policies.decisions import epsilon_greedy as epsilon_greedy
    from jaxroute.policies.decisions import greedy as greedy
    from jaxroute.policies.decisions import softmax as softmax
    from jaxroute.policies.exploration import contenders as contenders
    from jaxroute.policies.exploration import for_evaluation as for_evaluation
    from jaxroute.policies.exploration import limited as limited
    from jaxroute.policies.exploration import thompson as thompson
    from jaxroute.policies.piecewise import Envelope as Envelope
    from jaxroute.policies.piecewise import breakpoints as breakpoints
    from jaxroute.policies.piecewise import envelope as envelope
    from jaxroute.policies.piecewise import interval_endpoints as interval_endpoints
    from jaxroute.policies.piecewise import select as select
else:
    __getattr__, __dir__ = lazy(
        __name__,
        ("budgets", "curves", "decisions", "exploration", "piecewise"),
        dict.fromkeys(("best_single", "ensemble", "epsilon_greedy", "greedy", "softmax"), f"{__name__}.decisions")
        | dict.fromkeys(("contenders", "for_evaluation", "limited", "thompson"), f"{__name__}.exploration")
        | dict.fromkeys(
            ("Envelope", "breakpoints", "envelope", "interval_endpoints", "select"), f"{__name__}.piecewise"
        ),
    )
