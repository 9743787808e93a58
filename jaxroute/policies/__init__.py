"""Decisions: from scores to action probabilities, and the exact piecewise-constant policy of every cost weight.

deciding   greedy, softmax, epsilon-greedy, ensembles
pieces     breakpoints of affine utilities: exact for one prompt, jit and vmap for a batch
"""

from jaxroute.policies.deciding import ensemble as ensemble
from jaxroute.policies.deciding import epsilon_greedy as epsilon_greedy
from jaxroute.policies.deciding import greedy as greedy
from jaxroute.policies.deciding import softmax as softmax
from jaxroute.policies.pieces import Envelope as Envelope
from jaxroute.policies.pieces import breakpoints as breakpoints
from jaxroute.policies.pieces import envelope as envelope
from jaxroute.policies.pieces import interval_endpoints as interval_endpoints
from jaxroute.policies.pieces import select as select
