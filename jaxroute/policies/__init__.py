"""Decisions: from scores to action probabilities, and the exact piecewise-constant policy of every cost weight.

deciding   greedy, softmax, epsilon-greedy, ensembles
pieces     breakpoints of affine utilities: exact for one prompt, jit and vmap for a batch
"""

from jaxroute.policies.decisions import ensemble as ensemble
from jaxroute.policies.decisions import epsilon_greedy as epsilon_greedy
from jaxroute.policies.decisions import greedy as greedy
from jaxroute.policies.decisions import softmax as softmax
from jaxroute.policies.piecewise import Envelope as Envelope
from jaxroute.policies.piecewise import breakpoints as breakpoints
from jaxroute.policies.piecewise import envelope as envelope
from jaxroute.policies.piecewise import interval_endpoints as interval_endpoints
from jaxroute.policies.piecewise import select as select
