"""What the fuzzing of readers shares: how many cases, cells with what they mean, damage to bytes and to values.

Every cell comes with what it means, so what must come out is known without reading anything. FUZZ_CASES is how many
cases there are in all test modules together; `make fuzz` runs 20,000 and says how many loaded.
"""

import contextlib
import os
from collections import Counter
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from jaxroute.types import InputError, Outcomes, Table

CASES = int(os.environ.get("FUZZ_CASES", "800"))
PROPERTIES = 12  # the last one has 20 cases only
MISSING, BAD = "missing", "bad"
HERE = Path(__file__).parent

fuzz = settings(
    max_examples=-(-CASES // PROPERTIES),
    derandomize="FUZZ_CASES" not in os.environ,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


def counted():
    """The counts of a module's cases, which are printed at its end: the body of a fixture."""
    count = Counter()
    yield count
    print(f"\n{sum(count.values())} cases: {count['loaded']} loaded, {count['refused']} refused by our own error")


def attempt(tally, load):
    """What ``load`` returns, or None where it raised our own error; nothing else may happen."""
    loaded = None
    with contextlib.suppress(InputError):
        loaded = load()
    tally["refused" if loaded is None else "loaded"] += 1
    return loaded


words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=8).filter(str.strip)
unit = st.floats(0, 1, allow_subnormal=False)
amount = st.floats(0, 1e300)
junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | words,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(words, inner, max_size=2),
    max_leaves=3,
)


def same(cells):
    return cells.map(lambda cell: (cell, cell))


def means(meaning, *cells):
    return st.sampled_from([(cell, meaning) for cell in cells])


@st.composite
def damage(draw):
    """A function that damages bytes: cuts, flips, inserts, deletes."""
    kinds = st.sampled_from(["cut", "flip", "insert", "delete"])
    steps = draw(st.lists(st.tuples(kinds, st.floats(0, 1), st.binary(min_size=1, max_size=4)), min_size=1, max_size=3))

    def damaged(content):
        for kind, share, some in steps:
            at = int(share * len(content))
            if kind == "cut":
                content = content[:at]
            elif kind == "flip" and content:
                at = min(at, len(content) - 1)
                content = content[:at] + bytes([content[at] ^ some[0]]) + content[at + 1 :]
            elif kind == "insert":
                content = content[:at] + some + content[at:]
            else:
                content = content[:at] + content[at + some[0] % 16 :]
        return content

    return damaged


def spots(value, path=()):
    """Every place in a nested value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path] * bool(path) + [spot for key, item in inner for spot in spots(item, (*path, key))]


def replaced(value, path, new):
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(value[path[0]], path[1:], new)
    return copy


def small():
    """A table of three queries and two models, with a hole."""
    quality = np.array([[1.0, 0.0], [0.5, np.nan], [0.0, 1.0]])
    text = np.array(["a", "b", "c"], object)
    outcomes = Outcomes(quality, np.where(np.isnan(quality), np.nan, 0.25))
    features = np.arange(6, dtype=np.float32).reshape(3, 2)
    return Table(text, text, text, np.arange(3), features, ("x", "y"), outcomes, ~np.isnan(quality))


def sound(log):
    """What holds for any log that loads."""
    N, K = log.available.shape
    assert len(log) == N == len(log.quality) == len(log.cost)
    assert len(log.models) == K >= 2
    assert (np.isnan(log.quality) | ((log.quality >= 0) & (log.quality <= 1))).all()
    assert (np.isfinite(log.cost) & (log.cost >= 0)).all()
    assert log.available[np.arange(N), log.action].all()
