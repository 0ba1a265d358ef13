"""Buckets: every text once a pass, in a batch of its bucket's shape, nothing cut off."""

import numpy as np
import pytest

from aigc_course.datasets.buckets import Buckets

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
