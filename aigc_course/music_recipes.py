"""How the networks of chapter 07 are trained and measured; ``aigc_course.recipes`` lists them with the others."""

import keras
import numpy as np

from aigc_course import chorale_writer, melody_vae, training, vae
from aigc_course.checkpoints import short
from aigc_course.datasets import tones
from aigc_course.datasets.chorale_windows import ChoraleWindows
from aigc_course.datasets.chorales import load_chorales
from aigc_course.metrics import music
from aigc_course.wavenet import WaveNet, doubling, shifted

NUM_PIECES, PIECE_SECONDS = 256, 0.5  # of sound, in a pass
SCORED_SECONDS = 2.0  # of the held-out pieces of sound


def wavenet_optimizer(steps, peak=2e-3):
    """Adam whose rate rises for a twentieth of the steps and then falls along a cosine to a fiftieth; the gradient of
    all weights together has norm 1 at most."""
    return keras.optimizers.Adam(training.warmed_up(peak, steps, steps // 20 + 1), global_clipnorm=1.0)


def train_chorales(model, epochs, seed, backup=None):
    """Windows of four bars in other keys and from other places in every pass; half of them are told the melody.

    Four windows a step: with sixteen a token of held-out chorales cost 0.06 nats more after ten passes.
    """
    data = ChoraleWindows(load_chorales().train, length=64, batch_size=4, seed=seed)
    model.compile(wavenet_optimizer(epochs * len(data)))
    training.fit(model, data, epochs=epochs, seed=seed, backup=backup)


def measure_chorales(model):
    """Nats a token of the test chorales, under a given melody and without; ``MusicScore`` of what is written for their
    plans, in both ways."""
    writer, test = chorale_writer.ChoraleWriter(model), load_chorales().test
    figures = {"nats_harmony": short(writer.nats(test)), "nats_all_voices": short(writer.nats(test, melody=False))}
    for name, keeps in (("harmonised", True), ("composed", False)):
        found = music.report(writer.write(test, seed=1, keep_soprano=keeps)).as_dict()
        figures |= {f"{name}_{key}": value for key, value in found.items()}
    return figures


def build_tone_wavenet(residual_dim=32, skip_dim=128, seed=0):
    """An untrained ``WaveNet`` for sound at 8,000 samples a second, told the notes; its field is 2,047 samples."""
    return WaveNet(
        tones.LEVELS,
        doubling(10, cycles=2),
        residual_dim,
        skip_dim,
        condition_dim=tones.FEATURES,
        start_id=tones.SILENCE,
        seed=seed,
    )


def train_tones(model, epochs, seed, backup=None):
    """A pass is ``NUM_PIECES`` pieces of ``PIECE_SECONDS``, the same ones in every pass."""
    pieces = tones.make_tones(load_chorales().train, count=NUM_PIECES, seconds=PIECE_SECONDS, seed=seed)
    inputs, targets = shifted(pieces.ids, pieces.conditions(), model.start_id)
    model.compile(wavenet_optimizer(epochs * (len(targets) // 4)))
    training.fit(model, (tuple(inputs), targets), epochs=epochs, batch_size=4, seed=seed, backup=backup)


def measure_tones(model):
    """Bits a sample on held-out pieces."""
    pieces = tones.make_tones(load_chorales().test, count=16, seconds=SCORED_SECONDS, seed=1)
    found = model.log_probabilities(pieces.ids, pieces.conditions())
    return {"bits_per_sample": short(-found.mean(dtype="float64") / np.log(2))}


def train_melodies(model, epochs, seed, backup=None):
    """Two bars of a soprano in every key that fits; the KL rises to its weight over the first third."""
    data = melody_vae.one_hot(melody_vae.melodies(load_chorales().train))
    rate = keras.optimizers.schedules.CosineDecay(2e-3, epochs * -(-len(data) // 128))
    model.compile(keras.optimizers.Adam(rate, global_clipnorm=1.0))
    warm_up = [vae.WarmUp(max(1, epochs // 3))]
    training.fit(model, data, epochs=epochs, batch_size=128, seed=seed, backup=backup, callbacks=warm_up)


def measure_melodies(model):
    """Distortion and rate of the test part's melodies in nats, and the share of sixteenths that come back right."""
    data = melody_vae.one_hot(melody_vae.melodies(load_chorales().test, transpose=False))
    distortion, rate = model.elbo_terms(data)
    right = melody_vae.most_probable(model.reconstruct(data)) == melody_vae.most_probable(data)
    figures = {"distortion": distortion.mean(), "rate": rate.mean(), "reconstructed": right.mean()}
    return {"num_test": len(data), **{name: short(value) for name, value in figures.items()}}
