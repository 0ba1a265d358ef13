"""Scores of generated digits in the features of the course's own classifier, each beside its floor.

Shapes: N images [N, 28, 28, 1] in [0, 1]; F width of the features.   Taught in chapters/03_gan_images.   Corrects B19.
"""

import hashlib
import html
from dataclasses import dataclass, fields
from functools import cache

import numpy as np

from aigc_course.metrics.distances import frechet_distance, kernel_distance
from aigc_course.metrics.modes import effective_modes, mode_histogram
from aigc_course.metrics.neighbours import NeighbourReport, nearest_neighbour_report, precision_recall
from aigc_course.metrics.tables import html_table, text_table
from aigc_course.runtime import CourseError

MIN_IMAGES = 100  # fewer pictures give a covariance of 64 features that is mostly noise


@dataclass(frozen=True)
class SetScore:
    """Scores of one set of pictures against the reference; see ``Score`` for the words."""

    course_fid: float
    kid: float
    kid_se: float
    precision: float
    recall: float
    effective_modes: float
    confidence: float
    mode_histogram: np.ndarray


@dataclass(frozen=True)
class Score:
    """Scores of N generated pictures, each beside real pictures and beside a trivial model, at the same N.

    Attributes:
        generated, real, trivial: a ``SetScore`` each. ``real`` is the mean over ``num_draws`` splits of unseen digits
            into N that are scored and others that they are compared with; ``trivial`` is a model that draws every pixel
            on its own from its values in the training set.
        neighbours, trivial_neighbours: ``NeighbourReport`` in pixels, on the generated and on the trivial pictures.
        fid_floor_sd: standard deviation of the course-FID over the splits of the real digits.
        num_images, num_reference, num_draws: N, held-out digits compared with, and splits of the real digits.
    """

    generated: SetScore
    real: SetScore
    trivial: SetScore
    neighbours: NeighbourReport
    trivial_neighbours: NeighbourReport
    fid_floor_sd: float
    num_images: int
    num_reference: int
    num_draws: int

    @property
    def course_fid(self) -> float:
        """Fréchet distance in the features of the course's classifier; lower is better."""
        return self.generated.course_fid

    @property
    def fid_floor(self) -> float:
        """Course-FID of as many real pictures."""
        return self.real.course_fid

    @property
    def ratio(self) -> float:
        """``course_fid`` as a multiple of ``fid_floor``; 1 is as good as real."""
        return self._times(self.generated)

    def _times(self, score: SetScore) -> float:
        return score.course_fid / self.fid_floor if self.fid_floor else np.inf

    @property
    def kid(self) -> float:
        """Kernel distance; lower is better, about 0 for real pictures."""
        return self.generated.kid

    @property
    def kid_se(self) -> float:
        """Standard error of ``kid``."""
        return self.generated.kid_se

    @property
    def kid_floor(self) -> float:
        """Kernel distance of as many real pictures."""
        return self.real.kid

    @property
    def precision(self) -> float:
        """Share of samples inside the manifold of the reference."""
        return self.generated.precision

    @property
    def precision_floor(self) -> float:
        """Precision of as many real pictures."""
        return self.real.precision

    @property
    def recall(self) -> float:
        """Share of the reference inside the manifold of the samples."""
        return self.generated.recall

    @property
    def recall_floor(self) -> float:
        """Recall of as many real pictures."""
        return self.real.recall

    @property
    def effective_modes(self) -> float:
        """``exp`` of the entropy of the classes found, from 1 to 10."""
        return self.generated.effective_modes

    @property
    def mode_histogram(self) -> np.ndarray:
        """Number of samples in each class, [10]."""
        return self.generated.mode_histogram

    @property
    def confidence(self) -> float:
        """Mean of the classifier's largest probability. High confidence alone proves little: see the trivial model."""
        return self.generated.confidence

    @property
    def confidence_real(self) -> float:
        """Confidence on as many real pictures."""
        return self.real.confidence

    @property
    def memorised(self) -> bool:
        """Whether training pictures come back; ``neighbours.verdict()`` says it in words."""
        return self.neighbours.memorised

    def as_dict(self) -> dict[str, float]:
        """The figures of a checkpoint's card, rounded to six digits: ours, the floors, and the z-score of copying."""
        names = (
            "num_images", "num_reference", "course_fid", "fid_floor", "ratio", "kid", "kid_se", "kid_floor",
            "precision", "precision_floor", "recall", "recall_floor", "effective_modes", "confidence",
            "confidence_real",
        )  # fmt: skip
        figures = {name: float(f"{getattr(self, name):.6g}") for name in names}
        return {**figures, "memorisation_z": round(self.neighbours.z_score, 2), "memorised": self.memorised}

    def rows(self) -> list[tuple[str, str, str, str, str]]:
        """One row a score: name, samples, real digits, trivial model, which way is better."""
        ours, real, trivial = self.generated, self.real, self.trivial
        mine, theirs = self.neighbours, self.trivial_neighbours
        chance = f"{mine.expected_share:.3f} ± {mine.standard_error:.3f}"
        floor = f"{real.course_fid:.3f} ± {self.fid_floor_sd:.3f}"
        times = (f"{self.ratio:.2f}", "1", f"{self._times(trivial):.3g}")
        kids = tuple(f"{s.kid:.5f} ± {s.kid_se:.5f}" for s in (ours, real, trivial))
        below = (f"{mine.below_1_percent:.3f}", "0.010", f"{theirs.below_1_percent:.3f}")
        return [
            ("course-FID", f"{ours.course_fid:.3f}", floor, f"{trivial.course_fid:.3f}", "lower"),
            ("  times the real digits'", *times, "near 1"),
            ("KID ± s.e.", *kids, "near 0"),
            ("precision", *(f"{s.precision:.3f}" for s in (ours, real, trivial)), "higher"),
            ("recall", *(f"{s.recall:.3f}" for s in (ours, real, trivial)), "higher"),
            ("effective modes of 10", *(f"{s.effective_modes:.2f}" for s in (ours, real, trivial)), "higher"),
            ("mean confidence", *(f"{s.confidence:.3f}" for s in (ours, real, trivial)), "like real"),
            ("nearest is training image", f"{mine.share_train:.3f}", chance, f"{theirs.share_train:.3f}", "like real"),
            ("nearer than held-out's 1 %", *below, "like real"),
        ]

    def _caption(self) -> str:
        return (
            f"{self.num_images:,} images against {self.num_reference:,} held-out digits, features of the course's "
            f"classifier; real digits: mean of {self.num_draws} splits"
        )

    def _head(self) -> tuple[str, ...]:
        return ("score", "samples", "real digits", "independent pixels", "better")

    def table(self) -> str:
        """Plain text: N, every score beside its floor and the trivial model, the verdict on memorisation."""
        table = text_table(self._head(), self.rows())
        counts = " ".join(str(count) for count in self.mode_histogram)
        return "\n".join([self._caption(), table, f"samples in classes 0 to 9: {counts}", self.neighbours.verdict()])

    def __str__(self):
        return self.table()

    def _repr_html_(self) -> str:
        verdict = f"<p>{html.escape(self.neighbours.verdict())}</p>"
        return html_table(self._caption(), self._head(), self.rows()) + verdict


class Scorer:
    """Features, class probabilities and scores of digits, with the course's classifier.

    Args:
        model: Keras model [B, 28, 28, 1] -> logits [B, 10] with a layer named ``"features"`` [B, F], or a function of
            images [B, 28, 28, 1] that returns ``(features [B, F], logits [B, 10])`` as arrays. The shipped
            ``digit-classifier`` unless told.
        batch_size: images that go through the network at a time.

    The scores of real images are kept from one call to the next: make a new scorer if you train the model further.
    """

    def __init__(self, model=None, batch_size: int = 250):
        self.batch_size = batch_size
        if model is None:
            from aigc_course import checkpoints

            model = checkpoints.load("digit-classifier")
        self._forward = _forward(model)
        self._kept = {}

    def features(self, images) -> np.ndarray:
        """Features [N, F] of images [N, 28, 28, 1] in [0, 1]; CourseError for anything else."""
        return self._run(check_images(images))[0]

    def probabilities(self, images) -> np.ndarray:
        """Probabilities [N, 10] of the classes for images [N, 28, 28, 1] in [0, 1]; CourseError for anything else."""
        return self._run(check_images(images))[1]

    def score_images(self, images, reference=None, train=None, real=None, seed: int = 0, num_draws: int = 5) -> Score:
        """Score generated images against held-out real ones; every score with its floor and a trivial model.

        Args:
            images: [N, 28, 28, 1] in [0, 1], at least 100 of them and at most as many as there are in ``real``.
                The scores depend on N: compare models at one N, 1,000 in the course.
            reference: [M, 28, 28, 1], real images that no model has seen; the 1,000 test digits unless told.
            train: [T, 28, 28, 1], what the model was trained on; the 8,000 training digits unless told.
            real: [R, 28, 28, 1], other unseen real images; the 1,000 validation digits unless told. The floor comes
                from these and the reference, mixed and split: training digits would not do, since the classifier
                that makes the features knows them.
            seed: of the splits, the trivial model and the subsets of KID.
            num_draws: splits that the floor is the mean of.

        Returns:
            A ``Score``; ``print`` it or show it in a notebook.

        Raises:
            CourseError: images outside [0, 1], NaN, of another shape, too few or too many; no splits.
        """
        if num_draws < 1:
            raise CourseError(f"The floor needs at least one draw of real images, not {num_draws}.")
        reference, train, real = _real_images(reference, train, real)
        images = check_images(images, MIN_IMAGES, "The images")
        reference = check_images(reference, MIN_IMAGES, "The reference")
        train = check_images(train, MIN_IMAGES, "The training set")
        real = check_images(real, len(images), "The unseen real images, of which the floor needs as many,")
        floor = self._floor(reference, train, real, len(images), seed, num_draws)
        return Score(
            generated=_score_set(*self._run(images), self._known(reference)[0], seed),
            neighbours=nearest_neighbour_report(images, train, reference, floor["trivial_neighbours"].baseline),
            num_images=len(images),
            num_reference=len(reference),
            num_draws=num_draws,
            **floor,
        )

    def _floor(self, reference, train, real, num_images: int, seed: int, num_draws: int) -> dict:
        """What does not depend on the model: real digits and the trivial model, kept for the next score."""

        def measure():
            rng = np.random.default_rng(seed)
            splits = [self._split(reference, real, num_images, rng, seed) for _ in range(num_draws)]
            independent = independent_pixels(train, num_images, rng)
            return {
                "real": _mean_score(splits),
                "fid_floor_sd": float(np.std([one.course_fid for one in splits], ddof=min(1, num_draws - 1))),
                "trivial": _score_set(*self._run(independent), self._known(reference)[0], seed),
                "trivial_neighbours": nearest_neighbour_report(independent, train, reference),
            }

        return self._keep((*map(_content, (reference, train, real)), num_images, seed, num_draws), measure)

    def _split(self, reference, real, num_images: int, rng, seed: int) -> SetScore:
        """Score of ``num_images`` unseen real digits against as many others as there are in the reference."""
        pairs = zip(self._known(reference), self._known(real), strict=True)
        features, probabilities = (np.concatenate(pair) for pair in pairs)
        rows = rng.permutation(len(features))
        scored, others = rows[:num_images], rows[num_images : num_images + len(reference)]
        return _score_set(features[scored], probabilities[scored], features[others], seed)

    def _known(self, images):
        """``_run`` for real images, which come again with every score: kept by their content."""
        return self._keep(_content(images), lambda: self._run(images))

    def _keep(self, key, measure):
        """``measure()``, or what it returned for this key before; the eight latest are kept."""
        if key not in self._kept:
            found = measure()
            while len(self._kept) >= 8:
                self._kept.pop(next(iter(self._kept)))
            self._kept[key] = found
        return self._kept[key]

    def _run(self, images):
        """Features [N, F] and probabilities [N, 10], in batches of one size (the last one is filled up)."""
        found = []
        for start in range(0, len(images), self.batch_size):
            batch = images[start : start + self.batch_size]
            filled = np.zeros((self.batch_size, *images.shape[1:]), np.float32)
            filled[: len(batch)] = batch
            found.append([np.asarray(part, np.float64)[: len(batch)] for part in self._forward(filled)])
        features, logits = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return features, _softmax(logits)


def _content(images) -> bytes:
    """A key for what is in an array."""
    return hashlib.blake2b(np.ascontiguousarray(images), digest_size=16).digest()


@cache
def scorer() -> Scorer:
    """The scorer with the shipped classifier; loaded once in a process."""
    return Scorer()


def score_images(images, reference=None, train=None, real=None, seed: int = 0, num_draws: int = 5) -> Score:
    """``Scorer.score_images`` with the shipped classifier."""
    return scorer().score_images(images, reference, train, real, seed, num_draws)


def check_images(images, least: int = 1, name: str = "The images") -> np.ndarray:
    """``images`` as float32 [N, 28, 28, 1] in [0, 1], or a CourseError that says what is wrong with them."""
    images = np.asarray(images)
    if images.ndim != 4 or images.shape[1:] != (28, 28, 1):
        raise CourseError(f"{name} must have the shape [N, 28, 28, 1], not {list(images.shape)}.")
    if len(images) < least:
        raise CourseError(f"{name} must be at least {least:,}, not {len(images):,}.")
    images = images.astype(np.float32, copy=False)
    low, high = images.min(), images.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        raise CourseError(f"{name} must be finite: there are NaN or infinite values.")
    if low < -1e-6 or high > 1 + 1e-6:
        raise CourseError(
            f"{name} must lie in [0, 1], not in [{low:.3g}, {high:.3g}]; "
            "a tanh generator's output goes through gan.to_images first."
        )
    return images


def independent_pixels(train, num_images: int, rng) -> np.ndarray:
    """The trivial model: every pixel of every image drawn on its own from that pixel's values in the training set.

    Args:
        train: [T, ...] images.
        num_images: N.
        rng: a ``numpy.random.Generator``.

    Returns:
        [N, ...]: right in every pixel's distribution, without any stroke.
    """
    flat = train.reshape(len(train), -1)
    rows = rng.integers(0, len(train), (num_images, flat.shape[1]))
    return np.take_along_axis(flat, rows, axis=0).reshape(num_images, *train.shape[1:])


def _score_set(features, probabilities, target, seed: int) -> SetScore:
    labels = probabilities.argmax(axis=1)
    kid, kid_se = kernel_distance(features, target, seed=seed)
    precision, recall = precision_recall(target, features)
    return SetScore(
        course_fid=frechet_distance(features, target),
        kid=kid,
        kid_se=kid_se,
        precision=precision,
        recall=recall,
        effective_modes=effective_modes(labels),
        confidence=float(probabilities.max(axis=1).mean()),
        mode_histogram=mode_histogram(labels),
    )


def _mean_score(scores) -> SetScore:
    """Mean of every number; the standard error stays that of one draw, since all share the reference."""
    means = {f.name: np.mean([getattr(s, f.name) for s in scores], axis=0) for f in fields(SetScore)}
    return SetScore(**{name: value if value.ndim else float(value) for name, value in means.items()})


def _real_images(*given):
    """Reference, training and further unseen images: those given, the course's digits for each that is None."""
    if all(images is not None for images in given):
        return given
    digits = _digits()
    own = (digits.test.images, digits.train.images, digits.validation.images)
    return tuple(mine if images is None else images for images, mine in zip(given, own, strict=True))


@cache
def _digits():
    from aigc_course.datasets import load_digits

    return load_digits()


def _softmax(logits):
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def _forward(model):
    """Function of a batch of images that returns features and logits as arrays; a Keras model is compiled once."""
    if not hasattr(model, "get_layer"):
        return model
    import keras

    from aigc_course.compiled import compiled

    both = keras.Model(model.inputs, [model.get_layer("features").output, model.outputs[0]])
    step = compiled(lambda images: both(images, training=False), both)
    return lambda images: [keras.ops.convert_to_numpy(part) for part in step(keras.ops.convert_to_tensor(images))]
