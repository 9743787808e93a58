"""jaxroute: learn which language model should answer which prompt, from logs in which one model answered each prompt.

    import jaxroute as jr

    log = jr.read_log("requests.parquet")
    router = jr.fit(log)
    print(jr.evaluate(router, jr.read_log("later_requests.parquet")).to_frame())

Every attribute is imported when it is first used, so importing jaxroute imports neither JAX nor NumPy.

fit, evaluate, compare, rank    from a log to a router, and what a later log says of one, two or several
read_log, read_table        logs (one answer a prompt) and tables (every model's answer), checked
Router                      a saved router
losses, counterfactual, policies, estimators, metrics    pure functions of arrays
nuisance, recipe, learn     outcome models and propensities, the recommended recipe, training on a log
engine, sweep               one training program for many routers, on one device or several
serving, data, types        routers to keep, readers and encoders and simulated data, the records
"""

from typing import TYPE_CHECKING

from jaxroute import _aliases
from jaxroute._lazy import lazy

if TYPE_CHECKING:
    from jaxroute import counterfactual as counterfactual
    from jaxroute import data as data
    from jaxroute import engine as engine
    from jaxroute import estimators as estimators
    from jaxroute import learn as learn
    from jaxroute import losses as losses
    from jaxroute import metrics as metrics
    from jaxroute import nuisance as nuisance
    from jaxroute import policies as policies
    from jaxroute import recipe as recipe
    from jaxroute import serving as serving
    from jaxroute import sweep as sweep
    from jaxroute import types as types
    from jaxroute.api import compare as compare
    from jaxroute.api import evaluate as evaluate
    from jaxroute.api import fit as fit
    from jaxroute.api import rank as rank
    from jaxroute.api import read_log as read_log
    from jaxroute.api import read_table as read_table
    from jaxroute.serving.router import Router as Router

__version__ = "0.2.0"

_MODULES = (
    "counterfactual", "data", "engine", "estimators", "learn", "losses", "metrics",
    "nuisance", "policies", "recipe", "serving", "sweep", "types",
)  # fmt: skip
_API = "jaxroute.api"
_NAMES = {"compare": _API, "evaluate": _API, "fit": _API, "rank": _API, "read_log": _API, "read_table": _API} | {
    "Router": "jaxroute.serving.router"
}
__all__ = [*_MODULES, *_NAMES, "__version__"]
if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy(__name__, _MODULES, _NAMES)
_aliases.install()
