"""Does a faster matrix product cost regret? The same routers trained at float32, TF32 and bfloat16.

    make bench-precision DATA=<folder> CONFIG=default        SMOKE=1 for seconds

Only the products of training change (``Spec.matmul_precision``); validation and decisions stay at full precision. A CPU
computes every product in float32, so the products of an accelerator are emulated there: operands are rounded to 10 or 7
bits of mantissa in the forward and both backward products, and sums are in float32. Writes
results/bench/precision.json.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import pandas as pd
from jaxtyping import Array, Float
from rich.progress import track

from experiments import commands, configs, methods, settings, storage
from experiments.methods.experiment import Experiment
from experiments.problem import build
from experiments.problem.table import prepare
from experiments.study.tables import markdown
from jaxroute import metrics, sweep
from jaxroute.system import stopping

ASKED = "jax_default_matmul_precision"
MANTISSA = {"tensorfloat32": 10, "bfloat16": 7}
METHODS = ("rm_softmax", "rm_softmax_entropic", "rm_classification")


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def product(x: Float[Array, "B M"], w: Float[Array, "M N"], bits: int) -> Float[Array, "B N"]:
    """x w with both operands rounded to ``bits`` bits of mantissa, and so are the operands of its gradients.

    >>> row, ones = jnp.array([[1.0, 2.0**-8]]), jnp.ones((2, 1))
    >>> print(product(row, ones, 7), product(row + 2.0**-8, ones, 7))  # sums keep what operands lose
    [[1.0039062]] [[1.0078125]]
    """
    return _rounded(x, bits) @ _rounded(w, bits)


def _rounded(x: Array, bits: int) -> Array:
    return jax.lax.reduce_precision(x, exponent_bits=8, mantissa_bits=bits)


def _forward(x: Array, w: Array, bits: int) -> tuple[Array, tuple[Array, Array]]:
    return product(x, w, bits), (x, w)


def _backward(bits: int, saved: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    x, w = (_rounded(y, bits) for y in saved)
    gradient = _rounded(gradient, bits)
    return gradient @ w.T, x.T @ gradient


product.defvjp(_forward, _backward)


def emulated() -> contextlib.AbstractContextManager[None]:
    """While open, dense layers traced on a CPU obey the matmul precision that is asked for."""
    if jax.default_backend() != "cpu":
        return contextlib.nullcontext()
    return nn.intercept_methods(_obey)


def _obey(call: Callable[..., Any], args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
    layer, bits = context.module, MANTISSA.get(str(getattr(jax.config, ASKED)))
    if bits is None or not isinstance(layer, nn.Dense) or not layer.has_variable("params", "kernel"):
        return call(*args, **kwargs)
    (x,), weights = args, layer.variables["params"]
    y = product(x.reshape(-1, x.shape[-1]), weights["kernel"], bits)
    y = y.reshape(*x.shape[:-1], -1)
    return y + jnp.broadcast_to(weights["bias"], y.shape)


def compare(config: settings.Config) -> pd.DataFrame:
    """A row per method and precision: mean regret, its difference to float32 by seed, decisions that differ."""
    data = prepare(config)
    problems = build.build(config, data)
    weights = jnp.asarray(config.cost_weights, jnp.float32)

    @jax.jit
    def regret(probabilities: Array) -> Array:
        """Mean over prompts and cost weights, [S]."""

        def of_seed(policy: Array, test: Any) -> Array:
            at = jax.vmap(lambda p, w: metrics.regret(p, test.outcomes, w, available=test.available))
            return jnp.mean(at(policy, weights))

        return jax.vmap(of_seed)(probabilities, problems.test)

    lines = []
    for name in track(METHODS, description="training", disable=not sys.stderr.isatty()):
        decided = {}
        for precision in ("float32", *MANTISSA):
            spec = dataclasses.replace(config.training, matmul_precision=precision)
            ours = dataclasses.replace(config, training=spec, between=())
            experiment = Experiment(ours, problems, data.table.models, sweep.mesh())
            with emulated():
                decided[precision] = methods.get(name).run(experiment)
            base, here = (regret(decided[p]) for p in ("float32", precision))
            change = metrics.paired_interval(100 * here, 100 * base)
            other = jnp.mean(jnp.argmax(decided[precision], -1) != jnp.argmax(decided["float32"], -1))
            lines.append(
                {
                    "method": name,
                    "precision": precision,
                    "regret": 100 * float(jnp.mean(here)),
                    "difference": float(change.estimate),
                    "low": float(change.low),
                    "high": float(change.high),
                    "decided otherwise, %": 100 * float(other),
                }
            )
    return pd.DataFrame(lines)


def main(arguments: list[str] | None = None) -> int:
    options = commands.parser("bench.precision", __doc__, config="default").parse_args(arguments)

    def work() -> None:
        config = configs.load(options.config, smoke=options.smoke, data=options.data)
        found = compare(config)
        how = "emulated on a CPU" if jax.default_backend() == "cpu" else str(jax.devices()[0].device_kind)
        folder = options.out / "bench"
        folder.mkdir(parents=True, exist_ok=True)
        dataset = settings.dataset_name(config.data, config.tasks)
        record = {"dataset": dataset, "seeds": config.seeds, "products": how, "rows": found.to_dict("records")}
        storage.write_text(folder / "precision.json", json.dumps(record, indent=1))
        print(f"{dataset}, {config.seeds} seeds, products {how}; points, difference to float32 paired by seed\n")
        print(markdown(found.round(3)))

    return commands.exit_code(work)


if __name__ == "__main__":
    stopping.leave(main())
