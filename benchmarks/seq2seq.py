"""Translating: compiled decoding against one ``predict`` a step, and English to Chinese sentences with and without
attention.

``python -m benchmarks.seq2seq [--pairs cmn.txt]``; the pairs are those of tatoeba.org, from manythings.org/anki. With
the package opencc installed, traditional Chinese is first written in simplified characters, else left out.
"""

import argparse
import importlib.util
import os
import tempfile
import time
from collections import Counter
from pathlib import Path

import keras
import numpy as np

from aigc_course import checkpoints, training
from aigc_course.datasets import load_dates, load_pairs
from aigc_course.datasets.buckets import Buckets
from aigc_course.metrics.translation import chrf, corpus_bleu
from aigc_course.seq2seq import Seq2Seq
from aigc_course.vocabulary import END, PAD, START, Vocabulary

BATCH = 64
SIZES = {"hidden_dim": 256, "embedding_dim": 192, "dropout": 0.3, "word_dropout": 0.05}
BOUNDS = [(8, 9), (11, 13), (15, 18)]  # most steps of source and target in a bucket
LENGTHS = {"max_source_length": 20, "max_target_length": 28}


# ---------------------------------------------------------------------------------------------------- decoding


def predict_each_step(model):
    """A translator that calls ``predict`` for every character of every text, with the weights of ``model``."""
    source = keras.Input((None,), dtype="int32")
    memory, states = model.encode(source)
    encoder = keras.Model(source, [memory, *states])
    token, mask = keras.Input((), dtype="int32"), keras.Input((None,), dtype="bool")
    before = [keras.Input(state.shape[1:]) for state in states]
    noted = keras.Input(memory.shape[1:])
    logits, after = model.step(token, before, noted, mask)
    stepper = keras.Model([token, *before, noted, mask], [logits, *after])

    def translate(text):
        source_ids = model.source_vocabulary.encode([text], end=True)
        memory, *states = encoder.predict(source_ids, verbose=0)
        written = [START]
        while written[-1] != END and len(written) <= model.max_target_length:
            inputs = [np.array(written[-1:], "int32"), *states, memory, source_ids != PAD]
            logits, *states = stepper.predict(inputs, verbose=0)
            written.append(int(logits[0].argmax()))
        return model.target_vocabulary.decode([written])[0]

    return translate


def compare_decoding(num_texts=32, rounds=3):
    """Print seconds for the same texts by both ways, side by side, and whether they write the same."""
    model = checkpoints.load("dates-iso")
    texts = load_dates(num_train=1, num_test=num_texts).test.sources
    slow = predict_each_step(model)
    ways = {
        "one predict a step": lambda: [slow(text) for text in texts],
        "compiled, text by text": lambda: [model.translate([text])[0] for text in texts],
        "compiled, one batch": lambda: model.translate(texts),
    }
    found = {name: way() for name, way in ways.items()}
    seconds = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - start)
    medians = {name: float(np.median(values)) for name, values in seconds.items()}
    base = medians["one predict a step"]
    print(f"{num_texts} dates, all ways write the same: {len(set(map(tuple, found.values()))) == 1}")
    for name, value in medians.items():
        print(f"{name:24} {value / num_texts * 1000:9.2f} ms a text {base / value:9.1f} times faster")


# ---------------------------------------------------------------------------------------------------- sentences


def simplified(path, folder):
    """Path of the pairs, with their targets in simplified characters where opencc is installed (in ``folder``)."""
    if importlib.util.find_spec("opencc") is None:
        return path
    import opencc

    convert = opencc.OpenCC("t2s").convert
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    written = Path(folder) / "pairs.txt"
    columns = (line.split("\t") for line in lines)
    written.write_text("\n".join("\t".join([*c[:1], *map(convert, c[1:2]), *c[2:]]) for c in columns), encoding="utf-8")
    return written


def train_translator(corpus, attention, epochs, seed=0):
    """Train on the pairs of ``corpus``; keeps the weights of the epoch with the lowest validation loss."""
    source = Vocabulary.build(corpus.train.sources, "word", min_count=2)
    target = Vocabulary.build(corpus.train.targets, "character", min_count=2)
    keras.utils.set_random_seed(seed)
    model = Seq2Seq(source, target, attention, seed=seed, **SIZES, **LENGTHS)
    inputs, targets = model.arrays(corpus.train.sources, corpus.train.targets)
    data = Buckets(inputs, targets, BOUNDS, BATCH, seed)
    steps = epochs * len(data)
    rate = keras.optimizers.schedules.CosineDecay(2e-3, steps, alpha=0.02)
    model.compile(keras.optimizers.AdamW(rate, weight_decay=1e-3, clipnorm=1.0))
    held_out = model.arrays(corpus.validation.sources, corpus.validation.targets)
    best = keras.callbacks.EarlyStopping("val_loss", patience=epochs, restore_best_weights=True)
    start = time.perf_counter()
    training.fit(
        model, data, epochs=epochs, seed=seed, validation_data=held_out, callbacks=[best],
        every_seconds=20,
    )  # fmt: skip
    return model, (time.perf_counter() - start) / 60


def _row(name, written, references, *figures):
    bleu, f_score = corpus_bleu(written, references, tokenise="zh").score, chrf(written, references)
    print(f"{name:36} {bleu:6.2f} {f_score:6.2f}  {'  '.join(figures)}", flush=True)


def compare_sentences(path, epochs=16):
    """Print BLEU and chrF of the test sentences for both models beside two that have learned nothing."""
    with tempfile.TemporaryDirectory() as folder:
        corpus = load_pairs(simplified(path, folder), script="simplified", **LENGTHS)
    print(corpus.report)
    test = corpus.test
    common = Counter(corpus.train.targets).most_common(1)[0][0]
    print(f"{'English to Chinese':36} {'BLEU':>6} {'chrF':>6}")
    _row("the source copied", test.sources, test.references)
    _row(f"always {common}", [common] * len(test), test.references)
    for attention in (False, True):
        model, minutes = train_translator(corpus, attention, epochs)
        name = "with attention" if attention else "without attention"
        nats = -model.log_likelihood(test.sources, test.targets).sum()
        nats /= sum(len(target) + 1 for target in test.targets)
        figures = [f"{nats:.3f} nats a character", f"{minutes:.1f} min", f"{model.count_params():,} weights"]
        _row(name, model.translate(test.sources), test.references, *figures)
        beam = model.translate(test.sources, beam_width=4)
        _row(f"{name}, beam 4", beam, test.references)
    _quote(test, beam)


def _quote(test, written, count=10):
    """Every hundredth test sentence with its translation and a reference."""
    print("\nTen test sentences, evenly spaced, as the model with attention translates them (beam 4):")
    for number in range(0, len(test), max(1, len(test) // count)):
        print(f"{test.sources[number]} | {written[number]} | {' / '.join(test.references[number][:2])}")


def main():
    """Run both comparisons."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", default=os.environ.get("AIGC_PAIRS"), help="file of tab-separated sentence pairs")
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--sentences-only", action="store_true")
    options = parser.parse_args()
    if not options.sentences_only:
        compare_decoding()
    if options.pairs:
        compare_sentences(options.pairs, options.epochs)
    else:
        print("No file of sentence pairs: pass --pairs cmn.txt (manythings.org/anki).")


if __name__ == "__main__":
    main()
