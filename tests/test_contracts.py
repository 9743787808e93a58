"""What docs/contracts.md states of types and accuracy holds, and the page is what the tests say."""

import inspect

import contracts
import jax.numpy as jnp
import numpy as np
import pytest

from jaxroute import counterfactual, estimators, losses


@pytest.mark.slow
def test_the_page_is_current():
    assert contracts.PAGE.read_text() == contracts.page(), "write it anew with python tests/contracts.py"


def test_every_public_function_has_one():
    stated = {(c.group, c.name.split(",")[0]) for c in contracts.CONTRACTS}
    named = {f.__name__ for f in vars(losses).values() if inspect.isfunction(f) and f.__module__ == losses.__name__}
    assert {("losses", name) for name in named if not name.startswith("_")} <= stated
    assert {("estimators", name) for name in estimators.ESTIMATORS} <= stated
    assert {("counterfactual", name) for name in vars(counterfactual) if name.endswith("doubly_robust")} <= stated


@pytest.mark.slow
@pytest.mark.parametrize("contract", contracts.CONTRACTS, ids=lambda c: f"{c.group}.{c.name}")
def test_type_and_accuracy(contract):
    for kind in contracts.KINDS:
        found, exact = contracts.result(contract, kind)
        for x, y in zip(found, exact, strict=True):
            assert x.dtype.name in contracts.type_of(contract, kind)
            assert np.isfinite(np.asarray(y)).all()
            if contract.within is not None:
                eps, y = float(jnp.finfo(x.dtype).eps), np.asarray(y, np.float64)
                error = np.abs(np.asarray(x, np.float64) - y).max() / (eps * max(1, np.abs(y).max()))
                assert error <= contract.within, f"{jnp.dtype(kind).name}: {error:.1f} eps"
