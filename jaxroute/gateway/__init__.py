"""A router inside an existing gateway, and the log from which the next router is fitted.

gate      which model answers a request, with exploration and the exact propensity; falls back to a default
writing   the log in the schema that `fit` reads: complete lines, several writers
hooks     LiteLLM: a routing strategy for its Router, a handler for its proxy (extra ``gateway``)

Only `hooks` imports LiteLLM, so it is not imported here.
"""

from jaxroute.gateway.gate import Choice as Choice
from jaxroute.gateway.gate import Gate as Gate
from jaxroute.gateway.gate import Settings as Settings
from jaxroute.gateway.gate import load_settings as load_settings
from jaxroute.gateway.writing import LogWriter as LogWriter
from jaxroute.gateway.writing import read_tail as read_tail
