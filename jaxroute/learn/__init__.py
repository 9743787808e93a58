"""Learning a router from a log: the paper's method, and every method that it is compared with.

    fitted = learn.fit(key, logs, loss="rm_softmax", cost_weights=[0.0, 20.0])     # pure: arrays in, arrays out
    router = jaxroute.fit(log, "rm_softmax")                                       # a router to keep, judged on its log

methods      every method: a record each, with what it costs and what the study found
fitting      the one path from any method to a judged `serving.Router`; `judging` comes after it
keywords     what the keywords of a fit may hold; `checks`: what data and which method go together
sufficiency  whether a log holds enough to fit and judge a router
per_weight   ``fit``: nuisances, outcomes, projection, training, selection and ensembling for any loss
objectives   losses by name, and the check of a loss of one's own; `estimates`: outcomes that are learnt from, by name
"""

from typing import TYPE_CHECKING

from jaxroute._lazy import lazy

if TYPE_CHECKING:
    from jaxroute.learn.estimates import ESTIMATORS as ESTIMATORS
    from jaxroute.learn.methods import METHODS as METHODS
    from jaxroute.learn.methods import Method as Method
    from jaxroute.learn.objectives import LOSSES as LOSSES
    from jaxroute.learn.per_weight import Fitted as Fitted
    from jaxroute.learn.per_weight import fit as fit

_NAMES = {"ESTIMATORS": "estimates", "METHODS": "methods", "Method": "methods", "LOSSES": "objectives"}
_NAMES |= {"Fitted": "per_weight", "fit": "per_weight"}
if not TYPE_CHECKING:  # what the doctor asks needs none of the networks
    _modules = ("checks", "estimates", "fitting", "full_feedback", "judging", "methods", "objectives", "per_weight")
    _modules += ("sufficiency",)
    __getattr__, __dir__ = lazy(__name__, _modules, {name: f"{__name__}.{module}" for name, module in _NAMES.items()})
