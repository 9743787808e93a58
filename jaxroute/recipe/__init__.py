"""The recommended recipe: a stacked plug-in with empirical-Bayes model means and shrunken contrasts.

means        noisy means of all models, from a log and from a shadow sample
attributes   what is expected of a model by its rows and its price
levels       mean quality of every model, given both
caution      what of it is decided on
priors       the same with what is known of the models beside the log
contrasts    the share of predicted differences between models that is kept
recommended  the recipe made of both
"""

from jaxroute.recipe.priors import Prior as Prior
from jaxroute.recipe.recommended import GRID as GRID
from jaxroute.recipe.recommended import Recommended as Recommended
from jaxroute.recipe.recommended import apply as apply
from jaxroute.recipe.recommended import estimate_levels as estimate_levels
from jaxroute.recipe.recommended import estimate_share as estimate_share
from jaxroute.recipe.recommended import fit as fit
from jaxroute.recipe.recommended import predict as predict
from jaxroute.recipe.recommended import recommend as recommend
from jaxroute.recipe.recommended import shadow_predictions as shadow_predictions
from jaxroute.recipe.recommended import shrink_contrasts as shrink_contrasts
