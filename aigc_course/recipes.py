"""How each shipped checkpoint is made: network, training, and the figures measured on the result.

``aigc-course train NAME`` runs ``train_checkpoint``; the card it writes is the record of that run.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import keras
import numpy as np

from aigc_course import checkpoints, classifier, gan, runtime, training
from aigc_course.datasets import load_digits
from aigc_course.datasets.files import card_of


@dataclass(frozen=True)
class Recipe:
    """One checkpoint.

    Attributes:
        build: makes the untrained model.
        train: ``train(model, epochs, seed, backup)`` trains it in place.
        measure: ``measure(model) -> dict`` of figures on held-out data.
        epochs: passes through the data, one number a profile.
        data: names of the cards of its data sets.
    """

    build: Callable
    train: Callable
    measure: Callable
    epochs: dict[str, int]
    data: tuple[str, ...] = ("digits",)


def train_checkpoint(name: str, seed: int = 0, profile: str = "full", target: Path | None = None) -> Path:
    """Train the recipe ``name`` and save weights and card; goes on where an interrupted run stopped.

    Args:
        profile: whose number of epochs is used.
        target: folder for the result, ``data/checkpoints`` unless told.

    Raises:
        CourseError: no such recipe.
    """
    if name not in RECIPES:
        raise runtime.CourseError(f"There is no recipe {name!r}; there are: {', '.join(RECIPES)}.")
    recipe, session = RECIPES[name], runtime.setup(seed)
    model, start = recipe.build(), time.perf_counter()
    backup = runtime.course_root() / "runs" / f"{name}-{profile}-{seed}"
    recipe.train(model, recipe.epochs[profile], seed, backup)
    card = {
        "recipe": name,
        "profile": profile,
        "epochs": recipe.epochs[profile],
        "seed": seed,
        "parameters": model.count_params(),
        "data_sha256": {data: card_of(data)["sha256"] for data in recipe.data},
        "backend": f"{session.backend} {session.backend_version}, keras {keras.__version__}",
        "device": f"{session.device}, {session.cores} cores",
        "minutes": round((time.perf_counter() - start) / 60, 1),
        "date": date.today().isoformat(),
        "licence": "MIT (weights); data: see the cards of the data sets",
        "metrics": recipe.measure(model),
    }
    return checkpoints.save(name, model, card, target)


def _train_classifier(model, epochs, seed, backup=None):
    digits = load_digits()
    steps = epochs * -(-len(digits.train) // 128)
    model.compile(
        keras.optimizers.AdamW(keras.optimizers.schedules.CosineDecay(2e-3, steps), weight_decay=0.01),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    training.fit(
        model, (digits.train.images, digits.train.labels), epochs=epochs, batch_size=128, seed=seed, backup=backup
    )


def _measure_classifier(model):
    digits = load_digits()
    return {
        f"{name}_accuracy": float(np.mean(model.predict(part.images, verbose=0).argmax(-1) == part.labels))
        for name, part in (("validation", digits.validation), ("test", digits.test))
    }


def build_mlp_gan(**options):
    """The dense GAN of chapter 03."""
    return gan.GAN(gan.MLPGenerator(), gan.MLPDiscriminator(), **options)


def build_dcgan(**options):
    """The convolutional GAN of chapter 03."""
    critic = options.get("loss") == "wasserstein-gp"
    return gan.GAN(gan.DCGANGenerator(), gan.DCGANDiscriminator(batch_mean=not critic), **options)


def gan_optimizer(learning_rate=1e-3, ema_momentum=None):
    """Adam without momentum (beta_1 = 0, as Gulrajani et al., 2017): in a game yesterday's direction is out of date.

    Args:
        learning_rate: number or Keras schedule.
        ema_momentum: if given, the weights at the end of training are replaced by their running average.
    """
    average = {"use_ema": True, "ema_momentum": ema_momentum} if ema_momentum else {}
    return keras.optimizers.Adam(learning_rate, beta_1=0.0, beta_2=0.99, **average)


def _train_gan(model, epochs, seed, backup=None):
    """The learning rate falls along a cosine to a twentieth; the weights kept are an average over the last steps."""
    images = gan.to_model_range(load_digits().train.images)
    steps = epochs * -(-len(images) // 64)
    rate = keras.optimizers.schedules.CosineDecay(1e-3, steps, alpha=0.05)
    model.compile(gan_optimizer(rate, ema_momentum=0.995))
    training.fit(
        model, images, epochs=epochs, batch_size=64, seed=seed, backup=backup, samples=lambda: model.sample(16)
    )


def _measure_gan(model, num_sets=5):
    """Figures of ``Score.as_dict``, means over sets of 1,000 samples; ``ratio_sd`` is how much one set varies."""
    from aigc_course import metrics

    scores = [metrics.score_images(model.sample(1000, seed=seed)).as_dict() for seed in range(1, num_sets + 1)]
    figures = {name: float(f"{np.mean([score[name] for score in scores]):.5g}") for name in scores[0]}
    spread = float(f"{np.std([score['ratio'] for score in scores], ddof=1):.3g}")
    return {"num_sets": num_sets, **figures, "ratio_sd": spread, "memorised": any(s["memorised"] for s in scores)}


RECIPES = {
    "digit-classifier": Recipe(
        classifier.build_classifier, _train_classifier, _measure_classifier, {"quick": 1, "class": 10, "full": 60}
    ),
    "mlp-gan-digits": Recipe(build_mlp_gan, _train_gan, _measure_gan, {"quick": 1, "class": 10, "full": 60}),
    "dcgan-digits": Recipe(build_dcgan, _train_gan, _measure_gan, {"quick": 1, "class": 12, "full": 60}),
}
