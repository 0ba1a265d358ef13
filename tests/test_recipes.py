"""Recipes: each network learns a little in one short pass, and the command leaves weights with a true card."""

import numpy as np
import pytest

from aigc_course import checkpoints, classifier, recipes
from aigc_course.datasets import load_digits
from aigc_course.runtime import CourseError


def test_unknown_recipe_lists_the_known():
    with pytest.raises(CourseError, match="dcgan-digits"):
        recipes.train_checkpoint("dcgan")


def test_every_recipe_has_three_profiles():
    for recipe in recipes.RECIPES.values():
        assert list(recipe.epochs) == ["quick", "class", "full"]
        assert recipe.epochs["quick"] <= recipe.epochs["class"] <= recipe.epochs["full"]


def test_classifier_overfits_ten_digits():
    """In inference mode too, so that normalisation and augmentation are switched off where they must be."""
    import keras

    keras.utils.set_random_seed(0)
    digits = load_digits().train
    images, labels = digits.images[:10], digits.labels[:10]
    model = classifier.build_classifier(width=8, dropout=0.0)
    model.compile(keras.optimizers.Adam(3e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    steps = 150  # each on all ten digits, in one epoch: epochs cost more than such steps
    model.fit(np.tile(images, (steps, 1, 1, 1)), np.tile(labels, steps), batch_size=10, shuffle=False, verbose=0)
    logits = keras.ops.convert_to_numpy(model(images, training=False))
    assert (logits.argmax(axis=1) == labels).all()


def test_features_are_standardised_where_they_were_learned():
    features = checkpoints_features(load_digits().train.images[:1000])
    assert np.abs(features.mean(axis=0)).max() < 0.5
    assert features.std(axis=0).min() > 0.4 and features.std(axis=0).max() < 2.0


def checkpoints_features(images):
    from aigc_course import metrics

    return metrics.scorer().features(images)


@pytest.mark.slow
def test_training_leaves_weights_and_a_card(tmp_path):
    path = recipes.train_checkpoint("digit-classifier", seed=3, profile="quick", target=tmp_path)
    assert path.parent == tmp_path and path.stat().st_size < checkpoints.MAX_BYTES
    import json

    card = json.loads((tmp_path / "digit-classifier.json").read_text(encoding="utf-8"))
    assert card["seed"] == 3 and card["epochs"] == 1
    assert 0.5 < card["metrics"]["test_accuracy"] <= 1
