"""A router inside an existing gateway, and the log from which the next router is fitted.

gate           which model answers a request, with exploration and the exact propensity; falls back to a default
routers        the routers of a gate, asked of several requests in one pass
deciding       what one router says of them
rollout        a new router for a share of the traffic, compared with the old one
settings       the contents of models.yaml
requests       what was decided for requests under way
conversations  which requests belong together, and stay with one model
recorder       decides, keeps the decisions, writes the rows
watching       a new models.yaml or router, taken up without a restart
rows           the row of a request in the log
writing        the file: complete lines, several writers, rotation by size and day
compacting     the log as Parquet
handler        LiteLLM's proxy (extra ``gateway``)
abilities      what LiteLLM knows of the models
hooks          the handler, and the same in a `litellm.Router`
endpoints      what the proxy answers beside: feedback, readiness
feedback       ratings that come over HTTP
metrics        counts for Prometheus
service        without LiteLLM: "which model?" over HTTP (extra ``sidecar``); `bodies` its JSON

Only `handler`, `abilities`, `hooks` and `endpoints` import LiteLLM, so they are not imported here. None of all this
imports JAX.
"""

from typing import TYPE_CHECKING

from jaxroute._lazy import lazy

if TYPE_CHECKING:
    from jaxroute.gateway.gate import Choice as Choice
    from jaxroute.gateway.gate import Gate as Gate
    from jaxroute.gateway.settings import Settings as Settings
    from jaxroute.gateway.settings import load_settings as load_settings
    from jaxroute.gateway.writing import LogWriter as LogWriter
    from jaxroute.gateway.writing import read_tail as read_tail
else:  # when they are first used: a module of this package that is run by itself must not be imported before
    _HOMES = {"Choice": "gate", "Gate": "gate", "Settings": "settings", "load_settings": "settings"}
    _HOMES |= {"LogWriter": "writing", "read_tail": "writing"}
    __getattr__, __dir__ = lazy(
        __name__, ("gate", "settings", "writing"), {name: f"{__name__}.{home}" for name, home in _HOMES.items()}
    )
