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
# # 03 · GAN images
#
# You train two generative adversarial networks on handwritten digits, a dense and a convolutional one, watch the digits
# appear, walk through the generator's code with sliders, and then judge the result as a researcher would: against real
# digits, against a trivial model, and against the suspicion that the network learned its examples by heart.
#
# The two losses, the generator and one way through latent space stand here in a few lines each: change a line and see
# which check fails. Three exercises ask for lines of your own. Chapter 02 explains why the
# losses look as they do; this chapter makes them draw.
#
# *About 60 minutes, two to three of them training.*

# %%
from aigc_course import runtime

print(runtime.setup(seed=0))
sizes = runtime.sizes("03_gan_images")

# %%
import warnings

import keras
import numpy as np

from aigc_course import (
    check,
    checkpoints,
    corrections,
    datasets,
    gan,
    gan_plots,
    metrics,
    plots,
    recipes,
    training,
    widgets,
)

shipped = checkpoints.load("dcgan-digits")
plots.show_images(shipped.sample(40, seed=7), columns=20, alt="Forty digits drawn by the generator of this chapter")

# %% [markdown]
# Nobody wrote these digits. They come from a convolutional generator that was trained longer than a class has time for
# and ships with the course; below you train the same network yourself. Not every one is perfect: look for those that
# are no digit at all, since a score at the end will count them.
#
# ## The data
#
# 8,000 handwritten digits train the networks, 1,000 others validate, and 1,000 more are kept for the scores. A picture
# has 28 × 28 grey levels in [0, 1].

# %%
digits = datasets.load_digits()
check.shape(digits.train.images, (8000, 28, 28, 1))
plots.show_images(digits.train.images[:8], titles=[str(label) for label in digits.train.labels[:8]], scale=3)

# %% [markdown]
# Eight training digits with their labels. A GAN never reads the labels; here they only help us to look.
#
# The generator will end in $\tanh$, whose values lie in $(-1, 1)$. The real images must be brought to the same range.
# If they are left in [0, 1], the discriminator has an easy life: whatever contains a number below 0 is a fake.

# %%
real = gan.to_model_range(digits.train.images)
print("grey levels", digits.train.images.min(), "to", digits.train.images.max())
print("for the networks", real.min(), "to", real.max())

# %% [markdown]
# ## Two losses
#
# The discriminator returns one real number for an image, the *logit* $\ell$. Its sigmoid $\sigma(\ell)$ estimates the
# probability that the image is real, so $\ell$ is the log-odds of "real": 0 means undecided.
#
# Chapter 02 derived what each network wants. The discriminator minimises
#
# $$L_D = -\,\mathbb{E}_x[\log \sigma(\ell(x))] - \mathbb{E}_z[\log(1 - \sigma(\ell(G(z))))]$$
#
# and the generator, in the non-saturating form of Goodfellow et al. (2014),
#
# $$L_G = -\,\mathbb{E}_z[\log \sigma(\ell(G(z)))].$$
#
# In floating point, $\log \sigma(-1000)$ is $\log 0$. With $\mathrm{softplus}(\ell) = \log(1 + e^{\ell})$ both terms
# become harmless: $-\log\sigma(\ell) = \mathrm{softplus}(-\ell)$ and $-\log(1 - \sigma(\ell)) =
# \mathrm{softplus}(\ell)$.
#
# **Three numbers.** For a real image with logit 2 and a fake with logit −1 the discriminator pays
# $\mathrm{softplus}(-2) = 0.127$ and $\mathrm{softplus}(-1) = 0.313$, together 0.440 nats. The generator pays
# $\mathrm{softplus}(1) = 1.313$. Both losses in NumPy:


# %%
def softplus(x):
    return np.logaddexp(0.0, x)  # log(e^0 + e^x), safe for any x


def my_discriminator_loss(real_logits, fake_logits):  # [B, 1], [B, 1] -> nats
    return softplus(-real_logits).mean() + softplus(fake_logits).mean()


def my_generator_loss(fake_logits):  # [B, 1] -> nats
    return softplus(-fake_logits).mean()


# %%
real_logits, fake_logits = np.array([[2.0], [0.5]]), np.array([[-1.0], [1000.0]])
check.close(my_discriminator_loss(real_logits, fake_logits), gan.discriminator_loss(real_logits, fake_logits))
check.close(my_generator_loss(fake_logits), gan.generator_loss(fake_logits))
check.close(my_discriminator_loss(np.array([2.0]), np.array([-1.0])), 0.1269 + 0.3133, tolerance=1e-4)

# %% [markdown]
# ## Two networks
#
# The generator turns a *code* $z$ of 64 normal random numbers into an image. Two dense layers make 7 × 7 places with
# 128 numbers each; two *transposed convolutions* with stride 2 double the side, 7 → 14 → 28. Two, not three: three
# would end at 56. This is the plan of DCGAN (Radford et al., 2016): each stage is linear, then normalised over the
# batch, then passed through one activation, and $\tanh$ comes last and only there. The first dense layer is an
# addition of Chen et al. (2016): it can decide *what* to draw before the others decide where each stroke goes.


# %%
def my_generator(latent_dim=64, width=64):  # [B, Z] -> [B, 28, 28, 1]
    return keras.Sequential(
        [
            keras.Input((latent_dim,)),
            keras.layers.Dense(512, use_bias=False),
            keras.layers.BatchNormalization(momentum=0.9),
            keras.layers.ReLU(),
            keras.layers.Dense(7 * 7 * 2 * width, use_bias=False),
            keras.layers.BatchNormalization(momentum=0.9),
            keras.layers.ReLU(),
            keras.layers.Reshape((7, 7, 2 * width)),
            keras.layers.Conv2DTranspose(width, 4, strides=2, padding="same", use_bias=False),
            keras.layers.BatchNormalization(momentum=0.9),
            keras.layers.ReLU(),
            keras.layers.Conv2DTranspose(1, 4, strides=2, padding="same", activation="tanh"),
        ]
    )


# %%
mine = my_generator()
check.shape(mine(np.zeros((2, 64), "float32")), (2, 28, 28, 1))
assert mine.count_params() == gan.DCGANGenerator().count_params()
for layer in mine.layers:
    print(f"{type(layer).__name__:20} {layer.output.shape[1:]!s:15} {layer.count_params():>8,} numbers")

# %% [markdown]
# The dense layers and transposed convolutions in front of a normalisation have no bias: the normalisation subtracts the
# mean, so it would take the bias out again and then add its own.
#
# The discriminator goes the other way, 28 → 14 → 7, by convolutions with stride 2, reads the places together in a dense
# layer, and ends in one logit. The strides do real work: without them the dense layer would have to read 28 · 28 · 128
# numbers instead of 7 · 7 · 128.

# %%
judge = gan.DCGANDiscriminator()
dense_layer = next(layer for layer in judge.layers if isinstance(layer, keras.layers.Dense))
print("the dense layer reads", dense_layer.input.shape[1], "numbers; without strides", 28 * 28 * 128)
keras.ops.convert_to_numpy(judge(real[:2]))

# %% [markdown]
# Two numbers for two images, both near 0: an untrained judge cannot decide.
#
# One more layer stands first in the judge. 8,000 images are few, and a judge that sees them again and again learns them
# by heart: then it is sure of every training image, unsure of all others, and its gradient teaches the generator
# nothing about digits. `RandomShift` moves every image, real or generated, by up to two pixels before the judge looks
# (Zhao et al., 2020), so that each image comes in 25 places.
#
# And one layer stands near the end. A judge that sees one image at a time cannot object to too few twos: each seven it
# is shown is a fine seven. Real and generated images come to it in batches of their own, and `BatchMean` appends to
# what it noticed in each image the mean of that over the batch. A batch with the wrong shares then looks fake, and the
# verdict on an image depends on its company (Salimans et al., 2016, and Karras et al., 2018, do similar things). So its
# $\ell(x)$ in the losses above is $\ell(x, \text{batch})$, the log-odds given the company, and no longer the
# $\log(p/q)$ of one image as in chapter 02. With this layer, and a small dense layer behind it, the distance to real
# digits that is measured below, as a mean over five sets, fell from 5.0 and 5.1 floors in two trainings to 1.7, 2.1 and
# 2.1 in three. (One floor is what real digits themselves reach.)
#
# ## One step for both
#
# In every step the discriminator should move down its own loss and the generator down its own, and neither may disturb
# the other. Many listings do this by freezing and thawing the discriminator, which Keras 3 does not forgive (see
# below). The course's `GAN` adds both losses and cuts the paths that must not be used:
#
# ```python
# fake = generator(noise, training=True)
# L_D  = loss of discriminator(stop_gradient(fake))           # stops before the generator
# L_G  = loss of discriminator(fake), its weights held fixed  # passes through it, moves only the generator
# step down L_D + L_G
# ```
#
# Each weight then receives exactly one of the two gradients, so plain `compile` and `fit` do the training, on
# TensorFlow, JAX and PyTorch alike. Both terms see the *same* fakes, made in training mode.
#
# ## Train the dense GAN
#
# First the simplest pair: dense layers only, as if the 784 pixels had no neighbours. The picture below is live: losses
# on the left, sixteen samples from fixed codes on the right.

# %%
dense = recipes.build_mlp_gan()
dense.compile(recipes.gan_optimizer())
history = training.fit(dense, real, epochs=sizes.mlp_epochs, samples=lambda: dense.sample(16))

# %% [markdown]
# The losses do not fall to zero, and they should not. If both networks are well matched, the discriminator's loss stays
# near $\log 4 = 1.386$, the price of pure guessing; near 0 it always wins, and above $\log 4$ it is surer of the wrong
# answer than a guess would be. (`loss` is the sum of the two.) A *falling* generator loss may only mean that the judge
# got worse. The losses of a GAN say who is winning, not how good the images are. That needs a score.
#
# ## Train the convolutional GAN

# %%
live = recipes.build_dcgan()
live.compile(recipes.gan_optimizer())
history = training.fit(live, real, epochs=sizes.dcgan_epochs, samples=lambda: live.sample(16))

# %% [markdown]
# From noise to strokes to digits. Did the judges learn the training images by heart? Compare their mean logit on
# training images with that on validation images, which they have never seen:

# %%
unseen = gan.to_model_range(digits.validation.images)
for name, model in {"dense": dense, "convolutional": live, "shipped": shipped}.items():
    means = [float(model.discriminator.predict(part, verbose=0).mean()) for part in (real[:1000], unseen)]
    print(f"{name:14} mean logit on training images {means[0]:6.2f}, on unseen images {means[1]:6.2f}")

# %% [markdown]
# A judge that had learned by heart would give the training images far more. The shipped judge is sure of both, and by
# nearly as much: near 7 is a verdict on a whole batch, 32 real images in one company, and not on a single image. (The
# dense judge has no `RandomShift`; ten passes were too few for it.) Mix real and generated images in one batch, half
# and half, and see what becomes of its verdict:

# %%
generated = gan.to_model_range(shipped.sample(992, seed=3))
halves = [images[:992].reshape(62, 16, 28, 28, 1) for images in (unseen, generated)]
mixed = np.concatenate(halves, axis=1).reshape(-1, 28, 28, 1)  # 62 batches of 16 real and 16 generated images
alone = shipped.discriminator.predict(generated, batch_size=32, verbose=0)
verdicts = shipped.discriminator.predict(mixed, batch_size=32, verbose=0).reshape(62, 2, 16).mean(axis=(0, 2))
print(f"mean logit of generated images in batches of their own {alone.mean():.2f}")
print(f"in mixed batches: real images {verdicts[0]:.2f}, generated images {verdicts[1]:.2f}")

# %% [markdown]
# In mixed company real and generated images get nearly the same: this judge tells batches apart, and hardly any single
# image.
#
# Now the samples: the same twenty codes for your two networks, and for the weights that ship with the course, beside
# real digits.

# %%
rows = [digits.test.images[:20], dense.sample(20, seed=3), live.sample(20, seed=3), shipped.sample(20, seed=3)]
names = ["real, held out", "dense, live", "convolutional, live", "convolutional, shipped"]
plots.show_images(np.concatenate(rows), columns=20, row_labels=names, alt="Rows of twenty digits: " + ", ".join(names))

# %% [markdown]
# The dense network strews bright specks over the whole picture, since nothing tells it that neighbouring pixels belong
# together. The convolutional one draws connected strokes, with a faint speck here and there, and some of its signs
# belong to no alphabet.
#
# ## Explore the code
#
# The code has 64 numbers and none of them has a name. Some *directions* matter more than others: those that the first
# dense layer stretches most, its singular vectors (Shen and Zhou, 2021). Move along the four strongest; the upper row
# stays where it was. **Question:** towards which digits does each slider push, and which one also changes the slant?

# %%
widgets.explore(
    gan_plots.direction_panel(shipped),
    alt="Eight digits above, below them the same codes moved along the main directions",
    seed=widgets.slider(0, 40, 1, 3, "seed"),
    **{f"d{k}": widgets.slider(-6, 6, 0.5, 4 if k == 1 else 0, f"direction {k}") for k in (1, 2, 3, 4)},
)

# %% [markdown]
# **Truncation.** Draw every number of the code from a normal distribution cut off at $\pm t$ (Brock et al., 2019). This
# leaves out rare, extreme numbers: a mild cut should make samples a little safer and more alike; with these weights
# exercise 3 finds the second far more plainly than the first. A hard cut makes the whole code short, and codes in
# training have a length near $\sqrt{64} = 8$: the generator has never practised short ones. **Question:** at which $t$
# do you begin to miss variety, and at which do digits turn into none?


# %%
widgets.explore(
    gan_plots.truncation_panel(shipped),
    alt="Thirty-two digits from truncated noise",
    truncation=widgets.slider(0.05, 3, 0.05, 3, "truncation t"),
    seed=widgets.slider(0, 40, 1, 0, "seed"),
)

# %% [markdown]
# **Interpolation.** Two codes, nine stops between them. On a straight line the middle is too short: half the sum of
# two independent normal numbers has a deviation of $\sqrt{1/2} \approx 0.71$, a kind of code that was rare in
# training. The spherical path goes around instead and keeps the length. In the panel, a stroke opens or closes on the
# way and the class changes (at first, a 4 closes at the top and becomes a 9); do the middle stops of the straight path
# look worse?
#
# $$\mathrm{slerp}(u, v, s) = \frac{\sin((1 - s)\,\omega)\,u + \sin(s\,\omega)\,v}{\sin \omega}, \qquad
# \cos\omega = \frac{u \cdot v}{|u|\,|v|}.$$


# %%
def my_slerp(u, v, share):  # [Z], [Z] -> [Z]
    omega = np.arccos(u @ v / np.linalg.norm(u) / np.linalg.norm(v))
    return (np.sin((1 - share) * omega) * u + np.sin(share * omega) * v) / np.sin(omega)


# %%
u, v = gan.sample_noise(2, 64, seed=5)
check.close(my_slerp(u, v, 0.3), gan_plots.spherical(u[None], v[None], 0.3)[0])
print("length of the two ends", np.linalg.norm(u).round(2), np.linalg.norm(v).round(2))
lengths = {"spherical": np.linalg.norm(my_slerp(u, v, 0.5)), "straight": np.linalg.norm((u + v) / 2)}
print("half-way", {name: round(float(length), 2) for name, length in lengths.items()})

# %%
widgets.explore(
    gan_plots.interpolation_panel(shipped),
    alt="Nine stops from one digit to another",
    first=widgets.slider(0, 60, 1, 1, "first seed"),
    second=widgets.slider(0, 60, 1, 21, "second seed"),
    path=widgets.choice(["spherical", "straight"], "spherical", "path"),
)

# %% [markdown]
# ## How good are they?
#
# Looking at twenty samples is not a measurement. The discriminator's output is not one either: it is the opponent, and
# a weak one gives everybody good marks. What we want is a distance between two *sets*, the samples and held-out real
# digits. The course scores them in the 64 features of a small classifier of its own (99.2 % correct on the test
# digits):
#
# - **course-FID** fits a normal distribution to the features of each set and takes the Fréchet distance between the
#   two, $|\mu_1 - \mu_2|^2 + \mathrm{tr}(\Sigma_1 + \Sigma_2 - 2(\Sigma_1\Sigma_2)^{1/2})$ (Heusel et al., 2017). It
#   is not zero even for real digits, because 1,000 pictures do not pin down 64 means and a covariance. That is its
#   *floor*.
# - **KID** compares the sets with a kernel (Bińkowski et al., 2018); its expectation is 0
#   when both sets come from one distribution, whatever their size.
# - **precision** is the share of samples that fall among the real ones, **recall** the share of real ones that fall
#   among the samples (Kynkäänniemi et al., 2019).
# - **effective modes** is $e^{H}$ of the classes that the classifier finds, 10 if all are equally frequent.
#
# A score without its floor says nothing, so each stands beside what real digits and a trivial model reach.

# %%
score = metrics.score_images(shipped.sample(1000, seed=1))
score

# %%
check.between("gan_images/dcgan_fid_ratio", score.ratio)
check.between("gan_images/dcgan_effective_modes", score.effective_modes)
check.between("gan_images/dcgan_confidence", score.confidence)

# %% [markdown]
# Now your own two networks, at the same number of samples:

# %%
scores = {
    "dense, live": metrics.score_images(dense.sample(1000, seed=1)),
    "convolutional, live": metrics.score_images(live.sample(1000, seed=1)),
    "convolutional, shipped": score,
}
for name, value in scores.items():
    figures = f"course-FID {value.ratio:6.1f} floors   modes {value.effective_modes:5.2f}   recall {value.recall:.2f}"
    print(f"{name:24} {figures}")

# %% [markdown]
# Read the tables with care. *Confidence* is easily won: a network that draws one perfect 1 for ever has it. *Precision*
# rewards the same sin, and it can be fooled outright: in the column of the trivial model it is two thirds for pictures
# that are plain dust. *Recall* and *effective modes* punish both. course-FID and KID punish everything a little, and no
# single one of these numbers would be enough.
#
# Be honest about the last row, too. Over five sets of samples the shipped network's course-FID is 1.7 ± 0.2 floors (its
# card says so). KID no longer tells its digits from real ones, but precision and recall are lower by about 0.1, and the
# classifier is surer of real digits than of these.
#
# ## Collapse
#
# A generator is rewarded for fooling the judge, not for drawing everything. Against a judge of single images, such as
# the dense one, nothing in its loss asks for variety, and it may end up drawing a few shapes for all codes. What you
# need for that is nothing exotic: Adam at its usual settings, with $\beta_1 = 0.9$. Each step then goes on in the mean
# direction of about the last ten, in which the opponent used to be weak. (`recipes.gan_optimizer` sets $\beta_1 = 0$,
# as Gulrajani et al., 2017, did.) What does this pair draw?


# %%
collapsed = recipes.build_mlp_gan()
collapsed.compile(keras.optimizers.Adam(1e-3, beta_1=0.9))
history = training.fit(collapsed, real, epochs=sizes.collapse_epochs, samples=lambda: collapsed.sample(16))
# %%
made = collapsed.sample(1000, seed=1)
found = metrics.scorer().probabilities(made).argmax(axis=1)
print("collapsed", metrics.mode_histogram(found), f"effective modes {metrics.effective_modes(found):.2f}")
print("shipped  ", score.mode_histogram, f"effective modes {score.effective_modes:.2f}")
spread = [float(images.std(axis=0).mean()) for images in (made, shipped.sample(1000, seed=1), digits.test.images)]
print("spread of a pixel: collapsed {:.3f}, shipped {:.3f}, real {:.3f}".format(*spread))
check.between("gan_images/collapsed_modes", metrics.effective_modes(found))

# %% [markdown]
# A few patterns of dust for all codes, and none is a digit. The judge's loss is near 0: nothing fools it any more, the
# generator has lost and jumps between a few shapes. The first two rows count how many of 1,000 samples the classifier
# takes for a 0, a 1, … a 9 (it must name a class, even for dust); the effective number of modes makes one number of
# each row. The third row is a warning: the spread of a pixel is *larger* than that of real digits, since a few very
# different pictures spread widely. Count modes, not variance.
#
# Such a collapse is easy to see. The common one is partial and is not: the samples are fine digits, only the fours are
# missing.
#
# ## Did it learn the digits by heart?
#
# A generator that repeats its training images would get the course-FID of real digits, about 1 floor. So look for the
# nearest training image of each sample. Near is not yet suspicious: *held-out* digits are near to training digits too.
# The fair question is whether training images are nearer than as many other real digits would be.

# %%
report = score.neighbours
print(report)
check.between("gan_images/dcgan_memorisation_z", report.z_score)

# %%
samples = shipped.sample(1000, seed=1)
kinds = metrics.scorer().probabilities(samples).argmax(axis=1)
closest = [next(i for i in report.closest if kinds[i] == digit) for digit in range(10)]
rows = gan_plots.neighbour_rows(samples[closest], digits.train.images)
names = ["sample", "nearest training digit"]
plots.show_images(rows, columns=10, row_labels=names, alt="Ten samples above their nearest training digits")

# %% [markdown]
# For each class that the classifier names, the sample nearest to a training image, above that image: the worst cases
# among 1,000. Thin and simple shapes win, since the distance is in pixels: even a sample of another class may lie
# nearest to a one. A pair can look alike without being a copy; what decides is the count above.
#
# ## Three losses behind one argument
#
# `GAN(generator, discriminator, loss=...)` knows three games. `"minimax"` is the value function as it stands; its
# generator hardly moves while the judge is sure. `"wasserstein-gp"` replaces the judge by a *critic* without sigmoid
# and asks that its slope has length 1 between real and fake images (Gulrajani et al., 2017):
#
# $$L_D = \mathbb{E}[f(G(z))] - \mathbb{E}[f(x)] + 10\,\mathbb{E}\bigl[(|\nabla f(\hat x)| - 1)^2\bigr], \qquad
# L_G = -\mathbb{E}[f(G(z))].$$
#
# The penalty is on the slope for each image alone, so this critic may not have `BatchMean`;
# `recipes.build_dcgan(loss="wasserstein-gp")` leaves it out.
#
# See what the generator feels, per sample, while the judge goes from "surely fake" ($\ell = -8$) to "surely real":

# %%
logits = np.linspace(-8, 8, 81)
pulls = {
    "non-saturating": 1 / (1 + np.exp(logits)),
    "minimax": 1 / (1 + np.exp(-logits)),
    "wasserstein-gp": np.ones_like(logits),
}
plots.show_curves(pulls, x=logits, xlabel="logit of a fake", ylabel="pull on the logit", alt="The pull of three losses")

# %% [markdown]
# The height of a curve is how strongly the loss pulls the fake's logit upwards. Once the judge is good, fakes sit
# on the left: there minimax pulls with almost nothing, non-saturating with almost 1, and the critic with 1 everywhere.
#
# One more knob, **label smoothing**: real images get the target $1 - s$ instead of 1, so that the judge never becomes
# boundlessly sure (Salimans et al., 2016). Only the real ones are smoothed, and no target may leave $[0, 1]$: adding
# noise to labels until some read 1.1 asks a sigmoid for what it cannot give.

# %%
short = {}
for loss in gan.LOSSES:
    trial = recipes.build_mlp_gan(loss=loss)
    trial.compile(recipes.gan_optimizer())
    trial.fit(real, batch_size=64, epochs=sizes.loss_epochs, verbose=0)
    short[loss] = trial.sample(20, seed=3)
made_short = np.concatenate(list(short.values()))
plots.show_images(made_short, columns=20, row_labels=list(short), alt="Samples of three losses")

# %% [markdown]
# The same dense network after the same few passes with each loss, from the same twenty codes. So short a training ranks
# nothing; it shows that all three games are playable. Minimax keeps up here although its pull can vanish, because Adam
# divides by the size of the gradient. (The critic takes one step for each step of the generator; Gulrajani et al. give
# it five.)
#
# ## What the documents got wrong
#
# This course was built from five documents whose GAN listings do not run, or run and learn nothing. Four of their
# faults, live. **First**, a sigmoid at the output and a loss that is told to expect logits: two sigmoids. A judge that
# is right and sure should pay nothing.

# %%
certain = 1.0  # what a sigmoid returns for a real image when it is sure
twice = -np.log(1 / (1 + np.exp(-certain)))
print(f"two sigmoids: a perfect verdict on a real image still costs {twice:.4f} nats; the right loss is 0")

# %% [markdown]
# **Second**, the opposite: logits handed to a loss that expects probabilities. Keras clips the "probability" −2 to
# $10^{-7}$, and a clipped value has no gradient: the worst verdicts teach nothing.

# %%
truth, logit = np.array([[1.0]]), np.array([[-2.0]])
for told in (False, True):
    loss = keras.losses.BinaryCrossentropy(from_logits=told)
    values = [float(loss(truth, logit + step)) for step in (-0.01, 0.0, 0.01)]
    print(f"from_logits={told!s:5}  loss {values[1]:6.2f}   slope {(values[2] - values[0]) / 0.02:6.2f}")

# %% [markdown]
# **Third**, the discriminator is frozen after it was compiled, in order to train the generator through it. Old Keras
# remembered the flag at `compile`; Keras 3 reads it when the step is built, so this judge never learns. And
# **fourth**, the fakes come from `predict`, where normalisation uses its running averages: the judge sees other images
# than the ones that are trained.

# %%
frozen = gan.MLPDiscriminator()
frozen.compile("adam", keras.losses.BinaryCrossentropy(from_logits=True))
before = [weight.copy() for weight in frozen.get_weights()]
frozen.trainable = False
with warnings.catch_warnings(record=True) as heard:
    warnings.simplefilter("always")
    frozen.train_on_batch(real[:64], np.ones((64, 1)))
unmoved = all(np.array_equal(old, new) for old, new in zip(before, frozen.get_weights(), strict=True))
print("the frozen judge after its own training step is unchanged:", unmoved)
print("what Keras says of it:", {str(warning.message) for warning in heard} or "nothing")

# %%
noise = gan.sample_noise(64, 64)
gap = keras.ops.abs(live.generator(noise, training=True) - live.generator(noise, training=False))
mean, most = float(keras.ops.mean(gap)), float(keras.ops.max(gap))
print(f"the two modes differ by {mean:.3f} in the mean and by {most:.2f} at most, of a range of 2")


# %% [markdown]
# Every fault has an entry in the course's ledger, with a test that fails on the faulty form. Those of this chapter:

# %%
corrections.table("03")

# %% [markdown]
# ## Exercises
#
# **1. The best smoothed verdict.** With label smoothing $s$ the loss of a real image is
# $\mathrm{softplus}(\ell) - (1 - s)\,\ell$. At which logit is it least?


# %% tags=["exercise"]
def best_logit(s):  # s in (0, 0.5)
    return ...


# %% tags=["solution"]
def best_logit(s):  # s in (0, 0.5)
    return np.log((1 - s) / s)  # the derivative sigmoid(l) - (1 - s) is 0


# %%
def test_best_logit(answer):
    for s in (0.1, 0.3):
        steps = [np.logaddexp(0, x) - (1 - s) * x for x in (answer(s) - 0.01, answer(s), answer(s) + 0.01)]
        assert steps[1] < min(steps[0], steps[2]), f"for s = {s} a neighbour of your logit has a lower loss"


check.exercise("03.1 best logit", best_logit, test_best_logit, hint="softplus has the derivative sigmoid.")

# %% [markdown]
# **2. Effective modes.** From counts such as `[1000, 0, ...]` compute $e^{H}$ with $H = -\sum_k p_k \log p_k$. Empty
# classes contribute nothing.


# %% tags=["exercise"]
def my_effective_modes(counts):  # [K] -> number from 1 to K
    return ...


# %% tags=["solution"]
def my_effective_modes(counts):  # [K] -> number from 1 to K
    share = np.asarray(counts) / np.sum(counts)
    share = share[share > 0]
    return np.exp(-(share * np.log(share)).sum())


# %%
def test_effective_modes(answer):
    check.close(answer([5, 5, 0, 0]), 2.0, name="two equal classes")
    check.close(answer([7, 0, 0]), 1.0, name="a single class")
    check.close(answer([1, 2, 3]), metrics.effective_modes([0, 1, 1, 2, 2, 2]), name="three unequal classes")


check.exercise("03.2 modes", my_effective_modes, test_effective_modes, hint="Leave out p = 0 before the logarithm.")

# %% [markdown]
# **3. The price of safety.** Score 1,000 samples of the shipped generator, with `seed=1`, at truncation 1.5 (`cut`) and
# without (`free`), by `metrics.score_images`, and fill in the pair (precision, recall) of each. What does truncation
# buy, and what does it cost? Then try 0.5: what does it buy there?

# %% tags=["exercise"]
pairs = ...  # {"cut": (precision, recall), "free": (precision, recall)}

# %% tags=["solution"]
pairs = {}
for name, cut_at in (("cut", 1.5), ("free", None)):
    result = metrics.score_images(shipped.sample(1000, seed=1, truncation=cut_at))
    pairs[name] = (result.precision, result.recall)
print(pairs)  # precision gains about one standard error (0.013), recall loses 0.05; at 0.5 both are lost


# %%
def test_pairs(answer, generator=shipped):
    assert set(answer) == {"cut", "free"}, "the dictionary needs the keys 'cut' and 'free'"
    for name, cut_at in (("cut", 1.5), ("free", None)):
        right = metrics.score_images(generator.sample(1000, seed=1, truncation=cut_at))
        check.close(np.array(answer[name]), np.array([right.precision, right.recall]), tolerance=0.005, name=name)


hint = "shipped.sample(1000, seed=1, truncation=1.5) makes them; a Score has .precision and .recall."
check.exercise("03.3 truncation", pairs, test_pairs, hint=hint)

# %% [markdown]
# **4. Open end.** Make the live convolutional network better without training longer: another width, dropout, learning
# rate, an average of the weights (`recipes.gan_optimizer(ema_momentum=0.99)`), smoothing, or the Wasserstein loss.
# Change one thing at a time, use three seeds, and write down the course-FID in floors. A difference smaller than the
# spread of the seeds is no difference.
#
# ## Summary
#
# - A GAN trains a generator and a discriminator on two losses; each weight must get exactly one of the two gradients.
# - Data and $\tanh$ share one range; the discriminator returns a logit and the loss knows it.
# - The losses say who is winning. How good the samples are, only a distance between *sets* can say, beside its floor.
# - Collapse is counted by modes and recall, memorisation by comparing with held-out neighbours.
#
# ## Sources

# %%
gans = [
    "goodfellow2014",
    "radford2016",
    "chen2016",
    "salimans2016",
    "gulrajani2017",
    "brock2019",
    "zhao2020",
    "karras2018",
]
others = ["shen2021", "heusel2017", "binkowski2018", "kynkaanniemi2019"]
corrections.references([*gans, *others])

# %% [markdown]
# **Where to go next:** chapter 04 will tell the generator *which* picture to draw; [chapter 08](08_vae.ipynb) builds a
# model of the same digits that has a likelihood, and compares it with this one by the same scores.
