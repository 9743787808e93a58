"""The recommended recipe: a stacked plug-in with empirical-Bayes model levels and shrunken contrasts.

levels       mean quality of every model
contrasts    the share of predicted differences between models that is kept
recommended  the recipe made of both
"""

from jaxroute.recipe.recommended import GRID as GRID
from jaxroute.recipe.recommended import Ensemble as Ensemble
from jaxroute.recipe.recommended import Recommended as Recommended
from jaxroute.recipe.recommended import beside as beside
from jaxroute.recipe.recommended import choose_share as choose_share
from jaxroute.recipe.recommended import fit as fit
from jaxroute.recipe.recommended import fit_ensemble as fit_ensemble
from jaxroute.recipe.recommended import log_levels as log_levels
from jaxroute.recipe.recommended import predict as predict
from jaxroute.recipe.recommended import predict_ensemble as predict_ensemble
from jaxroute.recipe.recommended import temper as temper
