"""Buckets and equal lengths: each text once a pass, in a batch of one shape, nothing cut off."""

import numpy as np
import pytest

from aigc_course.datasets.buckets import Buckets, EqualLengths

pytestmark = pytest.mark.any_backend


def texts(count=53, source=9, target=7):
    draw = np.random.default_rng(0)
    rows = []
    for width in (source, target):
        lengths = draw.integers(1, width + 1, count)
        lengths[0] = width
        rows.append(np.where(np.arange(width) < lengths[:, None], draw.integers(1, 90, (count, width)), 0))
    return (rows[0], rows[1] + 0), rows[1]


def filled(batch, width):
    return [tuple(row) for row in np.pad(batch, ((0, 0), (0, width - batch.shape[1])))]


def test_every_text_once_and_whole():
    inputs, targets = texts()
    data = Buckets(inputs, targets, [(3, 3), (6, 5)], batch_size=4)
    seen = []
    for index in range(len(data)):
        (source, given), wanted = data[index]
        assert (source.shape[1], wanted.shape[1]) in [(3, 3), (6, 5), (9, 7)] and given.shape == wanted.shape
        assert 1 <= len(source) <= 4
        seen += zip(filled(source, 9), filled(wanted, 7), strict=True)
    assert sorted(seen) == sorted(zip(map(tuple, inputs[0]), map(tuple, targets), strict=True))


def test_smallest_bucket_that_holds_a_text():
    source, target = np.array([[1, 1, 0, 0], [1, 1, 1, 0], [1, 0, 0, 0]]), np.array([[1, 1, 0], [1, 0, 0], [1, 1, 1]])
    assert Buckets((source, target), target, [(2, 2), (3, 2)]).bucket_of.tolist() == [0, 1, 2]


def test_order_changes_with_the_pass_and_follows_the_seed():
    inputs, targets = texts()
    first, same, other = (Buckets(inputs, targets, [(6, 5)], 4, seed) for seed in (1, 1, 2))
    order = [tuple(rows) for _, rows in first.batches]
    assert order == [tuple(rows) for _, rows in same.batches] != [tuple(rows) for _, rows in other.batches]
    first.on_epoch_end()
    assert order != [tuple(rows) for _, rows in first.batches]


# -------------------------------------------------------------------------------------------------- equal lengths


def rows_of(lengths, width=9):
    """Rows of ids, each with its number in front."""
    draw = np.random.default_rng(1)
    ids = np.where(np.arange(width) < np.array(lengths)[:, None], draw.integers(1, 90, (len(lengths), width)), 0)
    ids[:, 0] = np.arange(1, len(lengths) + 1)
    return ids


def test_rows_of_a_batch_have_one_length_and_targets_are_one_ahead():
    ids = rows_of([9, 4, 4, 9, 2, 4, 4, 9, 4])
    data = EqualLengths(ids, batch_size=2)
    seen = []
    for given, wanted in (data[index] for index in range(len(data))):
        assert given.shape == wanted.shape and 1 <= len(given) <= 2 and (given != 0).all() and (wanted != 0).all()
        np.testing.assert_array_equal(given[:, 1:], wanted[:, :-1])
        for row in np.column_stack([given, wanted[:, -1]]):
            np.testing.assert_array_equal(np.pad(row, (0, 9 - len(row))), ids[row[0] - 1])
            seen.append(row[0])
    assert len(seen) == len(set(seen))
    assert sorted(len(data[index][0]) for index in range(len(data))) == [1, 2, 2, 2]  # the only row of 2 is a batch


def test_what_fills_no_batch_waits_for_another_pass():
    data = EqualLengths(rows_of([5] * 7), batch_size=3)
    left_out = set()
    for _ in range(30):
        assert [len(data[index][0]) for index in range(len(data))] == [3, 3]
        left_out |= set(range(1, 8)) - {row[0] for index in range(2) for row in data[index][0]}
        data.on_epoch_end()
    assert left_out == set(range(1, 8))


def test_passes_differ_and_follow_the_seed():
    ids = rows_of([5, 6, 7] * 9)
    first, same, other = (EqualLengths(ids, 4, seed) for seed in (1, 1, 2))
    order = lambda data: [tuple(rows) for _, rows in data.batches]  # noqa: E731
    before = order(first)
    assert before == order(same) != order(other)
    for data in (first, same):
        data.on_epoch_end()
    assert before != order(first) == order(same)


@pytest.mark.parametrize("make", [
    lambda seed: EqualLengths(rows_of([5] * 20 + [6]), 4, seed),
    lambda seed: Buckets(*texts(), [(3, 3), (6, 5)], 4, seed),
], ids=["equal", "buckets"])  # fmt: skip
def test_the_first_two_batches_differ_in_shape(make):
    for seed in range(9):
        data = make(seed)
        assert data.batches[0][0] != data.batches[1][0]


@pytest.mark.parametrize("ids", [np.zeros((0, 5), int), np.zeros((2, 5), int), [[1, 2], [1, 0]]], ids=str)
def test_a_row_has_two_tokens_at_least(ids):
    with pytest.raises(ValueError, match="two tokens"):
        EqualLengths(ids)


@pytest.mark.parametrize(("ids", "words"), [
    ([1, 2, 3], "whole numbers"), ([[1.0, 2.0]], "whole numbers"), ([[1, 0, 2]], "in front"), ([[0, 1, 2]], "in front"),
], ids=str)  # fmt: skip
def test_equal_lengths_want_rows_padded_behind(ids, words):
    with pytest.raises(ValueError, match=words):
        EqualLengths(ids)


def test_batches_have_rows_and_bounds_rise():
    with pytest.raises(ValueError, match="batch_size"):
        EqualLengths(rows_of([5] * 4), batch_size=0)
    with pytest.raises(ValueError, match="batch_size"):
        Buckets(*texts(), [(3, 3)], batch_size=0)
    for bounds in ([(6, 5), (3, 3)], [(3, 5), (6, 3)]):
        with pytest.raises(ValueError, match="must rise"):
            Buckets(*texts(), bounds)
    assert len(Buckets(*texts(), [])) == 1
