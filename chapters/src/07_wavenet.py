# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 07 · WaveNet: convolutions that make music
#
# You build a network that writes four-part music in the manner of Bach's chorales, one note after the other, and sets
# hymn tunes for choir. The same network, without a changed line, makes sound itself, 8,000 numbers a second.
#
# The causal convolution, the gate, the block and the queue that makes writing fast stand here in a few lines each, with
# a check for each claim. Five exercises ask for lines of your own.
#
# *About 90 minutes, one to four of them training. Headphones help.*

# %%
from aigc_course import runtime

print(runtime.setup(seed=0))
sizes = runtime.sizes("07_wavenet")

# %%
import time

import keras
import numpy as np
from keras import ops
from scipy import stats

from aigc_course import (
    audio,
    check,
    checkpoints,
    chorale_writer,
    corrections,
    melody_vae,
    music_recipes,
    sampling,
    score,
    training,
    wavenet,
    wavenet_plots,
    widgets,
)
from aigc_course.datasets import chorales, tones
from aigc_course.datasets.chorale_windows import ChoraleWindows
from aigc_course.metrics import music
from aigc_course.metrics.ngram import NGram

data = chorales.load_chorales()
writer = chorale_writer.ChoraleWriter(checkpoints.load("wavenet-chorales"))
tunes = [data.test[number] for number in sizes.tunes]
widgets.explore(
    wavenet_plots.harmony_panel(writer, tunes),
    alt="A player, and the four voices as bars over time",
    tune=widgets.choice({f"{tune.title} ({tune.meter})": number for number, tune in enumerate(tunes)}, 0, "tune"),
    soprano=widgets.choice({"keep the hymn tune": True, "write all four voices": False}, True, "melody"),
    temperature=widgets.slider(0.0, 1.5, 0.1, 0.7, "temperature"),
    seed=widgets.slider(0, 20, 1, 1, "seed"),
    bars=widgets.slider(1, 4, 1, 4, "bars"),
    view=widgets.choice(["piano roll", "score"], "piano roll", "view"),
)

# %% [markdown]
# Press play. The top voice is a hymn tune as it stands in a chorale by Bach (a hymn set for four voices) that the
# network has never seen; alto, tenor and bass it has written just now. Another seed is another setting of the same
# melody. Let it write all four voices, then raise the temperature until it loses its manners: 0 always takes the most
# probable note, 1 draws as the network believes. **Question:** at which temperature do you first hear a wrong note?
#
# (The score needs the package *verovio*: `python3 course.py setup music`. Everything else works without it.)
#
# ## The data
#
# Four voices on a grid of sixteenths (four to a quarter note, the beat; British readers know them as semiquavers and
# crotchets): for each voice the pitch that sounds, as its MIDI number (60 is middle C, one more is a semitone higher),
# and whether the note begins here or is held on.

# %%
print(f"{len(data.train)} chorales to learn from, {len(data.validation)} and {len(data.test)} held out")
for number in range(4):
    chorale = data.train[number]
    print(f"BWV {chorale.bwv:7} {chorale.key:12} {chorale.meter}  {len(chorale):4} sixteenths  {chorale.title}")
example = data.train[0].crop(0, 48)
print(example.pitches[:6].tolist())
print(example.starts[:6].astype(int).tolist())
audio.play(audio.music_clip(example.pitches, example.starts, label=f"BWV {example.bwv}, its beginning"))
score.piano_roll(example.pitches, example.starts, example.beats, example.meter)

# %% [markdown]
# BWV is the number in the catalogue of Bach's works. Each block of the picture is a note; colour and pattern tell the
# voice. Most sixteenths begin nothing: a chord usually lasts half a quarter or a whole one. Remember that when an
# accuracy looks high.
#
# Training and held-out pieces are split by *tune*: Bach set some tunes a dozen times, and a held-out setting whose
# sister was trained on would measure memory.
#
# A network reads ids. The four voices are laid in a row, soprano, alto, tenor, bass, then the next sixteenth. Id 0 is a
# rest; then each of 53 pitches (34 to 86) has an id for a note that *begins* and another for one that is *held*; with
# one id for padding that makes 108.

# %%
ids = chorales.tokens(example)
print(ids[:16].reshape(4, 4))
pitches, starts = chorales.from_tokens(ids)
check.close(pitches, example.pitches, name="there and back, pitches")
check.close(starts, example.starts, name="there and back, beginnings")

# %% [markdown]
# ## What nobody may skip: the score of doing nothing
#
# The task is to predict the next id from those before. A machine that always says "whatever sounded goes on" has
# learned nothing. How often is it right?

# %%
copying = music.copy_accuracy(data.test)
print(f"copying the last chord is right for {copying:.1%} of the ids")

# %% [markdown]
# That is the number to beat. A course that reports "82 % accuracy" for a network on such data, and not this, has
# reported mostly the length of the notes.
#
# The better measure is what the truth costs: $-\log p$ of the id that came, in nats, on average. Guessing among all ids
# costs $\ln 108 = 4.7$; a certain and right answer 0; a certain and wrong one infinitely much. A stronger rival is a
# table of counts, an *n-gram*: how often did this id follow these $n-1$ ids? (Runs never seen borrow from shorter ones,
# as in chapter 10.) It does better when all held notes are one id, so it gets that; no music is lost by it (what is
# held is what sounded before), and the nats can be compared.


# %%
def rows_of(part, keys=(0,)):
    """Ids of chorales in some keys, one row each, for an n-gram: 0 where there are none, 1 and 2 unused."""
    moved = [chorale.transposed(key) for chorale in part for key in keys if key in chorale.transpositions()]
    rows = [np.minimum(chorales.tokens(chorale), chorales.HELD) + 3 for chorale in moved]
    table = np.zeros((len(rows), max(map(len, rows))), "int32")
    for line, row in zip(table, rows, strict=True):
        line[: len(row)] = row
    return table


held_rows = rows_of(data.test)
for order, keys in ((1, (0,)), (3, (0,)), (9, range(-6, 6))):
    counted = NGram(order, vocabulary_size=chorales.HELD + 4).fit(rows_of(data.train, keys))
    cost = -counted.log_probabilities(held_rows)[held_rows > 0].mean()
    print(f"{order}-gram, learned in {'all keys' if len(keys) > 1 else 'their own keys'}: {cost:.3f} nats an id")

# %% [markdown]
# ## A convolution that does not look ahead
#
# A convolution over time gives each step a weighted sum of its neighbours. In a picture there is no before and after;
# in a piece there is, and a network that is to predict step $t+1$ must see nothing after step $t$. A *causal*
# convolution with $k$ weights looks only back:
#
# $$y_t = \sum_{j=0}^{k-1} w_j \, x_{t-(k-1-j)}, \qquad x_t = 0 \text{ before the beginning.}$$
#
# **Three numbers.** $x = (1, 2, 4)$, $w = (3, 1)$: $y_1 = 3\cdot0 + 1 = 1$, $y_2 = 3\cdot1 + 2 = 5$,
# $y_3 = 3\cdot2 + 4 = 10$. With *dilation* $d$ the neighbours lie $d$ steps apart: $x_{t-(k-1-j)d}$.


# %%
def my_causal_convolution(x, kernel, bias, dilation=1):  # [B, T, D], [k, D, C], [C] -> [B, T, C]
    reach = (len(kernel) - 1) * dilation
    padded = np.pad(x, ((0, 0), (reach, 0), (0, 0)))
    return bias + sum(padded[:, j * dilation : j * dilation + x.shape[1]] @ kernel[j] for j in range(len(kernel)))


three = np.array([1.0, 2.0, 4.0]).reshape(1, 3, 1)
print(my_causal_convolution(three, np.array([3.0, 1.0]).reshape(2, 1, 1), 0.0)[0, :, 0])
x = np.random.default_rng(0).normal(size=(2, 11, 5)).astype("float32")
theirs = keras.layers.Conv1D(4, 3, padding="causal", dilation_rate=2)
expected = theirs(x)
kernel, bias = map(ops.convert_to_numpy, theirs.get_weights())
check.close(my_causal_convolution(x, kernel, bias, dilation=2), expected, name="Keras' layer")
layer = wavenet.CausalConv1D(4, 3, dilation=2)
layer.build(x.shape)
layer.set_weights([kernel, bias])
check.close(layer(x), expected, name="the course's")

# %% [markdown]
# The documents that this course follows use `padding="same"`, which centres the kernel: of five weights two look
# ahead. That such a network cheats is not a matter of opinion. Change a *later* step, and see whether an *earlier*
# output moves:


# %%
def moved_before(network, x, at=6):
    """Largest change of any output before step ``at`` when the input changes from there on."""
    changed = x.copy()
    changed[:, at:] += 1
    before, after = (ops.convert_to_numpy(network(part))[:, :at] for part in (x, changed))
    return np.abs(before - after).max()


for padding in ("same", "causal"):
    stack = keras.Sequential([keras.layers.Conv1D(8, 5, padding=padding, activation="relu") for _ in range(3)])
    print(f"{padding:7} earlier outputs move by {moved_before(stack, x):.3f}")
assert moved_before(stack, x) == 0, "the future leaks"

# %% [markdown]
# Exactly zero, not nearly: what is not read has no influence. In training a network that sees the future reads the
# answer off it and reports a splendid loss; when it writes, there is no future to read, and it is lost.
#
# ## How far back: dilation
#
# Three causal layers of width 5 see $1 + 3 \cdot 4 = 13$ steps, three sixteenths of four voices. A piece needs bars.
# More layers help slowly: one layer adds $k-1$ steps. But let layer $l$ skip: dilations 1, 2, 4, 8, ... With $k=2$,
# each layer *doubles* what is seen:
#
# $$\text{receptive field} = 1 + (k-1) \sum_l d_l, \qquad k=2,\ d_l = 2^{l-1}: \quad 2^L.$$

# %%
widgets.explore(
    wavenet_plots.receptive_tree,
    alt=lambda **values: wavenet_plots.tree_words(**values),
    num_layers=widgets.slider(1, 5, 1, 4, "layers"),
    kernel_size=widgets.slider(2, 5, 1, 2, "kernel"),
    dilated=widgets.choice({"dilations 1, 2, 4, ...": True, "no dilation": False}, True, "dilation"),
    causal=widgets.choice({"causal": True, "same (the documents)": False}, True, "padding"),
)

# %% [markdown]
# Blue is what the output at step 0 is made of; orange lies in its future. Every edge multiplies by a weight matrix, and
# all edges of a layer with the same slant share one. **Questions:** How many layers without dilation see as much as
# four with it? (Compute it.) Set the documents' stack (3 layers, kernel 5, no dilation, same): how much of what it sees
# is future?
#
# A formula can be checked: the output depends on an input step if its gradient there is not zero.

# %%
for dilations in ((1, 1, 1), (1, 2, 4), (1, 2, 4, 8), (1, 2, 4, 1, 2, 4)):
    small = wavenet.WaveNet(7, dilations, residual_dim=6, skip_dim=5)
    measured = wavenet.measured_receptive_field(small)
    print(f"dilations {dilations!s:20} formula {small.receptive_field:3}, by gradient {measured:3}")
    assert measured == small.receptive_field
print(f"the writer above: {writer.model.receptive_field} ids, {writer.model.receptive_field / 16:.0f} quarters")

# %% [markdown]
# ## The block
#
# Between the convolutions stands a *gated unit* (van den Oord et al., 2016, eq. 2): one half of the channels says
# something, the other half how loud,
#
# $$z = \tanh(W_f * x) \odot \sigma(W_g * x).$$

# %%
widgets.explore(
    wavenet_plots.gate_curves,
    alt=lambda **values: wavenet_plots.gate_words(**values),
    filter_weight=widgets.slider(-3.0, 3.0, 0.5, 1.0, "filter weight"),
    gate_weight=widgets.slider(-3.0, 3.0, 0.5, 1.0, "gate weight"),
    gate_bias=widgets.slider(-6.0, 6.0, 0.5, 0.0, "gate bias"),
)

# %% [markdown]
# With the gate's weight at 0 and its bias at −6 the gate is shut, $\sigma(-6) = 0.002$, whatever the filter says; a
# large weight can open it again. That bias is where a *condition* will enter: "this is the bass", "here a line ends",
# "the key is G minor". **Question:** the sigmoid is never negative; for which filter weight alone is the product never
# negative?
#
# From $z$ two 1×1 convolutions (dense layers on each step) leave: one is added to the stream that runs through all
# blocks (*residual*), one goes straight to the output, where the *skips* of all blocks are summed. So the output hears
# blocks that look one step back and blocks that look 128 back on equal terms, and gradients reach all of them.


# %%
def my_block(x, weights, dilation):  # [B, T, R] -> [B, T, R], [B, T, K]
    filters = my_causal_convolution(x, weights["kernel"], weights["bias"], dilation)
    what, how_loud = np.split(filters, 2, axis=-1)
    z = np.tanh(what) / (1 + np.exp(-how_loud))
    return x + z @ weights["residual"] + weights["residual_bias"], z @ weights["skip"] + weights["skip_bias"]


block = wavenet.GatedBlock(residual_dim=5, skip_dim=7, kernel_size=2, dilation=4)
block(x)
random = np.random.default_rng(1)
block.set_weights([random.normal(size=weight.shape) for weight in block.weights])  # biases too, which begin at 0
names = ("kernel", "bias", "residual", "residual_bias", "skip", "skip_bias")
weights = dict(zip(names, block.get_weights(), strict=True))
stream, skip = block(x)
mine = my_block(x, weights, dilation=4)
check.close(mine[0], stream, name="the stream after a block")
check.close(mine[1], skip, name="what it says to the output")

# %% [markdown]
# The whole network: an embedding of the ids, the blocks, the sum of the skips, and twice a ReLU and a 1×1 convolution,
# to logits: *one row of logits for every step*. (The documents end with an LSTM that leaves one vector for the whole
# piece: one prediction where there should be a thousand.) The writer above has the dilations 4, 1, 2, 4, ..., 128, 4,
# 1, 2, 4. The 4 in front is there because four ids make a sixteenth: it joins what a voice sings with what it sang just
# before.
#
# ## The target is one step ahead
#
# All steps are trained at once; row $t$ has to name id $t+1$. Forget that shift, and the best a network can do is
# repeat its input. Watch it get there, on ids that are pure chance, so that there is no rule to learn:

# %%
chance, fresh = np.random.default_rng(0).integers(0, 11, size=(2, 64, 32)).astype("int32")
for name, (inputs, targets) in {"shifted": wavenet.shifted(chance), "not shifted": (chance, chance)}.items():
    keras.utils.set_random_seed(0)
    tiny = wavenet.WaveNet(11, (1, 2), residual_dim=16, skip_dim=16)
    tiny.compile(keras.optimizers.Adam(1e-2))
    history = tiny.fit(inputs, targets, epochs=30, batch_size=16, verbose=0).history
    logits = ops.convert_to_numpy(tiny(fresh[:, :-1]))
    ahead = (logits.argmax(-1) == fresh[:, 1:]).mean()
    print(f"{name:12} loss {history['loss'][-1]:.4f}, names the next id {ahead:.1%} of the time (chance 9.1 %)")

# %% [markdown]
# A loss near zero, and no idea of what comes next. A low loss proves nothing about the task until the task is checked.
# (The shifted network's loss lies below $\ln 11 = 2.40$ as well: it has learned some of its 64 rows by heart. On fresh
# rows both are at chance.)
#
# ## Train on chorales
#
# The live network is told, for every id it has to name, what is known before the music is: which voice it is, the place
# in the bar, the key (its home note, the *tonic*, and major or minor), where lines end. In half of the windows it is
# also told the melody, now and at the next two beats, so that one network learns both to harmonise and to compose. (The
# condition $c_t$ enters filter and gate through matrices of its own:
# $z = \tanh(W_f * x + V_f c) \odot \sigma(W_g * x + V_g c)$, section 2.5 of the paper, with a condition that changes
# over time.)

# %%
live = chorale_writer.build_chorale_wavenet(sizes.dilations, sizes.residual_dim, 2 * sizes.residual_dim, dropout=0.0)
windows = ChoraleWindows(data.train[: sizes.train], length=sizes.window, batch_size=8, seed=0)
live.compile(music_recipes.wavenet_optimizer(sizes.epochs * len(windows), peak=4e-3))
history = training.fit(live, windows, epochs=sizes.epochs)

# %%
test = data.test[: sizes.test]
scores = {}
for name, model in {"live": live, "shipped": writer.model}.items():
    one = chorale_writer.ChoraleWriter(model)
    scores[name] = [one.nats(test), one.nats(test, melody=False)]
    print(f"{name:8} nats an id: {scores[name][0]:.3f} under a given melody, {scores[name][1]:.3f} all four voices")
check.between("wavenet/live_harmony", scores["live"][0])
print(f"accuracy of the live network in its last pass: {history.history['accuracy'][-1]:.1%}")
check.between("wavenet/shipped_harmony", scores["shipped"][0])

# %% [markdown]
# The second figure stands beside the n-grams above: the same notes to name, all four voices. (Those were told nothing,
# not even the key or the bar; they only counted.) The live network is small and has had a minute or two, the shipped
# one 36 passes in ten. In the profile *class* the accuracy, here on the training windows, climbs to the score of
# copying within the first pass and gains only a few points in all the others. It ends at about the "82 %" from above;
# what was learned shows in the nats.
#
# ## Writing: the slow loop, and the queue
#
# To write, run the network, draw the next id from its last row, append, and again:


# %%
def my_slow_loop(model, ids, steps):
    """Greedy, one row, the whole text read again at each step."""
    ids = list(ids)
    for _ in range(steps):
        logits = ops.convert_to_numpy(model(np.array([ids], "int32")))
        ids.append(int(logits[0, -1].argmax()))
    return ids


keras.utils.set_random_seed(3)
small = wavenet.WaveNet(11, wavenet.doubling(4), residual_dim=12, skip_dim=12)
begin = [3, 1, 4, 1, 5]
slow = my_slow_loop(small, begin, 40)
print(slow)

# %% [markdown]
# Each step computes every layer at every place again, though only the last place is new. What does layer $l$ need for
# one new output? Its input now, and its input $d_l$ steps ago. So keep, for each layer, a *queue* of its last $d_l$
# inputs (Le Paine et al., 2016): take out the oldest, put in the newest. A step then costs a few small products a
# layer, however far the network sees.


# %%
class MyQueues:
    """One step of a WaveNet at a time; one row, kernel width 2."""

    def __init__(self, model):
        self.model = model
        self.queues = [[np.zeros((1, model.residual_dim), "float32")] * d for d in model.dilations]

    def step(self, token):  # -> logits [V]
        x = ops.convert_to_numpy(self.model.embed(np.array([token], "int32")))
        total = 0.0
        for queue, block in zip(self.queues, self.model.blocks, strict=True):
            old, now = queue.pop(0), x
            queue.append(x)
            kernel, bias = map(ops.convert_to_numpy, (block.convolution.kernel, block.convolution.bias))
            what, how_loud = np.split(old @ kernel[0] + now @ kernel[1] + bias, 2, axis=-1)
            z = np.tanh(what) / (1 + np.exp(-how_loud))
            total = total + ops.convert_to_numpy(block.skip(z))
            x = x if block.residual is None else x + ops.convert_to_numpy(block.residual(z))
        return ops.convert_to_numpy(self.model.to_logits(total))[0]


machine = MyQueues(small)
fast = list(begin)
for token in begin:
    logits = machine.step(token)
for _ in range(40):
    fast.append(int(logits.argmax()))
    logits = machine.step(fast[-1])
assert fast == slow, "the queues have lost something"
written = small.generate([begin], 40, sampling.GREEDY)[0].tolist()
assert written == slow
print("slow loop, your queues and the course's: the same ids")

# %% [markdown]
# It is the twin of chapter 10's key-value cache, with one difference: an attention layer looks at *everything* before,
# so its cache grows with the text and each step gets dearer; a convolution looks at two places, so its queue has a
# fixed length. In the course both loops are compiled as one program:

# %%
part = tunes[0].crop(0, 16 * sizes.timed_bars)
seconds, music_of = {}, {}
for cached in (False, True):
    for _ in range(2):  # the first call compiles
        start = time.perf_counter()
        music_of[cached] = writer.write(part, sampling.GREEDY, cached=cached)
        seconds[cached] = time.perf_counter() - start
    print(f"{'with' if cached else 'without'} queues {seconds[cached]:.2f} s for {4 * len(part)} ids")
assert np.array_equal(music_of[True].pitches, music_of[False].pitches)
check.between("wavenet/times_faster", seconds[False] / seconds[True])

# %% [markdown]
# ## Is it good?
#
# Write settings for held-out melodies, and chorales for held-out *plans* (a chorale without its notes: key, bars, ends
# of lines, length), and compare with Bach's own (the ceiling) and with Bach's notes shuffled among his chorales (the
# floor).

# %%
plans = data.test[: sizes.num_written]
harmonised = music.report(writer.write(plans, seed=1))
check.between("wavenet/chords", harmonised.generated.chords)
harmonised

# %%
composed = music.report(writer.write(plans, seed=2, keep_soprano=False))
check.between("wavenet/composed_chords", composed.generated.chords)
composed

# %% [markdown]
# Read the rows one by one beside Bach and the shuffled notes (whose rhythm and ranges are Bach's, so those two rows
# have no floor). *Chords* is the share of beats whose notes belong to a triad or seventh chord, three or four notes
# stacked in thirds (two of them count too). The longest runs that also stand in a training chorale, in any key, are to
# be compared with those of Bach's own held-out pieces: he liked his formulas too, and a model that had learned chorales
# by heart would sound best of all. (Under a given melody, the row of copied melody is Bach's own.)
#
# (All at temperature 0.7. A *pitch class* is a note's name without its octave. The first two rows are the share of a
# histogram that would have to move to make that of the training chorales, 0 to 1.)
#
# Three rows are bad. *Estimated tonic* finds the key whose profile (how well listeners found each pitch class to fit a
# key; Krumhansl and Kessler, 1982) is nearest to how long each pitch class sounds: the network strays from the key that
# was asked for more often than Bach. *Ends on the tonic* asks whether the last chord is that of the key that was asked
# for: with the melody given it mostly is, without it in one piece of three. Third, *parallels* are worse than the
# floor: two voices that move in parallel fifths, octaves or unisons, which every student of harmony is taught to avoid.
# The network has learned which notes sound together, and in good chords two voices are often a fifth or an octave
# apart, oftener than among shuffled notes. It has not learned that Bach hardly ever leads two voices from one such
# distance to the next in the same direction: where two of its voices move the same way, about seven in a hundred are
# parallels, of Bach's here one in a thousand. Likelihood hardly noticed, since it asks only what Bach's notes cost: a
# tenth of the probability wasted on parallels costs them $-\ln 0.9 \approx 0.1$ nats a change of chord, a hundredth of
# a nat an id.
#
# A rule that can be counted can be asked for. Write sixteen settings at once, and keep the one with the fewest:

# %%
settings = writer.write([tunes[0]] * 16, seed=3)
counts = [music.parallels(one).count for one in settings]
best = settings[int(np.argmin(counts))]
print(f"parallels in sixteen settings: {sorted(counts)}; Bach's own: {music.parallels(tunes[0]).count}")

# %% [markdown]
# Listen to it, and to a chorale that is new in all voices; the player holds the first seconds. All of it, with a MIDI
# file that any notation program opens, lands in the folder `runs`.

# %%
runs = runtime.course_root() / "runs"
runs.mkdir(exist_ok=True)
new = writer.write(tunes[0], seed=4, keep_soprano=False)
for name, one in (("harmonised", best), ("composed", new)):
    clip = audio.music_clip(one.pitches, one.starts, tempo=100, label=f"Chorale, {name} by the network")
    audio.play(clip)
    clip.save_wav(runs / f"{name}.wav")
    audio.to_midi(one.pitches, one.starts, runs / f"{name}.mid", tempo=100, title=one.title)

# %% [markdown]
# ## What WaveNet was made for: sound itself
#
# A second of sound at telephone quality is 8,000 numbers. The same network predicts them one by one; what was an id of
# a note is now the id of an air pressure. Telephones use 256 levels that are not evenly spaced (ITU-T G.711; in North
# America and Japan by straight pieces along the *mu-law*, Europe's A-law is its cousin): quiet samples get finer steps,
#
# $$f(x) = \operatorname{sign}(x)\, \frac{\ln(1 + \mu |x|)}{\ln(1 + \mu)}, \qquad \mu = 255.$$


# %%
def my_mu_law(x, mu=255):  # [-1, 1] -> [-1, 1]
    return np.sign(x) * np.log(1 + mu * np.abs(x)) / np.log(1 + mu)


values = np.linspace(-1, 1, 9)
check.close(my_mu_law(values), audio.mu_law(values), name="mu-law")
sound = audio.music_clip(example.pitches[:16], example.starts[:16], sample_rate=tones.RATE, label="One bar")
widgets.explore(
    wavenet_plots.mu_law_panel(sound),
    alt="A player, the curve of the levels, and twelve milliseconds of the wave",
    levels=widgets.choice([4, 8, 16, 32, 64, 128, 256], 16, "levels"),
    law=widgets.choice(["mu-law", "linear"], "mu-law", "spacing"),
    loudness=widgets.choice({"as it is": 1.0, "a tenth": 0.1, "a hundredth": 0.01}, 0.1, "loudness"),
)

# %% [markdown]
# The sound is made quieter before it is sent, and louder again for your ears. A loud bar uses all linear levels, and
# there they even win in decibels. With 16 levels or more, at a tenth, the mu-law has lost about one decibel and the
# linear levels twenty or so: quiet sounds are what it is for. **Question:** how many linear levels are then as clean as
# 32 of the mu-law?
#
# The sound to learn from is made here, from the chorales' sopranos, note by note. The network is told the note and has
# to make the wave.

# %%
speaker = checkpoints.load("wavenet-tones")
pieces = tones.make_tones(data.test, count=sizes.pieces, seconds=sizes.seconds, seed=1)
learned_from = tones.make_tones(data.train, count=sizes.fitted, seconds=0.5, seed=0)
costs = {"every level alike": 8.0}
for order, name in ((0, "the last sample again"), (64, "a weighted sum of the last 64")):
    costs[name] = tones.predictor_bits(learned_from.ids, pieces.ids, order)
costs["WaveNet"] = -speaker.log_probabilities(pieces.ids, pieces.conditions()).mean(dtype="float64") / np.log(2)
for name, bits in costs.items():
    print(f"{name:31} {bits:.2f} bits a sample")
check.between("wavenet/tone_bits", costs["WaveNet"])

# %% [markdown]
# The two baselines are no straw men: how far each guess misses was counted on training pieces, for loud and quiet
# samples apart, and made into a distribution. A sine wave *is* a weighted sum of its last two samples, but the weights
# depend on its pitch, and these baselines have one set for all notes. WaveNet is told the note, and its gates can
# change the weights with it.
#
# Why 256 classes, and not one number with a squared error? Because what comes next need not be one thing with a little
# noise about it. Look at what the network expects of each sample of a piece:

# %%
(inputs, known), targets = wavenet.shifted(pieces.ids[:1], pieces.conditions([0]), speaker.start_id)
shares, came = ops.convert_to_numpy(ops.softmax(speaker(inputs, known)))[0], targets[0]
widgets.explore(
    wavenet_plots.belief_panel(shares, came),
    alt="A bar for each of 256 levels, their mean, and the level that came",
    place=widgets.slider(0, len(came) - 1, 1, 3560, "sample"),
)

# %% [markdown]
# The mean (dashed) is what a regression would have answered. Here it lies at the edge of a hump, drawn aside by a spike
# at levels 127 and 128, the two beside the sample 0: this A turns 440 times a second, eleven times in 200 samples, so
# that every hundredth sample of the note is 0 (the last one nine samples ago), and the network, which does not count so
# well, still allows for one here. Nobody asked for this shape, and nobody had to. **Question:** most samples have one
# narrow hump; what is the probability of the level that came at sample 40?
#
# A regression with an honest error bar is a normal distribution. Give it the network's own mean and spread at every
# sample, about the best it could do if the network is right, and let it pay for the same piece:

# %%
levels = np.arange(tones.LEVELS)
mean = shares @ levels
spread = np.sqrt(np.maximum(shares @ levels**2 - mean**2 - 1 / 12, 0.03))  # cut into levels it is wider by 1/12
edges = np.append(levels, tones.LEVELS) - 0.5
bell = np.diff(stats.norm.cdf((edges - mean[:, None]) / spread[:, None]))
for name, table in {"256 classes": shares, "a normal distribution": np.maximum(bell, 1e-6)}.items():
    print(f"{name:21} {-np.log2(table[np.arange(len(came)), came]).mean():.2f} bits a sample")

# %% [markdown]
# A few hundredths of a bit (on four pieces of a second it is 2.07 against 2.10): for this clean sound the shape hardly
# matters. But nobody had to tell the classes a shape.
#
# Now let it speak: the score of a held-out melody, and nothing but silence to begin with.

# %%
spoken = speaker.generate([[]], pieces.ids.shape[1], conditions=pieces.conditions([0]), seed=0)[0]
made = audio.Clip(audio.mu_law_decode(spoken), tones.RATE, "Made by the network, from the notes alone")
real = pieces.clip(0, "Synthesised, as the training pieces were")
audio.play(real)
audio.play(made)
audio.spectrogram({"real": real, "made by the network": made})

# %% [markdown]
# Time runs to the right, frequency upwards; each stack of lines is a note with its harmonics. The lines of the right
# picture lie where those of the left one do, and between them is the hiss of 8,000 draws a second.
#
# ## A melody as one point
#
# WaveNet is *autoregressive*: it has no hidden variable to turn, only a past. (One of the documents says that WaveNet
# and MusicVAE both learn the data's latent distribution. The first has none.) *MusicVAE* (Roberts et al., 2018) is a
# VAE like that of chapter 08, for melodies. Here stands a small cousin of it: two bars, one of 27 ids (a rest, "held",
# 25 pitches) for each of 32 sixteenths, and a decoder that names all sixteenths at once. (MusicVAE's own writes one
# after the other, with a second level above for sixteen bars.) `vae.VAE` does it, with recurrent networks as encoder
# and decoder:

# %%
melodist = checkpoints.load("vae-melodies")
melodies = melody_vae.melodies(data.test, transpose=False)
images = melody_vae.one_hot(melodies)
distortion, rate = (terms.mean() for terms in melodist.elbo_terms(images))
same = melody_vae.most_probable(melodist.reconstruct(images)) == melodies
held, begins = melodies == melody_vae.HOLD, melodies >= melody_vae.FIRST_NOTE
print(f"{len(melodies)} held-out melodies: distortion {distortion:.1f} nats, rate {rate:.1f}")
print(f'{same.mean():.1%} of their ids come back (always "held" is right for {held.mean():.1%})')
print(f"{same[begins].mean():.1%} of the notes that begin come back")
check.between("wavenet/melodies_right", same.mean())
check.between("wavenet/notes_right", same[begins].mean())
widgets.explore(
    wavenet_plots.morph_panel(melodist, melodies[sizes.first_tune], melodies[sizes.second_tune]),
    alt="A player, and the melody as bars over time",
    share=widgets.slider(0.0, 1.0, 0.1, 0.5, "share of the second"),
)

# %% [markdown]
# Three ids in four are "held": look at the share of the notes, not at that of the ids. At the ends of the slider stand
# two held-out melodies as their codes bring them back, two that the code keeps well: in the first, one note comes back
# as another. Between them lie melodies that nobody wrote. Can you sing them? WaveNet could not do this: it has no point
# to start from. On the other hand it writes any length, and gives an exact $p(x)$; the VAE gives two bars, and a bound.
# **Question:** half way, whose rhythm is it?
#
# ## What the documents got wrong

# %%
corrections.table("07")

# %% [markdown]
# ## Exercises
#
# **1. How deep?** How many layers of width $k$ with dilations 1, 2, 4, ... see at least $n$ steps?


# %% tags=["exercise"]
def layers_needed(num_steps, kernel_size=2):
    return ...


# %% tags=["solution"]
def layers_needed(num_steps, kernel_size=2):
    layers = 0
    while 1 + (kernel_size - 1) * (2**layers - 1) < num_steps:
        layers += 1
    return layers


# %%
def test_layers_needed(answer):
    for steps, kernel in ((16, 2), (17, 2), (13, 5), (14, 5), (9, 3), (8000, 2), (1, 3)):
        layers = int(answer(steps, kernel))
        assert wavenet.receptive_field(kernel, wavenet.doubling(layers)) >= steps, f"{layers} layers see too little"
        assert not layers or wavenet.receptive_field(kernel, wavenet.doubling(layers - 1)) < steps, "fewer would do"


check.exercise("07.1 depth", layers_needed, test_layers_needed, hint="The field is 1 + (k - 1)(2^L - 1).")

# %% [markdown]
# **2. A leak detector.** Write a function for any network from `[1, T, D]` to `[1, T, ...]`; it returns how many future
# steps the output at step `at` depends on. Use `wavenet.steps_seen`.


# %% tags=["exercise"]
def future_steps(network, length, width, at):
    return ...


# %% tags=["solution"]
def future_steps(network, length, width, at):
    return int(wavenet.steps_seen(network, length, width, at)[at + 1 :].sum())


# %%
def test_future_steps(answer):
    same = keras.Sequential([keras.layers.Conv1D(3, 5, padding="same") for _ in range(3)])
    causal = keras.Sequential([keras.layers.Conv1D(3, 5, padding="causal") for _ in range(3)])
    assert answer(same, 21, 4, 10) == 6, "three layers of width 5 look six steps ahead"
    assert answer(causal, 21, 4, 10) == 0, "a causal stack looks at none"
    assert answer(same, 21, 4, 18) == 2, "two steps follow step 18 of 21"
    dilated = keras.Sequential([keras.layers.Conv1D(3, 3, padding="same", dilation_rate=2)])
    assert answer(dilated, 21, 4, 10) == 1, "of width 3 with dilation 2: one future step, two ahead"


check.exercise("07.2 leak detector", future_steps, test_future_steps, hint="Count what comes after `at`.")

# %% [markdown]
# **3. Bits and levels.** A sample of 16 bits has 65,536 levels. What would a softmax layer over all of them cost in
# weights, fed by 128 channels, bias included? And with the mu-law's 256?


# %% tags=["exercise"]
def softmax_weights(levels, channels=128):
    return ...


# %% tags=["solution"]
def softmax_weights(levels, channels=128):
    return levels * (channels + 1)


# %%
def test_softmax_weights(answer):
    for levels, channels in ((256, 128), (65536, 128), (256, 5)):
        dense = keras.layers.Dense(levels)
        dense.build((None, channels))
        right = dense.count_params()
        assert answer(levels, channels) == right, f"a dense layer from {channels} to {levels} has {right:,}"


check.exercise(
    "07.3 levels", softmax_weights, test_softmax_weights, hint="Each level has a weight a channel, and a bias."
)

# %% [markdown]
# **4. Parallel fifths.** Two voices 7 semitones apart (or 19, or 31), no matter which is the higher, that move in the
# same direction and are again such a distance apart go in parallel fifths. Count them between two chords, given as four
# MIDI pitches each.


# %% tags=["exercise"]
def parallel_fifths(first, second):  # [4], [4] -> number of pairs of voices
    return ...


# %% tags=["solution"]
def parallel_fifths(first, second):  # [4], [4] -> number of pairs of voices
    count = 0
    for low in range(4):
        for high in range(low):
            before, after = abs(first[high] - first[low]), abs(second[high] - second[low])
            same_way = (second[high] - first[high]) * (second[low] - first[low]) > 0
            count += same_way and before % 12 == after % 12 == 7
    return int(count)


# %%
def test_parallel_fifths(answer):
    assert answer([67, 64, 60, 48], [69, 65, 62, 50]) == 2, "C-G to D-A: the soprano with tenor and with bass"
    assert answer([67, 64, 60, 48], [67, 64, 60, 48]) == 0, "who stays does not move in parallel"
    assert answer([72, 64, 60, 48], [74, 65, 62, 50]) == 0, "octaves are another fault"
    assert answer([65, 64, 60, 48], [69, 65, 62, 50]) == 0, "no fifth before"
    assert answer([67, 64, 60, 48], [71, 65, 62, 50]) == 0, "no fifth after"
    assert answer([67, 64, 60, 48], [65, 64, 60, 34]) == 1, "from 19 to 31 semitones: soprano and bass"
    assert answer([67, 64, 60, 48], [72, 64, 60, 41]) == 0, "they move against each other"
    assert answer([76, 55, 60, 44], [78, 57, 62, 46]) == 0, "C over G is a fourth, though G is the alto's"
    assert answer([79, 64, 60, 48], [81, 65, 62, 50]) == 2, "31 semitones are a fifth and two octaves"
    assert answer([76, 60, 67, 44], [77, 62, 69, 44]) == 1, "G over C is a fifth, though it is the tenor's"


check.exercise("07.4 parallel fifths", parallel_fifths, test_parallel_fifths, hint="Compare distances modulo 12.")


# %% [markdown]
# **5. Open end.** Lower the live network's nats without a longer training: other windows, more channels, dropout,
# another order of the voices (bass first?), a lookahead of a whole bar. Use three seeds, and compare on the validation
# chorales; the test chorales are for the end.
#
# ## Summary
#
# - Causal padding, proved by changing the future; dilation, counted by formula and by gradient.
# - A gated unit, a residual stream, skips that are summed: every step gets its own logits, and its target is one ahead.
# - Copying is the baseline; likelihood, floors and ceilings come before adjectives.
# - A queue a layer makes the cost of a step independent of how far the network sees; the notes are the same.
# - Classes over mu-law levels instead of a regression: no shape is assumed, and none is left out.
# - WaveNet has no latent variable; MusicVAE has one, and a slider on it.
#
# ## Sources

# %%
corrections.references(["vandenoord2016", "lepaine2016", "roberts2018", "krumhansl1982", "itu1988"])

# %% [markdown]
# **Where to go next:** chapter 09 replaces the convolution by attention, whose field is everything before; chapter 10
# writes poems with it, and its cache is the twin of this chapter's queues.
