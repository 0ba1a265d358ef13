"""The scores agree with their definitions, know their floors, and refuse what they cannot score."""

import itertools
import math
import re
import warnings
from functools import cache

import numpy as np
import pytest
import scipy.linalg

from aigc_course import metrics
from aigc_course.datasets import load_digits
from aigc_course.metrics import checks
from aigc_course.runtime import CourseError

pytestmark = pytest.mark.any_backend  # test_scorer.py has the networks


def generator(seed=0):
    return np.random.default_rng(seed)


def gaussian_features(rng, num_rows, width, rank=None):
    """Correlated features [num_rows, width] whose covariance has the given rank."""
    rank = rank or width
    return rng.normal(size=(num_rows, rank)) @ rng.normal(size=(rank, width)) / np.sqrt(rank) + rng.normal(size=width)


def moments(features):
    return features.mean(axis=0), np.cov(features, rowvar=False)


def frechet_by_sqrtm(a, b):
    """The formula as it stands in the paper, with SciPy's root of the product."""
    (mean_a, cov_a), (mean_b, cov_b) = a, b
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", scipy.linalg.LinAlgWarning)  # singular on purpose
        root = scipy.linalg.sqrtm(cov_a @ cov_b)
    return np.sum((mean_a - mean_b) ** 2) + np.trace(cov_a + cov_b - 2 * np.real(root))


# --- Fréchet distance


@pytest.mark.parametrize(("num_rows", "width"), [(300, 5), (700, 64)])
def test_frechet_agrees_with_scipy(num_rows, width):
    rng = generator()
    a, b = gaussian_features(rng, num_rows, width), gaussian_features(rng, num_rows + 7, width)
    expected = frechet_by_sqrtm(moments(a), moments(b))
    assert metrics.frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)
    assert metrics.frechet_distance(moments(a), moments(b)) == pytest.approx(expected, rel=1e-9)
    assert metrics.frechet_distance(moments(a), b) == pytest.approx(expected, rel=1e-9)


def test_frechet_agrees_with_scipy_where_features_are_dead():
    """A feature that never fires makes both covariances singular."""
    rng = generator(1)
    a, b = gaussian_features(rng, 200, 6), gaussian_features(rng, 200, 6)
    padded_a, padded_b = (np.pad(x, ((0, 0), (0, 3))) for x in (a, b))
    found = metrics.frechet_distance(padded_a, padded_b)
    assert found == pytest.approx(frechet_by_sqrtm(moments(padded_a), moments(padded_b)), rel=1e-9)
    assert found == pytest.approx(metrics.frechet_distance(a, b), rel=1e-9)


@pytest.mark.parametrize(("num_rows", "rank", "other_rank"), [(500, 9, 9), (500, 9, 32), (20, 32, 32)])
def test_frechet_is_exact_where_covariances_are_singular(num_rows, rank, other_rank):
    """With centred rows X, Y: Tr (C_a C_b)^(1/2) is the nuclear norm of X Y^T, without a root of anything singular."""
    rng = generator(2)
    a, b = gaussian_features(rng, num_rows, 32, rank), gaussian_features(rng, num_rows + 3, 32, other_rank)
    x, y = a - a.mean(axis=0), b - b.mean(axis=0)
    cross = np.linalg.norm(x @ y.T, "nuc") / np.sqrt((len(a) - 1) * (len(b) - 1))
    gap = np.sum((a.mean(axis=0) - b.mean(axis=0)) ** 2)
    expected = gap + np.trace(moments(a)[1]) + np.trace(moments(b)[1]) - 2 * cross
    found = metrics.frechet_distance(a, b)
    assert found == pytest.approx(expected, rel=1e-9)
    assert found == pytest.approx(frechet_by_sqrtm(moments(a), moments(b)), rel=1e-6)  # SciPy loses digits here


def test_frechet_of_diagonal_gaussians_is_the_closed_form():
    rng = generator(3)
    mean_a, mean_b = rng.normal(size=(2, 7))
    deviation_a, deviation_b = rng.uniform(0.1, 3, size=(2, 7))
    deviation_b[2] = 0
    expected = np.sum((mean_a - mean_b) ** 2) + np.sum((deviation_a - deviation_b) ** 2)
    found = metrics.frechet_distance((mean_a, np.diag(deviation_a**2)), (mean_b, np.diag(deviation_b**2)))
    assert found == pytest.approx(expected, abs=1e-9)


def test_frechet_by_hand():
    """N(0, 1) and N(3, 4): 3^2 + (1 - 2)^2 = 10."""
    one, other = (np.zeros(1), np.eye(1)), (np.full(1, 3.0), np.full((1, 1), 4.0))
    assert metrics.frechet_distance(one, other) == pytest.approx(10)
    assert metrics.frechet_distance(other, other) == pytest.approx(0, abs=1e-9)


def test_frechet_floor_falls_with_the_number_of_rows():
    rng = generator(4)
    floors = [metrics.frechet_distance(*rng.normal(size=(2, n, 32))) for n in (100, 400, 1600)]
    assert floors[0] > 3 * floors[1] > 9 * floors[2] > 0


@pytest.mark.parametrize(
    ("a", "b", "words"),
    [
        (np.ones((1, 3)), np.ones((5, 3)), "1 rows"),
        (np.ones(3), np.ones((5, 3)), "one row for each"),
        (np.full((5, 3), np.nan), np.ones((5, 3)), "NaN"),
        (np.ones((5, 3)), np.full((5, 3), np.inf), "infinite"),
        (np.ones((5, 3)), np.ones((5, 4)), "different widths"),
        ((np.zeros(3), np.eye(2)), np.ones((5, 3)), "do not fit"),
        ((np.zeros(2), np.array([[1.0, 0.5], [0.1, 1.0]])), np.ones((5, 2)), "not symmetric"),
        ((np.zeros(2), np.diag([1.0, -1.0])), np.ones((5, 2)), "negative eigenvalue"),
        ((np.zeros(2), np.diag([1.0, np.nan])), np.ones((5, 2)), "NaN"),
    ],
)
def test_frechet_refuses(a, b, words):
    with pytest.raises(CourseError, match=words):
        metrics.frechet_distance(a, b)


# --- kernel distance


def kernel_by_loops(a, b):
    def kernel(x, y):
        return (float(np.dot(x, y)) / len(x) + 1) ** 3

    def within(rows):
        return np.mean([kernel(rows[i], rows[j]) for i in range(len(rows)) for j in range(len(rows)) if i != j])

    return within(a) + within(b) - 2 * np.mean([kernel(x, y) for x in a for y in b])


def test_kernel_distance_is_its_definition(monkeypatch):
    rng = generator(5)
    a, b = gaussian_features(rng, 13, 5), gaussian_features(rng, 11, 5)
    value, error = metrics.kernel_distance(a, b)
    assert value == pytest.approx(kernel_by_loops(a, b), rel=1e-12)
    assert error > 0
    monkeypatch.setattr(checks, "BLOCK", 30)
    assert metrics.kernel_distance(a, b) == pytest.approx((value, error), rel=1e-12)


def test_kernel_distance_is_the_average_over_all_subsets():
    rng = generator(6)
    a, b = gaussian_features(rng, 6, 3), gaussian_features(rng, 5, 3)
    subsets = itertools.product(itertools.combinations(range(6), 3), itertools.combinations(range(5), 3))
    average = np.mean([kernel_by_loops(a[list(one)], b[list(other)]) for one, other in subsets])
    assert metrics.kernel_distance(a, b)[0] == pytest.approx(average, rel=1e-12)


def test_kernel_distance_is_unbiased_for_equal_distributions():
    """The mean of 300 values is 0 within four standard errors, at 20 rows; with i = j counted it would be far off."""
    rng = generator(7)
    samples = rng.normal(size=(300, 2, 20, 6))
    values = np.array([metrics.kernel_distance(a, b, num_subsets=2)[0] for a, b in samples])
    assert abs(values.mean()) < 4 * values.std(ddof=1) / np.sqrt(len(values))
    diagonal = 2 * np.mean((np.sum(samples[:, 0] ** 2, axis=-1) / 6 + 1) ** 3) / 20
    assert diagonal > 10 * values.std(ddof=1) / np.sqrt(len(values))


@pytest.mark.parametrize(("shift", "low", "high"), [(1.0, 0.8, 1.25), (0.0, 1.0, 2.0)])
@pytest.mark.parametrize("subset_size", [None, 50])
def test_kernel_distance_standard_error_is_the_spread_over_fresh_samples(shift, low, high, subset_size):
    rng = generator(8)
    pairs = [(rng.normal(size=(200, 6)), rng.normal(shift, 1, size=(200, 6))) for _ in range(150)]
    found = np.array([metrics.kernel_distance(a, b, 40, subset_size, seed=i) for i, (a, b) in enumerate(pairs)])
    if subset_size and not shift:
        high = 4.0  # small subsets overstate the error where there is nothing to see
    assert low < np.mean(found[:, 1]) / np.std(found[:, 0], ddof=1) < high


def test_kernel_distance_depends_on_the_seed_in_its_error_only():
    a, b = generator(9).normal(size=(2, 50, 4))
    first, again, other = (metrics.kernel_distance(a, b, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first[0] == pytest.approx(other[0], rel=1e-12) and first[1] != other[1]


@pytest.mark.parametrize(
    ("a", "settings", "words"),
    [
        (np.ones((3, 4)), {}, "3 rows"),
        (np.full((9, 4), np.nan), {}, "NaN"),
        (np.ones((9, 5)), {}, "different widths"),
        (np.ones((9, 4)), {"subset_size": 9}, "subsets"),
        (np.ones((9, 4)), {"num_subsets": 1}, "subsets"),
    ],
)
def test_kernel_distance_refuses(a, settings, words):
    with pytest.raises(CourseError, match=words):
        metrics.kernel_distance(a, np.ones((8, 4)), **settings)


# --- precision and recall


def precision_by_loops(real, fake, k):
    radii = [np.sort([np.linalg.norm(x - y) for y in real])[k] for x in real]  # entry 0 is the point itself
    return np.mean([any(np.linalg.norm(f - x) <= r for x, r in zip(real, radii, strict=True)) for f in fake])


@pytest.mark.parametrize("k", [1, 3])
def test_precision_and_recall_are_their_definition(k, monkeypatch):
    rng = generator(10)
    real, fake = rng.normal(size=(43, 3)), rng.normal(0.7, 0.8, size=(37, 3))
    expected = precision_by_loops(real, fake, k), precision_by_loops(fake, real, k)
    assert 0 < expected[0] < 1 and 0 < expected[1] < 1 and expected[0] != expected[1]
    assert metrics.precision_recall(real, fake, k) == pytest.approx(expected)
    monkeypatch.setattr(checks, "BLOCK", 100)
    assert metrics.precision_recall(real, fake, k) == pytest.approx(expected)
    assert metrics.precision_recall(real + 1e6, fake + 1e6, k) == pytest.approx(expected)


def test_precision_and_recall_of_toys():
    rng = generator(11)
    real = rng.normal(size=(300, 4))
    assert metrics.precision_recall(real, real) == (1, 1)
    assert metrics.precision_recall(real, real + 100) == (0, 0)
    collapsed = np.median(real, axis=0) + 0.01 * rng.normal(size=(300, 4))
    precision, recall = metrics.precision_recall(real, collapsed)
    assert precision == 1 and recall < 0.02
    scattered = 4 * rng.normal(size=(300, 4))  # covers what is real, and much that is not
    precision, recall = metrics.precision_recall(real, scattered)
    assert precision < 0.3 and recall > 0.9


def test_precision_counts_a_point_on_the_sphere():
    real = np.array([[0.0], [1.0], [10.0], [11.0]])
    fake = np.array([[2.0], [12.0], [5.5], [-1.0]])
    assert metrics.precision_recall(real, fake, k=1)[0] == 0.75


def test_precision_refuses():
    with pytest.raises(CourseError, match="at least 4"):
        metrics.precision_recall(np.ones((3, 2)), np.ones((9, 2)))
    with pytest.raises(CourseError, match="k is 0"):
        metrics.precision_recall(np.ones((9, 2)), np.ones((9, 2)), k=0)
    with pytest.raises(CourseError, match="different widths"):
        metrics.precision_recall(np.ones((9, 2)), np.ones((9, 3)))


# --- modes


def test_modes():
    assert metrics.mode_histogram(np.array([0, 2, 2, 9])).tolist() == [1, 0, 2, 0, 0, 0, 0, 0, 0, 1]
    assert metrics.effective_modes(np.full(50, 7)) == pytest.approx(1)
    assert metrics.effective_modes(np.arange(1000) % 10) == pytest.approx(10)
    assert metrics.effective_modes(np.array([0, 0, 0, 1]), 2) == pytest.approx(0.75**-0.75 * 0.25**-0.25)
    assert metrics.effective_modes(np.array([[1.0, 0, 0], [0, 1.0, 0]])) == pytest.approx(2)


def test_effective_modes_of_a_balanced_sample_are_a_little_below_the_number_of_classes():
    rng = generator(12)
    found = np.mean([metrics.effective_modes(rng.integers(0, 10, 1000)) for _ in range(300)])
    assert found == pytest.approx(10 * (1 - 9 / 2000), abs=0.01)


@pytest.mark.parametrize("labels", [np.array([0, 10]), np.array([-1, 2]), np.array([0.5, 1]), np.array([], int)])
def test_modes_refuse_what_is_no_class(labels):
    with pytest.raises(CourseError):
        metrics.effective_modes(labels)


def test_modes_refuse_logits():
    with pytest.raises(CourseError, match="softmax"):
        metrics.effective_modes(np.array([[2.0, -1.0], [0.5, 0.5]]))


# --- memorisation


def test_nearest_is_brute_force(monkeypatch):
    rng = generator(13)
    queries, candidates = rng.normal(size=(17, 3, 2)), rng.normal(size=(29, 3, 2))
    matrix = np.linalg.norm(queries.reshape(17, 1, 6) - candidates.reshape(1, 29, 6), axis=2)
    for block in (10, 4_000_000):
        monkeypatch.setattr(checks, "BLOCK", block)
        distance, index = metrics.nearest(queries, candidates)
        assert index.tolist() == matrix.argmin(axis=1).tolist()
        assert distance == pytest.approx(matrix.min(axis=1), rel=1e-6)


def test_nearest_finds_copies_at_distance_zero_far_from_the_origin():
    candidates = generator(14).normal(1000, 1, size=(40, 784))
    distance, index = metrics.nearest(candidates[[31, 4]], candidates)
    assert distance.tolist() == [0, 0] and index.tolist() == [31, 4]


def test_fresh_samples_are_not_memorised():
    rng = generator(15)
    excess = []
    for _ in range(60):
        sets = rng.normal(size=(500, 4))
        excess.append(metrics.nearest_neighbour_report(sets[:150], sets[150:400], sets[400:]).z_score)
    assert abs(np.mean(excess)) < 0.5
    assert 0.75 < np.std(excess) < 1.25  # the standard error is the right size


def test_copies_are_memorised():
    rng = generator(16)
    train, held_out = rng.uniform(size=(400, 20)), rng.uniform(size=(100, 20))
    report = metrics.nearest_neighbour_report(train[:150] + 1e-3, train, held_out)
    assert report.memorised and report.num_copies == 150 and report.share_train == 1
    assert report.below_1_percent == 1 and report.expected_share == 0.8
    assert report.train_index.tolist() == list(range(150))
    assert "copies" in report.verdict()


def test_blurred_copies_are_memorised_by_the_share():
    """No copy is close, but training neighbours are too many."""
    rng = generator(17)
    train, held_out = rng.uniform(size=(400, 20)), rng.uniform(size=(100, 20))
    report = metrics.nearest_neighbour_report(train[:200] + rng.normal(0, 0.2, size=(200, 20)), train, held_out)
    assert report.num_copies == 0 and report.z_score > 3 and report.memorised
    assert "in part" in report.verdict()


def test_one_copy_is_found_and_comes_first():
    rng = generator(18)
    train, held_out, fresh = rng.uniform(size=(300, 20)), rng.uniform(size=(100, 20)), rng.uniform(size=(80, 20))
    fresh[33] = train[7]
    report = metrics.nearest_neighbour_report(fresh, train, held_out)
    assert report.num_copies == 1 and report.memorised
    assert report.closest[0] == 33 and report.train_index[33] == 7 and report.train_distance[33] < 1e-6


def test_smooth_collapsed_pictures_are_near_to_everything_and_not_memorised():
    rng = generator(19)
    train, held_out = rng.uniform(size=(400, 20)), rng.uniform(size=(100, 20))
    collapsed = np.full((150, 20), 0.5) + rng.normal(0, 0.01, size=(150, 20))
    report = metrics.nearest_neighbour_report(collapsed, train, held_out)
    assert report.below_5_percent > 0.5
    assert not report.memorised and report.standard_error > 0.1
    assert "No sign" in str(report)


def test_standard_error_is_that_of_dealing_the_labels_anew():
    rng = generator(20)
    pool = rng.normal(size=(30, 2))
    samples = np.concatenate([rng.normal(size=(12, 2)), pool[3] + 0.01 * rng.normal(size=(9, 2))])
    shares = []
    for _ in range(4000):
        pool = rng.permutation(pool)
        shares.append(metrics.nearest(samples, pool)[1] < 20)
    report = metrics.nearest_neighbour_report(samples, pool[:20], pool[20:])
    shares = np.mean(shares, axis=1)
    assert report.expected_share == pytest.approx(np.mean(shares), abs=0.02)
    assert report.standard_error == pytest.approx(np.std(shares), rel=0.05)


# --- likelihoods


def test_bits_per_dimension():
    assert metrics.bits_per_dimension(784 * math.log(256), 784) == pytest.approx(8)
    assert metrics.bits_per_dimension(0.0, 784, num_levels=256) == pytest.approx(8)  # uniform density on [0, 1]
    assert metrics.bits_per_dimension(np.array([0.0, 3 * math.log(2)]), 3).tolist() == pytest.approx([0, 1])
    with pytest.raises(CourseError, match="at least one"):
        metrics.bits_per_dimension(1.0, 0)


def test_perplexity():
    nats = np.full((2, 5), math.log(7))
    assert metrics.perplexity(nats) == pytest.approx(7)
    nats[1, 3:] = 99  # padding
    mask = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    assert metrics.perplexity(nats, mask) == pytest.approx(7)
    assert metrics.perplexity(np.array([math.log(2), math.log(8)])) == pytest.approx(4)
    assert metrics.perplexity(np.array([1e6])) == math.inf


@pytest.mark.parametrize(
    ("nats", "mask", "words"),
    [
        (np.ones((2, 3)), np.ones((2, 4)), "shape"),
        (np.ones((2, 3)), np.zeros((2, 3)), "no token"),
        (np.full(3, np.nan), None, "NaN"),
    ],
)
def test_perplexity_refuses(nats, mask, words):
    with pytest.raises(CourseError, match=words):
        metrics.perplexity(nats, mask)


# --- the scorer, with a feature function that needs no training

NUM_IMAGES = 200


@cache
def digits():
    return load_digits()


@cache
def small_scorer():
    """Features: a random projection; logits: closeness to the mean picture of each class."""
    train = digits().train
    pixels, labels = train.images.reshape(len(train), -1), train.labels
    means = np.stack([pixels[labels == digit].mean(axis=0) for digit in range(10)])
    weights = generator(21).normal(size=(784, 12)) / 28

    def forward(images):
        flat = images.reshape(len(images), -1)
        return np.maximum(flat @ weights, 0), flat @ means.T - np.sum(means**2, axis=1) / 2

    return metrics.Scorer(forward, batch_size=64)


def score(images, **settings):
    data = digits()
    return small_scorer().score_images(images, data.test.images[:400], data.train.images[:2000], **settings)


@cache
def scores():
    data, rng = digits(), generator(22)
    real = data.validation.images[:NUM_IMAGES]
    return {
        "real": score(real),
        "noise": score(np.clip(real + rng.normal(0, 0.3, real.shape), 0, 1)),
        "collapsed": score(data.validation.images[data.validation.labels == 1][:100].repeat(2, axis=0)),
        "copies": score(data.train.images[:NUM_IMAGES]),
    }


def test_real_digits_score_like_the_floor():
    found = scores()["real"]
    assert found.course_fid < 2 * found.fid_floor and found.ratio == found.course_fid / found.fid_floor
    assert abs(found.kid) < 4 * found.kid_se
    assert found.precision == pytest.approx(found.precision_floor, abs=0.1)
    assert found.recall == pytest.approx(found.recall_floor, abs=0.1)
    assert found.confidence == pytest.approx(found.confidence_real, abs=0.05)
    assert found.effective_modes > 9 and found.mode_histogram.sum() == NUM_IMAGES
    assert not found.memorised


def test_bad_samples_score_worse_than_the_floor():
    noise, collapsed = scores()["noise"], scores()["collapsed"]
    assert noise.ratio > 3 and noise.kid > noise.kid_floor + 4 * noise.kid_se
    assert collapsed.ratio > 3 and collapsed.recall < 0.5 * collapsed.recall_floor and collapsed.effective_modes < 3


def test_the_trivial_model_scores_badly():
    found = scores()["real"]
    assert found.trivial.course_fid > 3 * found.fid_floor
    assert found.trivial.kid > found.kid_floor
    assert found.trivial.effective_modes < 0.7 * found.effective_modes


def test_training_digits_are_found_out():
    found = scores()["copies"]
    assert found.memorised and found.neighbours.num_copies == NUM_IMAGES
    assert "copies" in found.table()


def test_score_is_deterministic_and_its_seed_counts():
    real = digits().validation.images[:NUM_IMAGES]
    fresh = metrics.Scorer(small_scorer()._forward, batch_size=64)  # has kept no floor
    again = fresh.score_images(real, digits().test.images[:400], digits().train.images[:2000])
    assert again.table() == scores()["real"].table() == score(real).table()
    assert score(real, seed=1).fid_floor != scores()["real"].fid_floor


def test_the_floor_scores_no_digit_against_itself():
    """The floor is that of unseen digits, whichever of them are given."""
    data = digits()
    real = data.validation.images[:NUM_IMAGES]
    apart = score(real, real=data.validation.images[NUM_IMAGES : 2 * NUM_IMAGES]).fid_floor
    assert score(real, real=data.validation.images[: 5 * NUM_IMAGES]).fid_floor == pytest.approx(apart, rel=0.5)
    assert score(real, num_draws=1).fid_floor_sd == 0


def test_the_floor_needs_as_many_unseen_digits():
    with pytest.raises(CourseError, match="unseen real images"):
        score(digits().validation.images[:NUM_IMAGES], real=digits().validation.images[: NUM_IMAGES - 1])


def test_table_says_n_and_shows_every_score_beside_its_floor():
    found = scores()["real"]
    for text in (found.table(), found._repr_html_()):
        assert "200 images against 400 held-out digits" in text
        assert not re.search(r"(?<!course-)FID", text)
        for number in (
            found.course_fid,
            found.fid_floor,
            found.trivial.course_fid,
            found.precision,
            found.recall_floor,
        ):
            assert f"{number:.3f}" in text
    assert str(found) == found.table()
    assert found._repr_html_().count("<tr>") == 1 + len(found.rows())


def test_independent_pixels_keep_each_pixel_and_lose_the_strokes():
    train = digits().train.images[:500]
    trivial = metrics.independent_pixels(train, 3000, generator(23))
    assert trivial.shape == (3000, 28, 28, 1)
    assert np.abs(trivial.mean(axis=0) - train.mean(axis=0)).max() < 0.05
    neighbours = [np.corrcoef(x[:, 14, 14, 0], x[:, 14, 15, 0])[0, 1] for x in (train, trivial)]
    assert neighbours[0] > 0.5 and abs(neighbours[1]) < 0.1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x: x * 2 - 1, "to_images"),
        (lambda x: x * 255, r"\[0, 1\]"),
        (lambda x: np.where(x > 0.5, np.nan, x), "NaN"),
        (lambda x: x[..., 0], "shape"),
        (lambda x: x[:, :27], "shape"),
        (lambda x: x[:99], "at least 100"),
        (lambda x: x.repeat(6, axis=0), "at least 1,200"),
        (lambda x: x[:0], "at least 100"),
    ],
)
def test_scorer_refuses(change, words):
    with pytest.raises(CourseError, match=words):
        score(change(digits().validation.images[:NUM_IMAGES]))


def test_scorer_refuses_a_floor_without_draws():
    with pytest.raises(CourseError, match="at least one draw"):
        score(digits().validation.images[:NUM_IMAGES], num_draws=0)


def test_features_do_not_depend_on_the_batches():
    images = digits().test.images[:7]
    forward = small_scorer()._forward
    for batch_size in (3, 7, 10):
        found = metrics.Scorer(forward, batch_size)
        assert found.features(images) == pytest.approx(forward(images)[0], rel=1e-6)
        assert found.probabilities(images).sum(axis=1) == pytest.approx(np.ones(7))
