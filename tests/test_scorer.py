"""The scorer with Keras models: a small one by hand, and the shipped classifier. The scores: test_metrics.py."""

import time

import keras
import numpy as np
import pytest
import scipy.special

from aigc_course import metrics
from aigc_course.datasets import load_digits
from aigc_course.runtime import data_path


@pytest.fixture(scope="module")
def digits():
    return load_digits()


def test_scorer_reads_a_keras_model(digits):
    model = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            keras.layers.Flatten(),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(6, activation="relu", name="features"),
            keras.layers.Dense(10, name="logits"),
        ]
    )
    images = digits.test.images[:5]
    found = metrics.Scorer(model, batch_size=4)
    weights, bias = (keras.ops.convert_to_numpy(v) for v in model.get_layer("features").variables)
    expected = np.maximum(images.reshape(5, -1) @ weights + bias, 0)
    assert found.features(images) == pytest.approx(expected, abs=1e-4)
    logits = keras.ops.convert_to_numpy(model(images, training=False))
    assert found.probabilities(images) == pytest.approx(scipy.special.softmax(logits, axis=1), abs=1e-4)


# --- the shipped classifier

shipped = pytest.mark.skipif(not data_path("checkpoints/digit-classifier.json").exists(), reason="not trained yet")


@shipped
def test_shipped_classifier_knows_the_test_digits(digits):
    test = digits.test
    probabilities = metrics.scorer().probabilities(test.images)
    assert np.mean(probabilities.argmax(axis=1) == test.labels) >= 0.985
    assert metrics.scorer().features(test.images[:3]).shape == (3, 64)
    assert metrics.scorer() is metrics.scorer()


@shipped
def test_shipped_scorer_puts_unseen_digits_at_the_floor_and_is_quick(digits):
    images = digits.validation.images
    metrics.score_images(images)
    start = time.process_time()
    found = metrics.score_images(images, seed=1)
    assert time.process_time() - start < 10  # seconds of processor time, at 1,000 images
    assert abs(found.course_fid - found.fid_floor) < 3 * found.fid_floor_sd
    assert found.ratio < 1.5 and found.trivial.course_fid > 10 * found.fid_floor
    assert found.effective_modes > 9.8 and found.confidence > 0.95 and not found.memorised
