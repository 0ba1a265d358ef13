"""WaveNet of the course: Bach's chorales note by note against simple models, and cached against uncached writing.

Usage: python -m benchmarks.wavenet --chorales jsb_chorales.tgz [--training-only] [--generation-only]

1. Training. The chorales of Boulanger-Lewandowski et al. (2012) as the tar of csv files that goes with Hands-On Machine
   Learning (``jsb_chorales/train|valid|test/*.csv``, four MIDI notes a row, 0 for a rest), in its split, in arpeggio
   order: soprano, alto, tenor, bass, next chord. Accuracy and nats a note on the test pieces, every note but those of
   a piece's first chord, beside the note of the same voice one chord before, and interpolated 3- and 5-grams.
   What the network is told: the voice, the chord's number modulo 16. Trained on transposed pieces.
2. Generation. Microseconds a step at batch 1, greedy, random weights, receptive fields of 64 to 4,096 (6 to 12 layers
   of width 2, dilation doubling): with queues and without on each backend, and the same loop without queues written
   plainly in PyTorch, round by round. With ``--layers`` every field has the same number of layers (``dilations_of``):
   what is left is the cost of longer queues.

PyTorch and JAX are used where they are installed; what is missing is said and left out.
"""

import argparse
import csv
import importlib.util
import io
import os
import tarfile
import time

import numpy as np

from benchmarks.side_by_side import measure

LOWEST, CLASSES = 36, 47  # MIDI note of class 1; class 0 is a rest
VOICES, CYCLE = 4, 16
SIZES = {"dilations": (4, 1, 2, 4, 8, 16, 32, 64, 128, 4, 1, 2, 4), "residual_dim": 96, "skip_dim": 160, "dropout": 0.2}
BATCH, CHORDS, STEPS_A_DRAW = 4, 48, 500  # windows of a step, chords of a window, steps on the windows of one draw
FIELDS = (64, 256, 1024, 4096)
RESIDUAL, SKIP, V = 32, 64, 64


# ---------------------------------------------------------------------------------------------------- chorales


def jsb_tar(path):
    """The pieces of ``train``, ``valid`` and ``test``: lists of int arrays [chords, 4] of classes."""
    found = {"train": [], "valid": [], "test": []}
    with tarfile.open(path) as archive:
        for member in sorted(archive.getmembers(), key=lambda member: member.name):
            if member.name.endswith(".csv"):
                text = archive.extractfile(member).read().decode()
                chords = np.array(list(csv.reader(io.StringIO(text)))[1:], "int32")
                found[member.name.split("/")[-2]].append(np.where(chords > 0, chords - LOWEST + 1, 0))
    return tuple(found.values())


def conditions_of(chords):
    """Voice and number of the chord modulo 16, one-hot, [4 chords, 20]."""
    steps = np.arange(VOICES * chords)
    return np.concatenate([np.eye(VOICES)[steps % VOICES], np.eye(CYCLE)[steps // VOICES % CYCLE]], 1).astype("float32")


def transposed(piece, semitones):
    """The piece some semitones higher, or as it is if a note would leave the range."""
    moved = np.where(piece > 0, piece + semitones, 0)
    notes = moved[piece > 0]
    return moved if notes.min() >= 1 and notes.max() < CLASSES else piece


def crops(pieces, count, chords, seed):
    """Random pieces of pieces, transposed by up to six semitones: ids [count, 4 chords], -1 behind the end, and
    conditions."""
    draw = np.random.default_rng(seed)
    ids = np.full((count, VOICES * chords), -1, "int32")
    shown = np.zeros((count, VOICES * chords, VOICES + CYCLE), "float32")
    for row in range(count):
        piece = pieces[draw.integers(len(pieces))]
        start = draw.integers(max(1, len(piece) - chords + 1))
        part = transposed(piece, draw.integers(-6, 7))[start : start + chords].ravel()
        ids[row, : len(part)] = part
        shown[row] = conditions_of(start + chords)[VOICES * start :]
    return ids, shown


def padded(pieces):
    """All pieces as rows of ids, -1 behind the end, and their conditions."""
    chords = max(map(len, pieces))
    ids = np.full((len(pieces), VOICES * chords), -1, "int32")
    for row, piece in zip(ids, pieces, strict=True):
        row[: piece.size] = piece.ravel()
    return ids, np.repeat(conditions_of(chords)[None], len(pieces), axis=0)


def score_copying(train, test):
    """Accuracy of the same voice's last note; nats of the table p(note | that note) with one count added."""
    counts = np.ones((CLASSES, CLASSES))
    for piece in train:
        np.add.at(counts, (piece[:-1].ravel(), piece[1:].ravel()), 1)
    table = np.log(counts / counts.sum(1, keepdims=True))
    before = np.concatenate([piece[:-1].ravel() for piece in test])
    notes = np.concatenate([piece[1:].ravel() for piece in test])
    return (before == notes).mean(), -table[before, notes].mean()


def score_ngram(train, test, order):
    """Accuracy and nats of ``NGram``; its ids 0 to 2 are no notes. Order 5 sees the voice's last note."""
    from aigc_course.metrics.ngram import NGram

    learned, ids = padded(train)[0], padded(test)[0]
    model = NGram(order, vocabulary_size=CLASSES + 3).fit(np.where(learned < 0, 0, learned + 3))
    nats = model.log_probabilities(np.where(ids < 0, 0, ids + 3))[:, VOICES:]
    best, hits = {}, []
    for piece in test:
        notes = piece.ravel() + 3
        for at in range(VOICES, len(notes)):
            key = tuple(notes[max(at - order + 1, 0) : at])
            if key not in best:
                best[key] = int(np.argmax(model.probabilities(notes[:at])))
            hits.append(best[key] == notes[at])
    return np.mean(hits), -nats[ids[:, VOICES:] >= 0].mean()


def score_wavenet(train, test, steps, seed):
    """Accuracy, nats and seconds of training of the course's WaveNet."""
    import keras
    from keras import ops

    from aigc_course import music_recipes
    from aigc_course.compiled import compiled
    from aigc_course.wavenet import WaveNet, shifted

    keras.utils.set_random_seed(seed)
    model = WaveNet(CLASSES, condition_dim=VOICES + CYCLE, padding_id=-1, seed=seed, **SIZES)
    model.compile(music_recipes.wavenet_optimizer(steps))
    start = time.perf_counter()
    for first in range(0, steps, STEPS_A_DRAW):
        some = crops(train, BATCH * min(STEPS_A_DRAW, steps - first), CHORDS, [seed, first])
        model.fit(*shifted(*some), batch_size=BATCH, shuffle=False, verbose=0)
    seconds = time.perf_counter() - start
    ids, shown = padded(test)
    counts = ids[:, VOICES:] >= 0
    nats = -model.log_probabilities(ids, shown)[:, VOICES - 1 :][counts].mean(dtype="float64")
    run = compiled(lambda ids, shown: ops.argmax(model(ids, shown), axis=-1), model)
    (inputs, conditions), _ = shifted(ids, shown)
    best = np.concatenate(
        [ops.convert_to_numpy(run(inputs[at : at + 1], conditions[at : at + 1])) for at in range(len(ids))]
    )
    return (best[:, VOICES - 1 :] == ids[:, VOICES:])[counts].mean(), nats, seconds, model.count_params()


def compare_training(path, steps, seeds):
    """Print accuracy and nats a note of all contenders."""
    train, _, test = jsb_tar(path)
    print(f"{'chorales, test':22} {'accuracy':>9} {'nats a note':>12} {'seconds':>8}")
    simple = {"last note of the voice": score_copying(train, test)}
    for order in (3, 5):
        simple[f"{order}-gram"] = score_ngram(train, test, order)
    for name, (accuracy, nats) in simple.items():
        print(f"{name:22} {accuracy:9.4f} {nats:12.4f}", flush=True)
    for seed in range(seeds):
        accuracy, nats, seconds, weights = score_wavenet(train, test, steps, seed)
        name = f"WaveNet, seed {seed}"
        print(f"{name:22} {accuracy:9.4f} {nats:12.4f} {seconds:8.0f}   {weights:,} weights", flush=True)


# ---------------------------------------------------------------------------------------------------- generation


def dilations_of(field, layers=None):
    """Doubling dilations that see ``field`` steps; with ``layers``, that many: the last one is made to fit, or ones are
    put in front."""
    doubled = [2**number for number in range(field.bit_length() - 1)]
    if layers is None:
        return tuple(doubled)
    if layers < 2 or field - 1 < layers:
        raise SystemExit(f"{layers} layers cannot see {field} steps.")
    head = [min(dilation, (field - 1) // layers) for dilation in doubled]
    head = (head + [head[-1]] * layers)[: layers - 1]
    return (*head, field - 1 - sum(head))


def _asked():
    field, layers, cached, new = os.environ["WAVENET_BENCHMARK"].split("-")
    return int(field), dilations_of(int(field), int(layers) or None), cached == "cached", int(new)


def generate_ours():
    """Contender: the course's loop. Without queues it begins behind a prompt that fills the field."""
    from aigc_course.sampling import GREEDY
    from aigc_course.wavenet import WaveNet

    field, dilations, cached, new = _asked()
    model = WaveNet(V, dilations, RESIDUAL, SKIP)
    assert model.receptive_field == field
    prompt = np.ones((1, 1 if cached else field), "int32")
    return lambda: model.generate(prompt, new, GREEDY, cached)


def generate_torch():
    """Contender: a plain network in PyTorch that reads the whole field at every step."""
    import torch
    from torch import nn
    from torch.nn import functional

    field, dilations, _, new = _asked()

    class PlainWaveNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(V, RESIDUAL)
            self.dilated = nn.ModuleList([nn.Conv1d(RESIDUAL, 2 * RESIDUAL, 2, dilation=d) for d in dilations])
            self.residual = nn.ModuleList([nn.Conv1d(RESIDUAL, RESIDUAL, 1) for _ in dilations])
            self.skip = nn.ModuleList([nn.Conv1d(RESIDUAL, SKIP, 1) for _ in dilations])
            self.hidden, self.output = nn.Conv1d(SKIP, SKIP, 1), nn.Conv1d(SKIP, V, 1)

        def forward(self, token_ids):  # [B, T] -> [B, V]
            x, total = self.embedding(token_ids).transpose(1, 2), 0.0
            for dilation, dilated, residual, skip in zip(
                dilations, self.dilated, self.residual, self.skip, strict=True
            ):
                filters, gates = dilated(functional.pad(x, (dilation, 0))).chunk(2, dim=1)
                z = torch.tanh(filters) * torch.sigmoid(gates)
                x, total = x + residual(z), total + skip(z)
            last = functional.relu(total[:, :, -1:])
            return self.output(functional.relu(self.hidden(last)))[:, :, 0]

    model = PlainWaveNet().eval()

    def run():
        token_ids = torch.ones((1, field), dtype=torch.long)
        with torch.no_grad():
            for _ in range(new):
                best = model(token_ids[:, -field:]).argmax(-1, keepdim=True)
                token_ids = torch.cat([token_ids, best], dim=1)

    return run


def contenders_for(field, layers, new):
    """Every way to write that is installed here, and how many steps each takes."""
    few = max(4, min(64, 4096 // field))
    found, steps = {}, {}
    for name, package in (("tensorflow", "tensorflow"), ("jax", "jax"), ("torch", "torch")):
        if importlib.util.find_spec(package):
            for way, count in (("cached", new), ("uncached", few)):
                label = f"{way}, {name}"
                asked = {"KERAS_BACKEND": name, "WAVENET_BENCHMARK": f"{field}-{layers}-{way}-{count}"}
                found[label], steps[label] = ("benchmarks.wavenet:generate_ours", asked), count
    if importlib.util.find_spec("torch"):
        asked = {"WAVENET_BENCHMARK": f"{field}-{layers}-uncached-{few}"}
        found["uncached, plain PyTorch"] = ("benchmarks.wavenet:generate_torch", asked)
        steps["uncached, plain PyTorch"] = few
    return found, steps


def compare_generation(fields, layers, new, only, rounds):
    """Print microseconds a step of all contenders for each field."""
    for field in fields:
        found, steps = contenders_for(field, layers, new)
        found = {name: what for name, what in found.items() if not only or name.startswith(tuple(only))}
        seconds = {name: value / steps[name] for name, value in measure(found, rounds).items()}
        slowest = seconds.get("uncached, plain PyTorch", float("nan"))
        print(f"\nfield {field}, {len(dilations_of(field, layers or None))} layers")
        print(f"{'':26} {'microseconds a step':>20} {'times faster than uncached':>27} {'than plain PyTorch':>19}")
        for name, value in seconds.items():
            own = seconds.get(f"un{name}", float("nan")) / value
            print(f"{name:26} {value * 1e6:20.0f} {own:27.1f} {slowest / value:19.1f}", flush=True)


def main():
    """Both comparisons."""
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--chorales", help="jsb_chorales.tgz, for part 1")
    options.add_argument("--steps", type=int, default=9000)
    options.add_argument("--seeds", type=int, default=1)
    options.add_argument("--fields", nargs="+", type=int, default=list(FIELDS), help="powers of two")
    options.add_argument("--layers", type=int, default=0, help="0: as many as the field needs")
    options.add_argument("--new", type=int, default=1000, help="steps with queues")
    options.add_argument("--only", nargs="+", default=[], help="how the names of the contenders begin, as in 'cached'")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--training-only", action="store_true")
    options.add_argument("--generation-only", action="store_true")
    asked = options.parse_args()
    for package in ("torch", "jax"):
        if importlib.util.find_spec(package) is None:
            print(f"{package} is not installed: its lines are left out.")
    if not asked.generation_only:
        if not asked.chorales:
            options.error("part 1 needs --chorales, or ask for --generation-only")
        compare_training(asked.chorales, asked.steps, asked.seeds)
    if not asked.training_only:
        compare_generation(asked.fields, asked.layers, asked.new, asked.only, asked.rounds)


if __name__ == "__main__":
    main()
