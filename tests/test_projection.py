import jax.numpy as jnp
import numpy as np

from jaxroute import projection

RNG = np.random.default_rng(0)
FEATURES = (RNG.normal(size=(300, 6)) @ RNG.normal(size=(6, 6)) + 3.0).astype(np.float32)


def test_columns_are_standardised_and_uncorrelated():
    z = projection.project(projection.fit(FEATURES, jnp.ones(300)), FEATURES)
    np.testing.assert_allclose(np.cov(z.T, bias=True), np.eye(6), atol=2e-3)
    np.testing.assert_allclose(np.mean(z, 0), 0, atol=1e-4)


def test_agrees_with_numpy_principal_components():
    fitted = projection.fit(FEATURES, jnp.ones(300), dimensions=2)
    centred = FEATURES - FEATURES.mean(0)
    _, singular, axes = np.linalg.svd(centred.astype(np.float64), full_matrices=False)
    expected = centred @ axes[:2].T / (singular[:2] / np.sqrt(300))
    np.testing.assert_allclose(np.abs(projection.project(fitted, FEATURES)), np.abs(expected), atol=2e-3)


def test_rows_of_weight_zero_are_never_seen():
    weight = jnp.asarray((np.arange(300) < 200).astype(np.float32))
    wild = FEATURES.copy()
    wild[200:] = 1e3
    seen, unseen = projection.fit(FEATURES, weight), projection.fit(wild, weight)
    np.testing.assert_array_equal(seen.basis, unseen.basis)


def test_constant_and_repeated_columns_stay_finite():
    x = np.c_[FEATURES[:, :2], FEATURES[:, :1], np.ones(300)].astype(np.float32)
    z = projection.project(projection.fit(x, jnp.ones(300)), x)
    assert np.isfinite(z).all()
    assert np.abs(z).max() < 10


def test_a_direction_that_hardly_varies_is_mapped_to_0_and_not_scaled_up():
    x = np.array([[1, 1e-6], [1, -1e-6], [-1, 1e-6], [-1, -1e-6]], np.float32)
    z = projection.project(projection.fit(x, jnp.ones(4)), x)
    np.testing.assert_allclose(np.abs(z), [[1, 0]] * 4, atol=1e-6)
