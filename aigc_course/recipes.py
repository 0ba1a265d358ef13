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

from aigc_course import (
    checkpoints,
    chorale_writer,
    classifier,
    gan,
    melody_vae,
    music_recipes,
    poet,
    runtime,
    seq2seq,
    training,
    transformer,
    vae,
)
from aigc_course.datasets import dates, load_digits, load_poems
from aigc_course.datasets.augment import Deformed
from aigc_course.datasets.buckets import EqualLengths
from aigc_course.datasets.files import card_of
from aigc_course.vocabulary import Vocabulary


@dataclass(frozen=True)
class Recipe:
    """One checkpoint.

    Attributes:
        build: makes the untrained model.
        train: ``train(model, epochs, seed, backup)`` trains it in place.
        measure: ``measure(model) -> dict`` of figures on held-out data.
        epochs: passes through the data, one number a profile.
        data: names of the cards of its data sets; none for data that are generated.
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
        "licence": "MIT (weights); data: " + ("see the cards of the data sets" if recipe.data else "generated"),
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


def _measure_samples(model, num_sets=5, **options):
    """Figures of ``Score.as_dict``, means over sets of 1,000 samples; ``ratio_sd`` is how much one set varies."""
    from aigc_course import metrics

    sets = (model.sample(1000, seed=seed, **options) for seed in range(1, num_sets + 1))
    scores = [metrics.score_images(images).as_dict() for images in sets]
    figures = {name: checkpoints.short(np.mean([score[name] for score in scores])) for name in scores[0]}
    spread = checkpoints.short(np.std([score["ratio"] for score in scores], ddof=1))
    return {"num_sets": num_sets, **figures, "ratio_sd": spread, "memorised": any(s["memorised"] for s in scores)}


BETAS = ("0.1", "0.3", "1", "3", "10", "30", "100")
CLASSES = np.arange(1000) % 10  # what a conditional model is asked for when it is scored


def build_vae(**options):
    """The convolutional VAE of chapter 08 with 32 latent numbers."""
    encoder, decoder = vae.ConvEncoder(32, 48, 400), vae.ConvDecoder(32, 48, 400)
    return vae.VAE(32, encoder=encoder, decoder=decoder, **options)


def build_plane_vae():
    """The VAE of two numbers, for the plane of chapter 08."""
    return vae.VAE(2, network="mlp")


def build_small_vae(beta=1.0):
    """One of the small dense VAEs of the beta ladder."""
    return vae.VAE(16, beta=beta, encoder=vae.MLPEncoder(16, 128), decoder=vae.MLPDecoder(16, 128))


def build_conditional_vae():
    """The VAE that is told the class: with beta = 3 it obeys in 97 % of the samples, with 1 in 78 %."""
    return vae.VAE(16, beta=3.0, network="conv", num_classes=10)


def _train_vae(model, epochs, seed, backup=None):
    """Deformed copies of the training digits, drawn as 0 and 1; the learning rate falls along a cosine."""
    digits = load_digits().train
    labels = digits.labels if model.num_classes else None
    data = Deformed(digits.images, labels, num_copies=min(16, epochs), seed=seed)
    rate = keras.optimizers.schedules.CosineDecay(1e-3, epochs * len(data), alpha=0.02)
    model.compile(keras.optimizers.Adam(rate))
    samples = None if model.num_classes else lambda: model.sample(16)
    training.fit(model, data, epochs=epochs, seed=seed, backup=backup, samples=samples)


def _measure_vae(model, num_samples=1000):
    """Nats on the 1,000 test digits, binarised once with seed 0: ELBO, its two terms, and the importance-sampled
    likelihood with ``num_samples`` draws; scores of the samples."""
    test = load_digits().test
    labels, asked = (test.labels, {"labels": CLASSES}) if model.num_classes else (None, {})
    distortion, rate = model.elbo_terms(test.images, labels)
    figures = {
        "test_nll": -model.log_likelihood(test.images, num_samples, labels).mean(),
        "test_nll_samples": num_samples,
        "test_distortion": distortion.mean(),
        "test_rate": rate.mean(),
        "active_units": int(model.active_units(test.images, labels).sum()),
        "latent_dim": model.latent_dim,
    }
    return {**{name: checkpoints.short(value) for name, value in figures.items()}, **_measure_samples(model, **asked)}


def _measure_conditional_vae(model):
    from aigc_course import metrics

    read = metrics.scorer().probabilities(model.sample(1000, labels=CLASSES, seed=1)).argmax(axis=1)
    return {"class_accuracy": float((read == CLASSES).mean()), **_measure_vae(model)}


def _ladder_recipe(beta):
    return Recipe(
        lambda: build_small_vae(float(beta)),
        _train_vae,
        lambda model: _measure_vae(model, num_samples=100),
        {"quick": 1, "class": 10, "full": 40},
    )


def build_dates(target="iso", **options):
    """The model of chapter 06 that reads dates and writes ISO 8601, or Chinese for ``target="zh"``."""
    sides = [Vocabulary(dates.SOURCE_CHARACTERS), Vocabulary(dates.TARGET_CHARACTERS[target])]
    return seq2seq.Seq2Seq(*sides, word_dropout=0.01, dropout=0.1, **options)


def dates_optimizer(steps):
    """Adam whose rate falls along a cosine; the gradient of each weight matrix or vector has norm 1 at most, since
    those of a recurrent network can explode."""
    return keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(2e-3, steps, alpha=0.02), clipnorm=1.0)


def _train_dates(target, optimizer):
    def train(model, epochs, seed, backup=None):
        pairs = dates.load_dates(target).train
        model.compile(optimizer(epochs * -(-len(pairs) // 128)))
        data = model.arrays(pairs.sources, pairs.targets)
        training.fit(model, data, epochs=epochs, batch_size=128, seed=seed, backup=backup)

    return train


def _measure_dates(target):
    """Share of held-out dates that are right to the last character, by language of the source; nats of the targets."""

    def measure(model):
        figures = {}
        for language in dates.LANGUAGES if target == "iso" else ("en",):
            test = dates.load_dates(target, (language,), num_train=1, num_test=5000).test
            figures[f"exact_match_{language}"] = model.exact_match(test.sources, test.targets)
            figures[f"nats_{language}"] = checkpoints.short(-model.log_likelihood(test.sources, test.targets).mean())
        return {"num_test": 5000, **figures}

    return measure


def _dates_recipe(build, target="iso", optimizer=dates_optimizer):
    return Recipe(
        build,
        _train_dates(target, optimizer),
        _measure_dates(target),
        {"quick": 1, "class": 3, "full": 8},
        data=(),
    )


def build_dates_transformer(**options):
    """The model of chapter 09 that reads dates and writes ISO 8601."""
    sides = [Vocabulary(dates.SOURCE_CHARACTERS), Vocabulary(dates.TARGET_CHARACTERS["iso"])]
    sizes = {"num_layers": 2, "num_heads": 4, "hidden_dim": 96, "dropout": 0.1, "word_dropout": 0.01}
    return transformer.Transformer(*sides, **{**sizes, **options})


def transformer_optimizer(steps, peak=1.5e-3, warmup_steps=200):
    """AdamW with a slow start; the gradient of each weight matrix or vector has norm 1 at most."""
    rate = training.warmed_up(peak, steps, min(warmup_steps, steps // 5 + 1))
    return keras.optimizers.AdamW(rate, weight_decay=0.1, beta_2=0.98, clipnorm=1.0)


def _train_poet(model, epochs, seed, backup=None):
    """Whole poems, batches of one form; the learning rate rises for 300 steps and then falls along a cosine."""
    train = load_poems().train
    data = EqualLengths(poet.Poet(model).encode(train.texts, train.forms), seed=seed)
    # XLA would compile the step once for each length, and gains 4 % here.
    model.compile(transformer_optimizer(epochs * len(data), warmup_steps=300), jit_compile=False)
    training.fit(model, data, epochs=epochs, seed=seed, backup=backup)


def _measure_poet(model, count=1000):
    """Nats a Chinese character on the test poems beside the 3-gram's; ``PoemScore`` of samples at temperature 0.8, as
    many of each form as among the test poems."""
    from aigc_course.metrics import poems as scores
    from aigc_course.metrics.ngram import NGram

    writer, data = poet.Poet(model), load_poems()
    train, test = (writer.encode(part.texts, part.forms)[:, 1:] for part in (data.train, data.test))
    counted = writer.is_character(test)
    ngram = NGram(3).fit(train).log_probabilities(test)[counted]
    forms = spread_forms(data.test.forms, count)
    written = writer.write(forms, seed=1)
    figures = {
        "nats_per_character": writer.nats(data.test.texts, data.test.forms),
        "nats_per_character_3gram": float(-ngram.mean()),
    }
    return {
        **{name: checkpoints.short(value) for name, value in figures.items()},
        **scores.report(written, forms).as_dict(),
    }


def spread_forms(forms, count):
    """``count`` forms, evenly picked from the sorted ``forms``: as often as there."""
    ranked = sorted(forms)
    return [ranked[number * len(ranked) // count] for number in range(count)]


def _music_recipe(name, build, epochs):
    train, measure = (getattr(music_recipes, f"{verb}_{name}") for verb in ("train", "measure"))
    return Recipe(build, train, measure, epochs, data=("chorales",))


RECIPES = {
    "digit-classifier": Recipe(
        classifier.build_classifier, _train_classifier, _measure_classifier, {"quick": 1, "class": 10, "full": 60}
    ),
    "mlp-gan-digits": Recipe(build_mlp_gan, _train_gan, _measure_samples, {"quick": 1, "class": 10, "full": 60}),
    "dcgan-digits": Recipe(build_dcgan, _train_gan, _measure_samples, {"quick": 1, "class": 12, "full": 60}),
    "vae-digits": Recipe(build_vae, _train_vae, _measure_vae, {"quick": 1, "class": 20, "full": 100}),
    "vae-plane": Recipe(build_plane_vae, _train_vae, _measure_vae, {"quick": 1, "class": 20, "full": 100}),
    "cvae-digits": Recipe(
        build_conditional_vae, _train_vae, _measure_conditional_vae, {"quick": 1, "class": 20, "full": 60}
    ),
    **{f"vae-beta-{beta}": _ladder_recipe(beta) for beta in BETAS},
    "dates-iso": _dates_recipe(build_dates),
    "dates-iso-plain": _dates_recipe(lambda: build_dates(attention=False)),
    "dates-zh": _dates_recipe(lambda: build_dates("zh"), "zh"),
    "dates-transformer": _dates_recipe(build_dates_transformer, optimizer=transformer_optimizer),
    "gpt2-poems": Recipe(
        poet.build_poet, _train_poet, _measure_poet, {"quick": 1, "class": 1, "full": 10}, data=("poems",)
    ),
    "wavenet-chorales": _music_recipe(
        "chorales", chorale_writer.build_chorale_wavenet, {"quick": 1, "class": 8, "full": 36}
    ),
    "wavenet-tones": _music_recipe("tones", music_recipes.build_tone_wavenet, {"quick": 1, "class": 2, "full": 16}),
    "vae-melodies": _music_recipe("melodies", melody_vae.build_melody_vae, {"quick": 1, "class": 8, "full": 24}),
}
