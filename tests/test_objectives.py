"""Any loss as an objective: keywords bound by name, and a wrong loss refused in one line before any training."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxroute import losses, numerics, policies
from jaxroute.learn import objectives
from jaxroute.types import Hyperparams, InputError

SCORES = jnp.array([[0.5, -1.0, 2.0], [0.0, 1.0, 0.0]])
UTILITY = jnp.array([[0.25, 0.5, 0.75], [0.5, 0.5, -0.25]])
WHERE = jnp.array([[True, True, True], [True, False, True]])
POINT = Hyperparams(temperature=0.5, entropy=0.125, label_temperature=0.25)


@pytest.mark.parametrize(
    ("name", "loss"),
    [
        ("rm_classification", losses.regret_cross_entropy),
        ("rm_classification_gap", partial(losses.regret_cross_entropy, weighting="gap")),
        ("rm_classification_soft", partial(losses.regret_cross_entropy, label_temperature=0.25)),
        ("dr_weighted_classification", losses.cost_sensitive_hinge),
        ("rm_softmax", partial(losses.softmax_regret, temperature=0.5)),
        ("rm_softmax_entropic", partial(losses.softmax_regret, temperature=0.5, entropy=0.125)),
    ],
)
def test_every_named_loss_is_the_function_with_its_knobs(name, loss):
    found = objectives.OBJECTIVES[name](SCORES, UTILITY, WHERE, POINT)
    np.testing.assert_array_equal(found, loss(SCORES, UTILITY, where=WHERE))
    objectives.check(objectives.LOSSES[name], num_models=3)


def test_binding_is_by_name_traced_and_the_same_object():
    def loss(scores, utility, where=None, *, temperature, margin=2.0, clip=0.0):
        return margin * temperature * numerics.masked_sum(scores * utility, where) + clip

    assert objectives.bind(loss) is objectives.bind(loss)
    objective = jax.jit(objectives.bind(loss))
    for temperature in (1.0, 3.0):
        found = objective(SCORES, UTILITY, WHERE, Hyperparams(temperature=temperature, clip=0.5))
        expected = 2 * temperature * (np.asarray(SCORES * UTILITY) * np.asarray(WHERE)).sum(1) + 0.5
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert objective._cache_size() == 1
    assert objectives.hyperparameters_of(partial(loss, clip=0.1)) == ("temperature",)


def plain(scores, utility, *, where=None):
    return -numerics.masked_sum(policies.softmax(scores, available=where) * utility, where)


def shaped(scores, utility, *, where=None):
    return plain(scores, utility, where=where).mean()


def whole(scores, utility, *, where=None):
    return scores - utility


def counts(scores, utility, *, where=None):
    return jnp.argmax(scores, -1)


def unfinished(scores, utility, *, where=None):
    return plain(scores, utility, where=where) + jnp.log(-jnp.ones(len(scores)))


def kinked(scores, utility, *, where=None):
    return jnp.sqrt(numerics.masked_sum(jnp.square(scores - scores), where)) + plain(scores, utility, where=where)


def unmasked(scores, utility, *, where=None):
    return -jnp.sum(jax.nn.softmax(scores) * jnp.where(where, utility, 0), -1)


def unmasked_best(scores, utility, *, where=None):
    return jnp.max(utility, -1) + plain(scores, utility, where=where)  # its gradient in the scores is right


def half_masked(scores, utility, *, where=None):
    """The classic: -inf and a softmax, which is NaN in a row without a model."""
    return -jnp.sum(jax.nn.softmax(jnp.where(where, scores, -jnp.inf)) * jnp.where(where, utility, 0), -1)


def infinite(scores, utility, *, where=None):
    return jnp.max(jnp.where(where, utility, jnp.inf), -1) - jnp.sum(jnp.where(where, scores, 0), -1)


def branching(scores, utility, *, where=None):
    return plain(scores, utility, where=where) if scores.sum() > 0 else jnp.zeros(len(scores))


def failing(scores, utility, *, where=None):
    return scores @ utility


def maskless(scores, utility):
    return -jnp.sum(jax.nn.softmax(scores) * utility, -1)


def wanting(scores, utility, *, where=None, power):
    return plain(scores, utility, where=where) ** power


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (shaped, r"loss shaped: gives shape \(\) for scores of shape \(6, 4\); .* one number a row, shape \(6,\)"),
        (whole, r"gives shape \(6, 4\)"),
        (counts, "one number a row"),
        (unfinished, "its value is not finite on finite scores and utilities"),
        (kinked, "its gradient in the scores is not finite on finite scores"),
        (unmasked, "depends on models that are masked"),
        (unmasked_best, "depends on models that are masked"),
        (half_masked, "in a row in which no model is available, where it has to be 0"),
        (infinite, "its value is not finite where some models are masked"),
        (branching, "TracerBoolConversionError"),
        (failing, r"loss failing: fails on a batch of shape \(6, 4\): TypeError"),
        (maskless, "loss maskless: takes no where="),
        (wanting, "needs power=, which is no hyperparameter"),
        (losses.greedy_regret, "its gradient in the scores is 0 everywhere"),
    ],
)
def test_a_wrong_loss_is_one_line(loss, words):
    with pytest.raises(InputError, match=words) as caught:
        objectives.check(loss, num_models=4)
    assert "\n" not in str(caught.value)


@pytest.mark.modes
@pytest.mark.parametrize("loss", [plain, partial(wanting, power=1.0), losses.spo_plus, losses.squared_utility_error])
@pytest.mark.parametrize("num_models", [2, 7])
def test_a_right_loss_passes(loss, num_models):
    objective = objectives.check(loss, num_models)
    assert objective(SCORES, UTILITY, WHERE, POINT).shape == (2,)
