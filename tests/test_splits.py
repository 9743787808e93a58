"""Parts share no group, no near-duplicate and, where asked, no task."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from jaxroute.data import splits, synthetic, ties
from jaxroute.types import InputError


@pytest.fixture(scope="module")
def table():
    return synthetic.make(jax.random.key(0), num_prompts=2000)


def _with_prompts(table, prompts, group=None):
    small = table.rows(np.arange(len(prompts)))
    group = np.arange(len(prompts)) if group is None else np.array(group)
    return replace(small, prompt=np.array(prompts, object), group=group)


@pytest.mark.parametrize("seed", range(5))
def test_every_row_once_groups_whole_sizes_near_the_fractions(table, seed):
    parts = splits.split(seed, table)
    assert sorted(np.concatenate(parts).tolist()) == list(range(2000))
    groups = [set(table.group[part]) for part in parts]
    assert not groups[0] & groups[1] | groups[0] & groups[2] | groups[1] & groups[2]
    # The largest conversation has 4 prompts: half of it at each of at most two cuts.
    np.testing.assert_allclose([len(part) for part in parts], [1200, 300, 500], atol=4)


def test_seeds_differ_and_repeat(table):
    first, again, other = splits.split(1, table), splits.split(1, table), splits.split(2, table)
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    # Two independent tests of a quarter of the rows share about a quarter of theirs.
    common = len(set(first[2]) & set(other[2])) / len(first[2])
    assert 0.15 < common < 0.35


def test_groups_of_every_size_land_everywhere(table):
    """No part gets only long or only short conversations: test has its quarter of each size."""
    size = np.bincount(table.group)[table.group]
    share = np.zeros(5)
    for seed in range(20):
        test = splits.split(seed, table)[2]
        share += np.bincount(size[test], minlength=5) / np.bincount(size, minlength=5).clip(1) / 20
    np.testing.assert_allclose(share[1:], 0.25, atol=0.03)


def test_a_prefix_is_a_random_sample(table):
    """Tables come sorted by task; the first rows of a part must not."""
    by_task = table.rows(np.argsort(table.task, kind="stable"))
    train = splits.split(0, by_task)[0]
    assert set(by_task.task[train[:200]]) == set(table.task)
    assert abs(np.corrcoef(np.arange(len(train)), train)[0, 1]) < 0.1


def test_ties_chain_through_groups_and_texts(table):
    #          a    b            c           d    e           f
    prompts = ["x", "same text", "Same text!", "y", "SAME  text", "z"]
    groups = [0, 0, 1, 1, 2, 3]
    block = ties.tied(_with_prompts(table, prompts, groups))
    assert len(set(block[:5])) == 1  # a-b by group, b-c-e by text, c-d by group
    assert block[5] != block[0]


def test_near_duplicates_stay_together(table):
    prompts = [f"Question {n // 3}{' ?!'[n % 3]}" for n in range(300)]
    duplicated = _with_prompts(table, prompts)
    for seed in range(3):
        parts = splits.split(seed, duplicated)
        questions = [{n // 3 for n in part} for part in parts]
        assert not questions[0] & questions[1] | questions[0] & questions[2] | questions[1] & questions[2]


@pytest.mark.parametrize(
    ("prompts", "count"),
    [
        (["a b", "A  b!", "a\nb", "a c"], 2),
        (["Straße", "STRASSE"], 1),
        (["2+2", "22"], 0),
        (["snake_case", "snake case"], 1),
        (["?!", "!!", "?!", "🙂", "🙃", ""], 1),  # texts without words count as they stand
        (["早上好", "早上好。", "晚上好"], 1),
        ([], 0),
    ],
)
def test_near_duplicates_are_counted(prompts, count):
    assert ties.near_duplicates(prompts) == count


def test_held_out_tasks(table):
    for seed in range(5):
        train, validation, test = splits.split_tasks(seed, table)
        seen = set(table.task[train]) | set(table.task[validation])
        assert not seen & set(table.task[test])
        assert seen | set(table.task[test]) == set(table.task)
        assert len(train) + len(validation) + len(test) == 2000
        sizes = np.unique(table.task, return_counts=True)[1]
        assert abs(len(test) - 500) <= sizes.max() / 2  # as close to a quarter as whole tasks allow
        assert len(train) / (len(train) + len(validation)) == pytest.approx(0.8, abs=0.01)
        assert not set(table.group[train]) & set(table.group[validation])
    held = {frozenset(table.task[splits.split_tasks(seed, table)[2]]) for seed in range(5)}
    assert len(held) > 1


def test_rows_tied_to_a_held_out_task_are_left_out(table):
    small = _with_prompts(table, [f"own {n}" for n in range(100)] + [f"twin {n % 10}" for n in range(20)])
    small = replace(small, task=np.array(["a"] * 50 + ["b"] * 50 + ["a"] * 10 + ["b"] * 10, object))
    train, validation, test = splits.split_tasks(0, small)
    assert len(test) == 60
    assert len(train) + len(validation) == 50
    texts = set(small.prompt[np.concatenate([train, validation])])
    assert not texts & set(small.prompt[test])


def test_too_few_groups_or_tasks_are_refused(table):
    one = replace(table, group=np.zeros(2000, int))
    with pytest.raises(InputError, match="2000 prompts in 1 separate groups are too few"):
        splits.split(0, one)
    with pytest.raises(InputError, match="has only the task 'topic_0'"):
        splits.split_tasks(0, table.rows(np.flatnonzero(table.task == "topic_0")))


@pytest.mark.parametrize("fractions", [(0.6, 0.4), (0.6, 0.3, 0.3), (1.2, -0.2, 0.0), (np.nan, 0.5, 0.5)])
def test_fractions_that_are_no_shares_are_refused(table, fractions):
    with pytest.raises(InputError, match="three shares"):
        splits.split(0, table, fractions)


def test_a_part_may_be_empty_on_purpose(table):
    train, validation, test = splits.split(0, table, (0.5, 0.0, 0.5))
    assert len(validation) == 0
    assert len(train) + len(test) == 2000
    assert len(splits.split_tasks(0, table, (0.75, 0.0, 0.25))[1]) == 0


def test_a_moment_parts_the_rows_and_leaves_out_what_occurs_again_later(table):
    prompts = ["a", "b", "c", "d", "B!", "e", "f"]
    small = _with_prompts(table, prompts, [0, 1, 2, 3, 4, 3, 5])
    times = np.array([1.0, 2, 3, 4, 10, 11, 12])
    before, after = splits.split_moment(small, times, 10.0)
    assert (before.tolist(), after.tolist()) == ([0, 2], [4, 5, 6])  # b is asked again, and the user of d returns
    for moment in (0.0, 1.0, 13.0):
        with pytest.raises(InputError, match=r"of 7 rows are before that moment, .* name another moment"):
            splits.split_moment(small, times, moment)


def test_leakage_is_counted_against_a_loop(table):
    rng = np.random.default_rng(0)
    prompts = [f"Question {n}{'?' * (n % 2)}" for n in rng.integers(0, 60, 120)]
    small = _with_prompts(table, prompts, rng.integers(0, 200, 120))
    parts = np.split(rng.permutation(120), [60, 90])
    seen_texts, seen_groups, texts, groups = set(), set(), 0, 0
    for part in parts:
        texts += sum(small.prompt[row].rstrip("?") in seen_texts for row in part)
        groups += sum(small.group[row] in seen_groups for row in part)
        seen_texts |= {small.prompt[row].rstrip("?") for row in part}
        seen_groups |= set(small.group[part])
    assert texts > 20
    assert groups > 5
    assert ties.leakage(small, parts) == (120 - len(seen_texts), texts, groups, 0)
    ungrouped = _with_prompts(table, prompts)
    clean = ties.leakage(ungrouped, splits.split(0, ungrouped))
    assert clean == (120 - len(seen_texts), 0, 0, 0)


def test_repeated_rows_and_rows_outside_the_table(table):
    assert ties.leakage(table, [np.arange(10), np.arange(9, 12)]).repeated_rows == 1
    assert ties.leakage(table, [np.arange(3), np.array([], int)]).repeated_rows == 0
    with pytest.raises(InputError, match="rows run from 0 to 2000"):
        ties.leakage(table, [np.array([0, 2000])])
