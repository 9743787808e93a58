"""Off-policy value of a target policy, and whether the log can support it.

influence   one influence value per row of a log, and their estimate
intervals   confidence intervals of estimates
values      the estimators; ``ESTIMATORS`` has them by name
families    estimators whose weights are those of families of models
loggers     propensities of logs that several policies wrote
selection   choosing the clip, threshold or shrinkage from the log
sequential  confidence sequences: intervals that hold at every look
planning    how many rows prove a gain
comparison  paired differences, simultaneous bands, bootstrap
ranking     which of several policies is the best, with bounds that allow for the choice
support     the support report: its numbers
calibration whether propensities and predictions match what the log shows
verdict     thresholds; ok, caution or refuse, and what would help
evaluation  a policy's value: with an interval if the log supports it, else labelled extrapolation
shadow      the value on prompts that every model answered, and pooled with the log's
sensitivity bounds under a hidden confounder, and the strength at which a comparison could reverse
odds        the arrays of both
pessimism   outcomes lowered by their uncertainty
spending    quality gained and cost saved, apart
judge       how far a judge's scores are from people's ratings, by model
prediction_powered  values by a judge's scores, corrected by people's ratings
drift       whether quality, price or logging policy changed inside the log
recency     weights that halve with age, chosen by forward validation
frontier    quality and cost of routers and of single models
accounts    what a router costs, saves and uses, as columns
conclusion  what all this says, in a sentence
by_weight   tables of values and gains at every cost weight
evidence    all that a log says of a router, for reports
"""

from collections.abc import Callable
from functools import partial

from jaxroute.estimators.accounts import accounts as accounts
from jaxroute.estimators.comparison import Band as Band
from jaxroute.estimators.comparison import at_weights as at_weights
from jaxroute.estimators.comparison import bootstrap as bootstrap
from jaxroute.estimators.comparison import difference as difference
from jaxroute.estimators.comparison import paired as paired
from jaxroute.estimators.comparison import simultaneous as simultaneous
from jaxroute.estimators.drift import changes as changes
from jaxroute.estimators.evaluation import Evaluation as Evaluation
from jaxroute.estimators.evaluation import evaluate as evaluate
from jaxroute.estimators.families import families as families
from jaxroute.estimators.families import marginalised_doubly_robust as marginalised_doubly_robust
from jaxroute.estimators.families import marginalised_ipw as marginalised_ipw
from jaxroute.estimators.frontier import frontier as frontier
from jaxroute.estimators.frontier import shares as shares
from jaxroute.estimators.frontier import single_models as single_models
from jaxroute.estimators.influence import Rows as Rows
from jaxroute.estimators.influence import estimate as estimate
from jaxroute.estimators.influence import rows as rows
from jaxroute.estimators.influence import utility_range as utility_range
from jaxroute.estimators.intervals import half_width as half_width
from jaxroute.estimators.intervals import interval as interval
from jaxroute.estimators.intervals import wider as wider
from jaxroute.estimators.judge import biases as biases
from jaxroute.estimators.loggers import balanced as balanced
from jaxroute.estimators.loggers import weighted as weighted
from jaxroute.estimators.loggers import with_propensity as with_propensity
from jaxroute.estimators.planning import detectable as detectable
from jaxroute.estimators.planning import row_deviation as row_deviation
from jaxroute.estimators.planning import rows_needed as rows_needed
from jaxroute.estimators.selection import Selection as Selection
from jaxroute.estimators.selection import slope as slope
from jaxroute.estimators.selection import smallest_error as smallest_error
from jaxroute.estimators.sensitivity import Bounds as Bounds
from jaxroute.estimators.sensitivity import TippingPoint as TippingPoint
from jaxroute.estimators.sensitivity import bounds as bounds
from jaxroute.estimators.sensitivity import bounds_interval as bounds_interval
from jaxroute.estimators.sensitivity import tipping_point as tipping_point
from jaxroute.estimators.sequential import ConfidenceSequence as ConfidenceSequence
from jaxroute.estimators.sequential import confidence_sequence as confidence_sequence
from jaxroute.estimators.shadow import complete as complete
from jaxroute.estimators.shadow import pool as pool
from jaxroute.estimators.shadow import pool_each as pool_each
from jaxroute.estimators.shadow import shadow_rows as shadow_rows
from jaxroute.estimators.shadow import shadow_share as shadow_share
from jaxroute.estimators.shadow import with_shadow as with_shadow
from jaxroute.estimators.spending import spending as spending
from jaxroute.estimators.support import Support as Support
from jaxroute.estimators.support import evaluation_clip as evaluation_clip
from jaxroute.estimators.support import support as support
from jaxroute.estimators.trusted import trusted_clip as trusted_clip
from jaxroute.estimators.values import direct_method as direct_method
from jaxroute.estimators.values import doubly_robust as doubly_robust
from jaxroute.estimators.values import ipw as ipw
from jaxroute.estimators.values import self_normalised_doubly_robust as self_normalised_doubly_robust
from jaxroute.estimators.values import shrinkage_doubly_robust as shrinkage_doubly_robust
from jaxroute.estimators.values import snipw as snipw
from jaxroute.estimators.values import switch_doubly_robust as switch_doubly_robust
from jaxroute.types import Estimate

ESTIMATORS: dict[str, Callable[..., Estimate]] = {
    "direct": direct_method,
    "ipw": ipw,
    "clipped ipw": partial(ipw, weight_clip=10.0),
    "snipw": snipw,
    "dr": doubly_robust,
    "sndr": self_normalised_doubly_robust,
    "switch": partial(switch_doubly_robust, threshold=10.0),
    "shrinkage": partial(shrinkage_doubly_robust, shrinkage=100.0),
}
"""Every estimator: (logs, target, cost_weight, nuisances, *, clip) -> Estimate. `make ope-study` measures them all."""
