#!/usr/bin/env bash
# jax==0.10.2 on a CPU with fused multiply-add, with JAX_DISABLE_MOST_OPTIMIZATIONS=1: in one jitted program,
# argmax((s == max(s)) & mask) over s = quality - weight * cost picks the first model where another is the best. No
# score equals the row's largest: XLA computes s twice, for the comparison and for the maximum, and joins its product and
# its difference to one rounding in only one of them. jax.lax.optimization_barrier around s does not help (in jax 0.12.0
# it does). The same scores given as an argument, argmax(where(mask, s, -inf)), the same program compiled as usual, and
# code for AVX, which has no such instruction, are right. So the setting changes decisions, not speed alone. Seen: 58 of
# 384 choices wrong. Exits with 0 while this is so, and where the CPU has no FMA.
set -euo pipefail
grep -q '\bfma\b' /proc/cpuinfo || { echo "this CPU has no FMA: nothing to show"; exit 0; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check jax==0.10.2
cat > "$folder/choose.py" <<'PY'
import jax
import jax.numpy as jnp
import numpy as np

rng = np.random.default_rng(0)
quality, cost = (np.float32(rng.random((96, 4))) for _ in range(2))
weight = np.float32([0.1, 0.45, 0.7, 1.35])[:, None, None]
mask = np.ones((96, 4), bool)


def of_largest(s, mask):
    return jnp.argmax((s == jnp.max(s, -1, keepdims=True)) & mask, -1)


def scores(quality, cost, weight):
    return quality - weight * cost


ways = {
    "compared": lambda *a: of_largest(scores(*a[:3]), a[3]),
    "barrier": lambda *a: of_largest(jax.lax.optimization_barrier(scores(*a[:3])), a[3]),
    "argmax": lambda *a: jnp.argmax(jnp.where(a[3], scores(*a[:3]), -jnp.inf), -1),
}
expected = scores(quality, cost, weight).argmax(-1)
wrong = {name: int((np.asarray(jax.jit(way)(quality, cost, weight, mask)) != expected).sum()) for name, way in ways.items()}
wrong["given"] = int((np.asarray(jax.jit(of_largest)(scores(quality, cost, weight), mask)) != expected).sum())
print(*(f"{name}={count}" for name, count in wrong.items()), "of", expected.size)
PY
usual=$(JAX_PLATFORMS=cpu "$folder/bin/python" "$folder/choose.py")
avx=$(JAX_PLATFORMS=cpu JAX_DISABLE_MOST_OPTIMIZATIONS=1 XLA_FLAGS=--xla_cpu_max_isa=AVX "$folder/bin/python" "$folder/choose.py")
few=$(JAX_PLATFORMS=cpu JAX_DISABLE_MOST_OPTIMIZATIONS=1 "$folder/bin/python" "$folder/choose.py")
echo "as usual:           $usual"
echo "few optimisations:  $few"
echo "the same, no FMA:   $avx"
[[ $usual == "compared=0 barrier=0 argmax=0 given=0 of 384" && $avx == "$usual" ]]
[[ $few =~ ^compared=[1-9][0-9]*\ barrier=[1-9][0-9]*\ argmax=0\ given=0\ of\ 384$ ]]
