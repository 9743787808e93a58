# %% [markdown]
# # Pure losses in a training loop of one's own, and a sweep
#
# The losses of jaxroute are functions of arrays. Here optax trains a linear router on them, for one setting and then
# for many at once with `vmap`. `make notebooks` runs this as a notebook; it is also a script.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import optax

import jaxroute as jr

table = jr.data.synthetic.make(jax.random.key(0), num_prompts=1500, num_models=4)
train, _, test = (table.rows(rows) for rows in jr.data.splits.split(0, table))
logs = jax.tree.map(jnp.asarray, jr.data.simulate.simulate(jax.random.key(1), train, jr.data.simulate.uniform()))

# %% [markdown]
# The log has one answer a prompt. Doubly robust pseudo-outcomes stand in for the others.

# %%
spec = jr.types.NuisanceSpec(("mean", "ridge"), folds=3)
nuisances, _ = jr.nuisance.fit(jax.random.key(2), logs, spec)
outcomes = jr.counterfactual.doubly_robust(logs, nuisances, clip=0.05)
optimiser = optax.adam(0.01)


def fit(cost_weight, temperature):
    """A linear router, trained for 300 steps on the regret of its softmax policy."""
    utility = jr.counterfactual.utility(outcomes, cost_weight)

    def loss(params):
        scores = logs.features @ params["kernel"] + params["bias"]
        return jr.losses.softmax_regret(scores, utility, temperature=temperature).mean()

    def step(state, _):
        params, memory = state
        value, gradient = jax.value_and_grad(loss)(params)
        updates, memory = optimiser.update(gradient, memory)
        return (optax.apply_updates(params, updates), memory), value

    params = {"kernel": jnp.zeros((logs.features.shape[1], 4)), "bias": jnp.zeros(4)}
    (params, _), values = jax.lax.scan(step, (params, optimiser.init(params)), length=300)
    return params, values


params, values = jax.jit(fit)(0.5, 0.3)
plt.plot(values)
plt.xlabel("step")
plt.ylabel("regret of the softmax policy")

# %% [markdown]
# The sweep: every cost weight and temperature in one program.

# %%
cost_weights, temperatures = jnp.array([0.0, 0.25, 0.5, 1.0, 2.0]), jnp.array([0.1, 0.3, 1.0])
weight, temperature = (grid.ravel() for grid in jnp.meshgrid(cost_weights, temperatures, indexing="ij"))
swept, _ = jax.jit(jax.vmap(fit))(weight, temperature)


def regret(params, cost_weight):
    """On test prompts that every model answered."""
    policy = jr.policies.greedy(test.features @ params["kernel"] + params["bias"])
    return jr.metrics.regret(policy, test.outcomes, cost_weight).mean()


found = jax.vmap(regret)(swept, weight).reshape(5, 3)
for column, value in enumerate(temperatures):
    plt.plot(cost_weights, 100 * found[:, column], marker="o", label=f"temperature {value:g}")
plt.xlabel("cost weight")
plt.ylabel("regret (points)")
plt.legend()
print(f"lowest mean regret: {100 * found.mean(0).min():.1f} points")
