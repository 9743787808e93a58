#!/usr/bin/env bash
# jax==0.10.2 with iree-base-compiler==3.13.0: with a symbolic batch, jax.export lowers the plain slice x[:, :4] to
# stablehlo.dynamic_gather, though both of its ends are known, and IREE compiles no dynamic gather. The same slice as
# jax.lax.slice_in_dim(x, 0, 4, axis=1) compiles, and x[:, :4] too once the batch has a size. So a program that runs in
# JAX and exports without a word cannot be compiled because of how a slice is spelled. Exits with 0 while this is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check jax==0.10.2 iree-base-compiler==3.13.0
JAX_PLATFORMS=cpu "$folder/bin/python" - <<'PY'
import jax
import jax.export
import jax.numpy as jnp
from iree import compiler


def plain(x):
    return x[:, :4]


def spelled(x):
    return jax.lax.slice_in_dim(x, 0, 4, axis=1)


def compiled(slice_, rows):
    """(whether the StableHLO gathers, whether IREE compiles it) for x [rows, 8]."""
    exported = jax.export.export(jax.jit(slice_))(jax.ShapeDtypeStruct((rows, 8), jnp.float32))
    program = exported.mlir_module()
    try:
        compiler.compile_str(program, target_backends=["llvm-cpu"], input_type="stablehlo",
                             extra_args=["--iree-llvmcpu-target-cpu=host"])
        return "dynamic_gather" in program, True
    except compiler.CompilerToolError as error:
        assert "failed to legalize operation 'stablehlo.dynamic_gather'" in str(error)
        return "dynamic_gather" in program, False


(any_size,) = jax.export.symbolic_shape("n")
found = {
    "x[:, :4], any batch": compiled(plain, any_size),
    "lax.slice_in_dim, any batch": compiled(spelled, any_size),
    "x[:, :4], batch of 32": compiled(plain, 32),
}
for case, (gathers, compiles) in found.items():
    print(f"{case}: {'a dynamic gather' if gathers else 'no gather'}, {'compiles' if compiles else 'does not compile'}")
assert list(found.values()) == [(True, False), (False, True), (False, True)]
PY
