"""N-gram model: hand values, a slow second implementation, sums of one, the edges of a text, samples."""

from collections import Counter, defaultdict

import numpy as np
import pytest

from aigc_course.metrics.ngram import NGram
from aigc_course.runtime import CourseError

pytestmark = pytest.mark.any_backend

A, B, C = 4, 5, 6


def test_bigrams_by_hand():
    """Texts "a b" and "a c", D = 1/2. One context each for a, b and c: p(b) = 1/2/3 + 1/2 x 1/5 = 4/15."""
    model = NGram(order=2, discount=0.5).fit([[A, B], [A, C]])
    assert model.vocabulary_size == 7
    after_a = model.probabilities([A])
    assert after_a[B] == pytest.approx(0.5 / 2 + 0.5 * 4 / 15) and after_a[C] == pytest.approx(after_a[B])
    assert after_a[A] == pytest.approx(0.5 * 4 / 15) and after_a[2] == pytest.approx(0.5 * 0.5 / 5)
    assert model.probabilities()[A] == pytest.approx(1.5 / 2 + 0.25 * 4 / 15)
    found = np.exp(model.log_probabilities([[A, B]]))
    assert found == pytest.approx(np.array([[49 / 60, 23 / 60]]))


def test_continuation_counts_are_not_counts():
    """ "San Francisco": b comes often but after a only; c comes rarely but after two tokens, so it is more likely."""
    model = NGram(order=2, discount=0.5).fit([[A, B], [A, B], [A, B], [A, C], [C, A]])
    unseen = model.probabilities([B])  # nothing ever followed b
    assert unseen[C] > unseen[B]


def test_unigrams_are_relative_frequencies_without_discount():
    model = NGram(order=1, discount=0.0).fit([[A, A, B], [A, 0, 0]])
    assert model.probabilities()[[A, B, 2]] == pytest.approx([0.75, 0.25, 0])
    assert model.probabilities([B]) == pytest.approx(model.probabilities())


def slow(rows, order, discount, size):
    """The same model with dictionaries: a function of context (a tuple) and token."""
    runs = [Counter() for _ in range(order + 1)]
    for row in rows:
        row = [1] * (order - 1) + [token for token in row if token]
        for end in range(order, len(row) + 1):
            runs[order][tuple(row[end - order : end])] += 1
    for k in range(order - 1, 0, -1):
        fronts = defaultdict(set)
        for run in runs[k + 1]:
            fronts[run[1:]].add(run[0])
        runs[k] = Counter({run: len(front) for run, front in fronts.items()})

    def probability(context, token):
        k = len(context) + 1
        lower = probability(context[1:], token) if context else 1 / (size - 2)
        followers = {run: count for run, count in runs[k].items() if run[:-1] == context}
        total = sum(followers.values())
        if not total:
            return lower
        left = sum(min(discount, count) for count in followers.values()) / total
        return max(followers.get((*context, token), 0) - discount, 0) / total + left * lower

    return probability


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_equals_a_slow_implementation(order):
    rng = np.random.default_rng(order)
    rows = rng.integers(2, 7, (9, 8)) * (np.arange(8) < rng.integers(1, 9, (9, 1)))
    held_out = rng.integers(2, 9, (4, 7)) * (np.arange(7) < np.array([[7], [1], [4], [6]]))
    model = NGram(order, discount=0.7, vocabulary_size=9).fit(rows)
    expected = slow(rows.tolist(), order, 0.7, 9)
    found = model.log_probabilities(held_out)
    for n, row in enumerate(held_out):
        for t, token in enumerate(row):
            context = tuple([1] * (order - 1) + row[:t].tolist())[t:]
            assert found[n, t] == pytest.approx(np.log(expected(context, token)) if token else 0)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("discount", [None, 0.6])
def test_probabilities_sum_to_one_and_agree_with_log_probabilities(order, discount):
    rng = np.random.default_rng(0)
    tokens = np.minimum(2 + rng.geometric(0.15, (60, 12)), 39)
    model = NGram(order, discount, vocabulary_size=41).fit(tokens)
    row = np.array([5, 3, 40, 7, 3, 3])  # 40 was never seen
    found = model.log_probabilities(row[None])[0]
    for t, token in enumerate(row):
        distribution = model.probabilities(row[:t])
        assert distribution.shape == (41,) and distribution.sum() == pytest.approx(1)
        assert distribution[[0, 1]].tolist() == [0, 0] and (distribution[2:] > 0).all()
        assert np.log(distribution[token]) == pytest.approx(found[t])


def test_three_discounts_come_from_counts_of_counts():
    """Unigrams: ten tokens once, five twice, three three times, two four times; Y = 10 / 20."""
    tokens = [t for count, first, how_many in ((1, 4, 10), (2, 14, 5), (3, 19, 3), (4, 22, 2))
              for t in range(first, first + how_many) for _ in range(count)]  # fmt: skip
    model = NGram(order=1, vocabulary_size=30).fit([tokens])
    found, total, left = model.probabilities(), 37, None
    losses = {4: 1 - 2 * 0.5 * 5 / 10, 14: 2 - 3 * 0.5 * 3 / 5, 19: 3 - 4 * 0.5 * 2 / 3}
    left = (10 * losses[4] + 5 * losses[14] + 5 * losses[19]) / total
    assert found[29] == pytest.approx(left / 28)
    for token, count in ((4, 1), (14, 2), (19, 3)):
        assert found[token] == pytest.approx((count - losses[token]) / total + left / 28)
    assert found[22] == pytest.approx((4 - losses[19]) / total + left / 28)


def test_a_second_fit_forgets_the_first():
    model = NGram(2, discount=0.5).fit([[A, B]])
    again, fresh = model.fit([[A, 11]]), NGram(2, discount=0.5).fit([[A, 11]])
    assert again.vocabulary_size == 12
    assert again.probabilities([A]) == pytest.approx(fresh.probabilities([A]))
    assert NGram(2, vocabulary_size=20).fit([[A]]).fit([[A, B]]).vocabulary_size == 20


def test_padding_changes_nothing():
    rows = np.array([[A, B, 2, 0], [A, C, B, 2]])
    wider = np.pad(rows, ((0, 0), (0, 3)))
    one, two = NGram(3).fit(rows), NGram(3).fit(wider)
    assert one.log_probabilities(rows) == pytest.approx(two.log_probabilities(wider)[:, :4])
    assert (two.log_probabilities(wider)[:, 4:] == 0).all()


def test_a_later_token_changes_nothing_before_it():
    model = NGram(3).fit(np.random.default_rng(1).integers(2, 12, (20, 9)))
    row = np.array([[5, 3, 8, 9, 4]])
    other = row.copy()
    other[0, 3] = 6
    assert (model.log_probabilities(row)[0, :3] == model.log_probabilities(other)[0, :3]).all()


def test_higher_orders_predict_a_chain_better():
    rng = np.random.default_rng(2)
    steps = rng.choice([1, 2], (300, 15), p=[0.8, 0.2])
    rows = 3 + np.cumsum(steps, axis=1) % 20
    means = [NGram(order).fit(rows[:250]).log_probabilities(rows[250:]).mean() for order in (1, 2)]
    assert means[0] == pytest.approx(-np.log(20), abs=0.1)
    assert means[1] == pytest.approx(0.8 * np.log(0.8) + 0.2 * np.log(0.2), abs=0.2)


def test_samples_follow_the_distribution_and_end():
    model = NGram(order=2, discount=0.5).fit([[A, B, 2], [A, C, 2]])
    rows = model.sample(400, seed=3, prefix=[A])
    assert (rows[:, 0] == A).all() and np.mean(rows[:, 1] == B) == pytest.approx(model.probabilities([A])[B], abs=0.08)
    for row in rows:
        after_end = row[np.argmax(row == 2) + 1 :] if (row == 2).any() else row[:0]
        assert (after_end == 0).all()
    assert (rows == model.sample(400, seed=3, prefix=[A])).all()
    assert model.sample(3, max_new_tokens=2).shape[1] <= 2 and model.sample(0).shape == (0, 0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: NGram(0), "order is 0"),
        (lambda: NGram(1.5), "order is 1.5"),
        (lambda: NGram(np.nan), "order is nan"),
        (lambda: NGram(discount=1.5), "discount is 1.5"),
        (lambda: NGram(discount=np.nan), "discount is nan"),
        (lambda: NGram(vocabulary_size=2), "vocabulary_size is a whole number from 3 on, not 2"),
        (lambda: NGram(vocabulary_size=10.5), "vocabulary_size is a whole number"),
        (lambda: NGram().fit(np.zeros((0, 4), int)), "no text to count"),
        (lambda: NGram().fit([[4]]).probabilities([4.5]), "whole numbers"),
        (lambda: NGram().fit([[4]]).sample(1, prefix=[4.5]), "whole numbers"),
        (lambda: NGram().probabilities(), "call fit first"),
        (lambda: NGram().log_probabilities([[4]]), "call fit first"),
        (lambda: NGram().fit([4, 5]), r"rows of ids \[N, T\]"),
        (lambda: NGram().fit([[4.0]]), "whole numbers"),
        (lambda: NGram().fit([[1, 4]]), "holds START"),
        (lambda: NGram().fit([[4]]).log_probabilities([[9]]), "knows 0 to 4"),
    ],
)
def test_misuse_is_named(call, message):
    with pytest.raises(CourseError, match=message):
        call()
