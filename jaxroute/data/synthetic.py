"""A routing problem whose conditional means, and therefore best policy, are known.

Latent prompt n                                        Latent model k
    topic t_n, a place on a circle                         ability b_k, rising with price
    demand s_n for three skills                            skills v_k and expertise e_k[t] in each topic
    difficulty d_n, log length l_n                         price p_k, over two orders of magnitude
    contrast g_n: 1, or TIE_CONTRAST in topic_0           verbosity h_k

    mean quality   LOW + (HIGH - LOW) sigmoid(EASE - d_n + g_n (b_k + e_k[t_n] + v_k . s_n))
    mean cost      p_k exp(l_n + h_k d_n)                              in US dollars
    quality        Bernoulli with that mean; in every fourth topic (3, 7, ...) graded: Beta with that mean
    cost           mean cost * exp(COST_NOISE z - COST_NOISE^2 / 2), z standard normal: heavy-tailed
    features       tanh and linear mixtures of (place, s_n, d_n, l_n), plus a little noise

Prompts of one conversation (group, 1 to 4 prompts) share their topic and part of everything else.

These properties hold by construction and are tested:

- No model is best everywhere: the conditional oracle beats the best single model by 5 points of utility
  or more at normalised cost weights 0 to 0.5, and the best policies differ between cost weights.
- The model called ``dominated`` is worse and more expensive than another one on every prompt: no oracle chooses it.
- topic_0 (one prompt in ``num_topics``) is a near tie: qualities of all models lie within 0.02 of each
  other, so hard labels are arbitrary there and only the price matters.
- The latent variables can be recovered from the features up to their noise, so the conditional oracle is nearly the
  Bayes policy given the features: with enough feedback almost no regret against it remains. A topic is a place on a
  circle, so a linear model cannot recover it.

The construction is ours and imitates no particular benchmark.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from jaxroute.data.randomness import generator
from jaxroute.types import InputError, Key, Outcomes, Table

LOW, HIGH = 0.02, 0.98  # no outcome is certain, and the parameters of Beta stay positive
EASE = 0.3
SKILLS, SPECIALISATION = 3, 0.7  # number of skills; length of every model's skill vector, in logits
EXPERTISE = 0.8  # spread of a model's expertise over topics, in logits
ABILITY = 1.0  # half the difference in mean logits between the cheapest and the most expensive model
PRICES = (1e-4, 1.5e-2)  # US dollars: cheapest and most expensive model on a typical prompt
COST_NOISE = 0.6  # standard deviation of log cost given prompt and model
TIE_CONTRAST = 0.01
DISADVANTAGE, SURCHARGE = 0.6, 1.3  # of the dominated model: subtracted from the quality logit, factor on the cost
CONCENTRATION = 8.0  # of the Beta distribution of graded qualities


class _Prompts(NamedTuple):
    group: np.ndarray  # [N]
    turn: np.ndarray  # [N] position in the conversation
    topic: np.ndarray  # [N]
    place: np.ndarray  # [N, 2] the topic on its circle
    demand: np.ndarray  # [N, SKILLS]
    difficulty: np.ndarray  # [N]
    length: np.ndarray  # [N] logarithm, 0 for a typical prompt


def make(
    key: Key,
    *,
    num_prompts: int = 4000,
    num_models: int = 10,
    num_features: int = 32,
    num_topics: int = 8,
    feature_noise: float = 0.05,
) -> Table:
    """Draw a full-feedback table together with its conditional means.

    Every model answers every prompt. The top of the module has the formulas and their properties, which are tested for
    the default sizes.

    Args:
        key: JAX random key; it determines the models, the topics, the feature map and the prompts.
        num_prompts: N.
        num_models: K, at least 3, including the dominated one.
        num_features: D. There are 7 latent numbers; fewer features cannot represent them.
        num_topics: number of tasks, at least 2.
        feature_noise: standard deviation of the noise on features, whose own standard deviation is about 0.7.

    Returns:
        Table with outcomes and ``expected`` [N, K] (quality in [0, 1], cost in US dollars), features
        [N, D], tasks ``topic_<t>`` and conversations as groups.

    Raises:
        InputError: a size is too small.

    Example:
        >>> import jax
        >>> table = make(jax.random.key(0), num_prompts=100)
        >>> table.features.shape, table.outcomes.quality.shape, "dominated" in table.models
        ((100, 32), (100, 10), True)
    """
    sizes = {"num_prompts": (num_prompts, 1), "num_models": (num_models, 3)}
    sizes |= {"num_features": (num_features, 1), "num_topics": (num_topics, 2)}
    for name, (size, least) in sizes.items():
        if size < least:
            raise InputError(f"synthetic table: {name} is {size}; it must be at least {least}")
    rng = generator(key, "synthetic.make")
    prompts = _prompts(rng, num_prompts, num_topics)
    models, expected = _expected(rng, prompts, num_models, num_topics)
    numbered = zip(prompts.topic, prompts.group, prompts.turn, strict=True)
    table = Table(
        query_id=np.array([f"prompt_{n}" for n in range(num_prompts)], object),
        prompt=np.array([f"topic {t}, conversation {g}, turn {i}" for t, g, i in numbered], object),
        task=np.array([f"topic_{t}" for t in prompts.topic], object),
        group=prompts.group,
        features=_features(rng, prompts, num_features, feature_noise),
        models=models,
        outcomes=expected,
        available=np.ones((num_prompts, num_models), bool),
        expected=expected,
    )
    return redraw(key, table)


def redraw(key: Key, table: Table) -> Table:
    """The same prompts and models, with new outcomes drawn around the table's conditional means.

    Args:
        key: JAX random key; the key given to ``make`` reproduces the outcomes of ``make``.
        table: a table from ``make`` (or a part of one).

    Returns:
        The table with fresh ``outcomes``; everything else is the same.

    Example:
        >>> import jax
        >>> table = make(jax.random.key(0), num_prompts=100)
        >>> again = redraw(jax.random.key(1), table)
        >>> bool((again.outcomes.cost == table.outcomes.cost).any())
        False
    """
    if table.expected is None:
        raise InputError("redraw: the table has no conditional means; pass a table made by synthetic.make")
    rng = generator(key, "synthetic.redraw")
    mean, mean_cost = table.expected
    graded = np.array([int(task.removeprefix("topic_")) % 4 == 3 for task in table.task])
    binary = (rng.random(mean.shape) < mean).astype(float)
    beta = rng.beta(CONCENTRATION * mean, CONCENTRATION * (1 - mean))
    quality: Any = np.where(graded[:, None], beta, binary)
    cost = mean_cost * np.exp(COST_NOISE * rng.standard_normal(mean.shape) - COST_NOISE**2 / 2)
    return replace(table, outcomes=Outcomes(quality, cost))


def _prompts(rng: np.random.Generator, num_prompts: int, num_topics: int) -> _Prompts:
    group = np.repeat(np.arange(num_prompts), rng.integers(1, 5, num_prompts))[:num_prompts]
    turn = np.arange(num_prompts) - np.searchsorted(group, group)

    def latent(shared: float, own: float, size: int) -> np.ndarray:
        conversation, prompt = rng.standard_normal((2, num_prompts, size))
        return shared * conversation[group] + own * prompt

    topic = rng.integers(num_topics, size=num_prompts)[group]
    angle = 2 * np.pi * topic / num_topics + 0.05 * rng.standard_normal(num_prompts)
    difficulty = 0.4 * rng.standard_normal(num_topics)[topic] + latent(0.5, 0.7, 1)[:, 0]
    return _Prompts(
        group,
        turn,
        topic,
        place=np.stack([np.cos(angle), np.sin(angle)], 1),
        demand=latent(0.7, 0.7, SKILLS),
        difficulty=difficulty,
        length=0.3 * difficulty + latent(0.5, 0.5, 1)[:, 0],
    )


def _expected(
    rng: np.random.Generator, prompts: _Prompts, num_models: int, num_topics: int
) -> tuple[tuple[str, ...], Outcomes]:
    regular = num_models - 1
    rank = np.linspace(-1, 1, regular)
    price = np.exp(np.interp(rank, (-1, 1), np.log(PRICES)))
    verbosity = rng.uniform(0.0, 0.4, regular)
    # Fixed lengths keep the properties for every key: no model is good everywhere, and each is good somewhere.
    skills = rng.standard_normal((regular, SKILLS))
    skills *= SPECIALISATION / np.linalg.norm(skills, axis=1, keepdims=True)
    expertise = rng.standard_normal((regular, num_topics))
    expertise -= expertise.mean(1, keepdims=True)
    expertise *= EXPERTISE / expertise.std(1, keepdims=True)

    advantage = ABILITY * rank + expertise[:, prompts.topic].T + prompts.demand @ skills.T
    cost = price * np.exp(prompts.length[:, None] + prompts.difficulty[:, None] * verbosity)
    better = regular // 2
    advantage = np.c_[advantage, advantage[:, better] - DISADVANTAGE]
    cost = np.c_[cost, cost[:, better] * SURCHARGE]
    contrast = np.where(prompts.topic == 0, TIE_CONTRAST, 1.0)
    logit = EASE - prompts.difficulty[:, None] + contrast[:, None] * advantage
    quality = LOW + (HIGH - LOW) / (1 + np.exp(-logit))
    names = [*(f"model_{k}" for k in range(regular)), "dominated"]
    # Shuffled, because with models in order of price "lowest index" would silently mean "cheapest".
    order = rng.permutation(num_models)
    return tuple(names[k] for k in order), Outcomes(quality[:, order], cost[:, order])


def _features(rng: np.random.Generator, prompts: _Prompts, num_features: int, noise: float) -> np.ndarray:
    latents = np.c_[prompts.place, prompts.demand, prompts.difficulty, prompts.length]
    scale = 1 / np.sqrt(latents.shape[1])
    bent, straight = scale * rng.standard_normal((2, latents.shape[1], num_features))
    bias = rng.uniform(-1, 1, num_features)
    features = np.tanh(2 * latents @ bent + bias) + 0.1 * latents @ straight
    return (features + noise * rng.standard_normal(features.shape)).astype(np.float32)
