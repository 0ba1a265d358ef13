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
# # 08 · Autoencoder and VAE
#
# You squeeze digits through a code of two numbers and open it again, find out why random codes decode to nothing, and
# repair that with probability: the variational autoencoder. It gives a plane on which you can walk from digit to digit
# with two sliders, and something no GAN has: a likelihood, in nats, that can be checked.
#
# The KL divergence, the Bernoulli likelihood, the reparameterised draw and the bound stand here in a few lines each.
# Four exercises ask for lines of your own.
#
# *About 75 minutes, four of them training.*

# %%
from aigc_course import runtime

print(runtime.setup(seed=0))
sizes = runtime.sizes("08_vae")

# %%
import keras
import numpy as np

from aigc_course import (
    check,
    checkpoints,
    corrections,
    datasets,
    metrics,
    plots,
    recipes,
    training,
    vae,
    vae_plots,
    widgets,
)

plane = checkpoints.load("vae-plane")
plots.show(
    vae_plots.plane_grid(plane, side=14), alt="A square of digits that change into one another from place to place"
)

# %% [markdown]
# Every digit here was decoded from two numbers, one for its column and one for its row. Neighbours resemble each other,
# and classes change into one another along the way: nine and four share a border, and eight has five on one side and
# three on the other. A network found this map without ever reading a label.
#
# ## The data
#
# The 8,000 digits of chapter 03 train, 1,000 test. A grey level lies in [0, 1]. Most of this chapter reads it as the
# *probability* that the pixel is on, and draws every pixel anew each time the digit is seen (*dynamic binarisation*,
# Salakhutdinov and Murray, 2008).

# %%
digits = datasets.load_digits()
check.shape(digits.train.images, (8000, 28, 28, 1))
eight = digits.train.images[:8]
drawn = [vae.binarise(eight, seed) for seed in (0, 1)]
plots.show_images(np.concatenate([eight, *drawn]), columns=8, scale=3, row_labels=["grey", "drawn", "drawn again"])

# %% [markdown]
# Eight digits, and two draws of each: only grey pixels differ, most of them at the rims.
#
# ## An autoencoder first
#
# An *encoder* makes a short code of an image, a *decoder* makes an image of a code, and both learn by comparing what
# came out with what went in. With two numbers in the middle the network must say very briefly what it saw.

# %%
dense = [keras.layers.Dense(400, activation="gelu") for _ in range(2)]
encoder = keras.Sequential([keras.Input((28, 28, 1)), keras.layers.Flatten(), *dense, keras.layers.Dense(2)])
decoder = keras.Sequential([keras.Input((2,)), vae.MLPDecoder(latent_dim=2), keras.layers.Activation("sigmoid")])
autoencoder = keras.Sequential([encoder, decoder])
autoencoder.compile(keras.optimizers.Adam(1e-3), loss="binary_crossentropy")
pair = (digits.train.images, digits.train.images)
history = training.fit(
    autoencoder, pair, epochs=sizes.ae_epochs, samples=lambda: autoencoder(digits.test.images[:16], training=False)
)

# %% [markdown]
# Right, sixteen digits that it never trained on, from two numbers each. Most can be read, if not always as the digit
# that went in, so the decoder must have learned how digits look. Does that make it a generator? Give it random codes:
# standard normal numbers, as for a GAN.

# %%
codes = encoder.predict(digits.test.images, verbose=0)
print("codes of test digits: mean", codes.mean(0).round(1), "deviation", codes.std(0).round(1))
random_codes = np.random.default_rng(0).standard_normal((1000, 2)).astype("float32")
from_random = decoder.predict(random_codes, verbose=0)
plots.show_images(from_random[:20], columns=20, alt="Twenty images decoded from random codes by the autoencoder")

# %%
ae_score = metrics.score_images(from_random)
print(f"random codes: {ae_score.ratio:.0f} floors, {ae_score.effective_modes:.1f} effective modes")
check.between("vae/ae_fid_ratio", ae_score.ratio)

# %% [markdown]
# The codes of real digits lie wherever training happened to put them, far apart and not around zero, and nobody taught
# the decoder what lies between. Standard normal codes all land in one small patch of so wide a map, which may well be
# a gap, so the images are of few kinds or none. One can fit a distribution to the codes afterwards, and draw from that;
# it may even work well. But then *that* is the generative model. The autoencoder as such has no distribution to draw
# from, and so gives no probabilities.
#
# ## A distribution over codes
#
# So say it in advance. A code $z$ is drawn from the standard normal $p(z)$, and an image from $p(x \mid z)$, whose
# parameters the decoder computes. Then the model has a likelihood,
#
# $$p(x) = \int p(x \mid z)\, p(z)\, dz,$$
#
# and we would like it to be large for real digits. The integral runs over all codes, and almost all of them have
# nothing to do with $x$. The encoder is to say which ones do: it returns a normal distribution $q(z \mid x)$ with a
# mean and a variance for each code number. Multiply and divide by it, and use that the logarithm of a mean is at least
# the mean of the logarithms (Jensen):
#
# $$\log p(x) = \log \mathbb{E}_{q}\!\left[\frac{p(x \mid z)\,p(z)}{q(z \mid x)}\right] \;\ge\;
# \mathbb{E}_{q}[\log p(x \mid z)] - \mathbb{E}_{q}\!\left[\log \frac{q(z \mid x)}{p(z)}\right]
# = \mathbb{E}_{q}[\log p(x \mid z)] - \mathrm{KL}(q(z \mid x)\,\|\,p(z)).$$
#
# The right side is the *evidence lower bound*, ELBO (Kingma and Welling, 2014). How much is lost? Exactly
# $\mathrm{KL}(q(z \mid x)\,\|\,p(z \mid x))$: write $p(x \mid z)\,p(z) = p(z \mid x)\,p(x)$ in the fraction above and
# take the mean of its logarithm. So raising the bound raises $\log p(x)$ or closes the gap to it. (The true posterior
# $p(z \mid x)$ says which codes could have made $x$.)
#
# The first term asks that the image can be read off the code; its negative is called *distortion*. The second, the
# *rate*, is the price of the code: on average at least as many nats as the code says about the image (Alemi et al.,
# 2018).
#
# ## The rate, on numbers
#
# The rate is the mean of $\log q - \log p$. For a normal $q$ and the standard normal prior it has a closed form. With
# mean $\mu_j$ and variance $\sigma_j^2$ for each of the $Z$ numbers of the code (also called its *latent dimensions*),
#
# $$\mathrm{KL} = \tfrac12 \sum_{j=1}^{Z} \left(\mu_j^2 + \sigma_j^2 - \log \sigma_j^2 - 1\right).$$
#
# **Three numbers.** Mean 3, deviation 1: $\tfrac12 (9 + 1 - 0 - 1) = 4.5$ nats. Mean 0, deviation 0.1:
# $\tfrac12(0.01 + 4.605 - 1) = 1.81$ nats, the price of being precise. Mean 0, deviation 1: 0, a code that says
# nothing.


# %%
def my_kl(mean, log_var):  # [B, Z], [B, Z] -> [B]
    return 0.5 * np.sum(mean**2 + np.exp(log_var) - log_var - 1, axis=-1)


# %%
mean, deviation = np.array([[3.0], [0.0], [0.0]]), np.array([[1.0], [0.1], [1.0]])
print("closed form ", my_kl(mean, 2 * np.log(deviation)).round(3))
check.close(my_kl(mean, 2 * np.log(deviation)), vae.kl_divergence(mean, 2 * np.log(deviation)))
noise = np.random.default_rng(0).standard_normal((3, 100_000))
z = mean + deviation * noise
draws = 0.5 * z**2 - 0.5 * noise**2 - np.log(deviation)  # log q(z|x) - log p(z); the constants cancel
print("Monte Carlo ", draws.mean(1).round(3), "+-", (draws.std(1) / np.sqrt(100_000)).round(3))

# %% [markdown]
# The mean of $\log q - \log p$ over 100,000 draws agrees within its standard error. Two details matter. The network
# gives $\log \sigma^2$, which may be any number, so that no variance can become negative. And the sum runs over all
# numbers of the code: a *mean* over them, seen in many listings, divides the rate by $Z$.
#
# Move the posterior. Left, posterior and prior; right, lines of equal KL and a dot where your posterior is.
# **Question:** which is dearer, a mean at 2 with deviation 1, or a deviation of 0.1 with mean 0?

# %%
widgets.explore(
    vae_plots.kl_panel(),
    alt="Two normal densities, posterior and prior, with their KL divergence",
    mean=widgets.slider(-4.0, 4.0, 0.1, 2.0, "mean"),
    deviation=widgets.slider(0.05, 2.0, 0.05, 0.5, "deviation"),
)

# %% [markdown]
# ## The distortion
#
# The decoder gives a logit $\ell$ for every pixel, so $p(x_i = 1 \mid z) = \sigma(\ell_i)$ and
#
# $$\log p(x \mid z) = \sum_i \left( x_i \ell_i - \log(1 + e^{\ell_i}) \right),$$
#
# a sum over all 784 pixels. A pixel that is on, with logit 2, costs 0.127 nats; off, 2.127.


# %%
def my_log_likelihood(images, logits):  # [B, H, W, 1] x 2 -> [B]
    return np.sum(images * logits - np.logaddexp(0, logits), axis=(1, 2, 3))


logits = np.random.default_rng(0).normal(size=(8, 28, 28, 1)).astype("float32")
check.close(my_log_likelihood(drawn[0], logits), vae.bernoulli_log_likelihood(drawn[0], logits), tolerance=1e-3)
blind = np.log(digits.train.images.mean(0) + 1e-3) - np.log1p(-digits.train.images.mean(0) + 1e-3)
test_drawn = vae.binarise(digits.test.images, seed=0)
blind_nll = -my_log_likelihood(test_drawn, blind).mean()
print(f"a coin for each pixel: {784 * np.log(2):.0f} nats a digit; every pixel's own mean: {blind_nll:.0f} nats")

# %% [markdown]
# These are the trivial models: no code at all. A code is worth having if it lowers the distortion below the second
# figure by more than its own rate.
#
# ## A gradient through a random draw
#
# The ELBO contains a mean over draws $z \sim q(z \mid x)$, and the encoder decides about $q$. How does the gradient get
# past the die? Two ways:
#
# - **Score function** (Williams, 1992): $\nabla\, \mathbb{E}_q[f(z)] = \mathbb{E}_q[f(z)\, \nabla \log q(z)]$. It only
#   needs values of $f$.
# - **Reparameterisation**: draw $\varepsilon$ from $\mathcal{N}(0, 1)$ and put $z = \mu + \sigma \varepsilon$. The
#   randomness no longer depends on $\mu$ and $\sigma$, and the gradient passes through $f$ itself.
#
# Both are unbiased. Take $f(z) = \sum_j (z_j - 1)^2$ with $\mu = 0$, $\sigma = 1$, whose derivative with respect to
# $\mu_1$ is $-2$:

# %%
names = ["score function", "... less a baseline", "reparameterisation"]
rng, spreads = np.random.default_rng(0), {name: [] for name in names}
widths = [1, 2, 4, 8, 16, 32, 64]
for width in widths:
    z = rng.standard_normal((20_000, width))  # mu + sigma eps with mu = 0, sigma = 1
    f = ((z - 1) ** 2).sum(1)
    by_score = f * z[:, 0]  # grad log q = (z - mu) / sigma^2
    by_difference = (f - 2 * width) * z[:, 0]  # 2 width is the mean of f
    by_path = 2 * (z[:, 0] - 1)
    for name, draws in zip(names, (by_score, by_difference, by_path), strict=True):
        assert abs(draws.mean() + 2) < 5 * draws.std() / np.sqrt(20_000), name
        spreads[name].append(draws.std())
plots.show_curves(spreads, x=widths, xlabel="numbers in the code", ylabel="deviation of one draw", log=True)
ratios = [spreads[name][-1] / spreads["reparameterisation"][-1] for name in names[:2]]
print("for the same accuracy with 64 numbers, times as many draws:", [round(ratio**2) for ratio in ratios])
check.between("vae/score_over_path", ratios[0])

# %% [markdown]
# The path estimator's spread stays at 2, whatever the width; that of the score function grows with it, because it has
# to find out from the *value* of the whole sum what a single number contributed. For the same accuracy it needs as many
# times more draws as the square of the ratio of the two spreads: about 4,300 times for 64 numbers. Its usual remedy, to
# subtract the mean of $f$ first (a *baseline*; the gradient stays unbiased), leaves about 100 times, and the spread
# still grows. That is why VAEs use $z = \mu + \sigma\varepsilon$, one draw an image (Mohamed et al., 2020, compare
# many estimators).
#
# ## The VAE
#
# All together, for a batch of images:
#
# ```python
# x = pixels drawn from the grey levels
# mean, log_var = encoder(x)                     # two heads: each has weights of its own
# z = mean + exp(log_var / 2) * noise
# loss = mean over the batch of  -log p(x | z) + KL(mean, log_var)
# ```
#
# One loss moves both networks. `vae.VAE` says this in `compute_loss`; the rest is `compile` and `fit`.

# %%
live = vae.VAE(latent_dim=2)
live.compile(keras.optimizers.Adam(1e-3))
history = training.fit(live, digits.train.images, epochs=sizes.plane_epochs, samples=lambda: live.sample(16))

# %% [markdown]
# Right, samples: codes drawn from the prior, decoded. Now put the pieces of this chapter together and compare with the
# package. The noise is the package's own, so the numbers must agree.


# %%
def my_elbo(model, images, noise):  # [N, 28, 28, 1] of 0 and 1, [N, Z] -> [N]
    mean, log_var = model.encode(images)
    z = mean + np.exp(0.5 * log_var) * noise
    probability = np.clip(model.decode(z).astype("float64"), 1e-30, 1 - 1e-7)
    logits = np.log(probability) - np.log1p(-probability)
    return my_log_likelihood(images, logits) - my_kl(mean, log_var)


noise = np.random.default_rng([0, 1]).standard_normal((100, 2)).astype("float32")
check.close(my_elbo(live, test_drawn[:100], noise), live.elbo(test_drawn[:100], seed=0), tolerance=1e-2)

# %%
distortion, rate = live.elbo_terms(test_drawn)
print(
    f"held out: distortion {distortion.mean():.1f} + rate {rate.mean():.2f} = {-live.elbo(test_drawn).mean():.1f} nats"
)
check.between("vae/live_plane_elbo", -live.elbo(test_drawn).mean())

# %% [markdown]
# ## Walk on the plane
#
# `vae-plane` is the same model, trained longer and on deformed copies of the digits (turned, scaled, bent a little).
# Each point on the left is a held-out digit at the mean of its posterior, coloured by its class, which the model never
# saw. Move the cross. **Question:** go from a 1 to a 0 in a straight line. Which digits do you meet?

# %%
widgets.explore(
    vae_plots.plane_panel(plane, digits.test.images, digits.test.labels),
    alt="Left, the codes of a thousand test digits in ten colours with a cross; right, the digit decoded at the cross",
    x=widgets.slider(-4.0, 4.0, 0.05, -1.7, "x"),
    y=widgets.slider(-4.0, 4.0, 0.05, 1.4, "y"),
)

# %%
codes = plane.encode(digits.test.images)[0]
print("codes of test digits: mean", codes.mean(0).round(1), "deviation", codes.std(0).round(1))

# %% [markdown]
# The cloud lies around zero with a spread near 1, since the rate pulls every posterior towards the prior, and its gaps
# are narrow beside it: that is what the autoencoder lacked.
#
# ## More numbers, convolutions, and what the bound hides
#
# Two numbers are for looking. With 32, and convolutions that know what neighbours are, the model can say much more.

# %%
conv = vae.VAE(latent_dim=32, network="conv")
conv.compile(keras.optimizers.Adam(1e-3))
history = training.fit(conv, digits.train.images, epochs=sizes.conv_epochs, samples=lambda: conv.sample(16))

# %% [markdown]
# The shipped one is wider, was trained longer, and on deformed copies again, lest so long a training learn the 8,000
# digits by heart. To compare models fairly, the bound is not enough: it mixes the model's quality with the encoder's.
# *Importance sampling* uses $K$ draws (Burda et al., 2016),
#
# $$\log p(x) \approx \log \frac1K \sum_{k=1}^{K} \frac{p(x \mid z_k)\,p(z_k)}{q(z_k \mid x)},$$
#
# whose expected value is the ELBO for $K = 1$ and rises to $\log p(x)$ as $K$ grows. It must be computed from
# logarithms: $e^{-100}$ is small, and $e^{-800}$ is 0 in double precision.

# %%
shipped = checkpoints.load("vae-digits")
few = test_drawn[: sizes.num_images]
ladder = {k: -shipped.log_likelihood(few, k).mean() for k in sizes.ks}
for k, nats in ladder.items():
    print(f"K = {k:5}: {nats:6.2f} nats a digit")
check.between("vae/test_nll", ladder[sizes.ks[-1]])
check.between("vae/gap", ladder[1] - ladder[sizes.ks[-1]])

# %%
models = {"2 numbers, dense, live": live, "32 numbers, conv, live": conv, "32 numbers, conv, shipped": shipped}
for name, model in models.items():
    distortion, rate = (part.mean() for part in model.elbo_terms(few))
    nll = -model.log_likelihood(few, 100).mean()
    count = model.active_units(digits.test.images).sum()
    print(f"{name:26} distortion {distortion:6.1f}  rate {rate:5.1f}  K = 100: {nll:6.1f}  active numbers {count}")

# %% [markdown]
# Read a row like a bill: the rate is what the code costs, the distortion what is still unsaid, and their sum is on
# average at least $-\log p(x)$, which 100 draws estimate from above. The shipped model does not use all of its 32
# numbers: a number is *active* if the variance of its posterior mean over images is above 0.01 (Burda et al., 2016).
#
# For comparison: Burda et al. report 86.76 nats ($K = 5000$) for a dense VAE of 50 numbers that was trained on the
# whole training set of MNIST, and tested on other digits than ours. The shipped one saw 8,000 and their deformed
# copies, and reaches 87.0 nats on all 1,000 test digits with $K = 1000$ (fewer digits, as above, may be easier or
# harder). Trained again with seeds 1 and 2 it reached 87.1 both times.
#
# Now the same test digits, read and written by each:

# %%
few_digits = digits.test.images[:16]
rows = [few_digits, *(model.reconstruct(few_digits) for model in models.values())]
plots.show_images(np.concatenate(rows), columns=16, row_labels=["original", *models], alt="Digits and reconstructions")

# %% [markdown]
# With two numbers a model gives *a* digit of about that shape; with 32 the shipped one gives this digit, a little
# smoothed: what the rate did not pay for comes back as its mean.
#
# **Walk.** The straight way between the codes of two test digits, sixteen stops. Half-way there are shapes that are
# neither digit, yet still made of strokes.

# %%
starts, ends = [0, 3, 5, 8], [2, 7, 9, 1]
first = [digits.test.images[digits.test.labels == label][4] for label in starts]
last = [digits.test.images[digits.test.labels == label][4] for label in ends]
walks = [shipped.interpolate(a, b, 16) for a, b in zip(first, last, strict=True)]
plots.show_images(np.concatenate(walks), columns=16, alt="Four walks of sixteen stops between two digits")

# %% [markdown]
# **Ten sliders.** The ten numbers with the highest rate, strongest first. Encode a test digit and move them, in units
# of the prior's deviation; in the chart grey is the code as encoded and orange after your moves. **Question:** which
# number changes the slant? Does it do so for another digit as well?

# %%
widgets.explore(
    vae_plots.code_panel(shipped, digits.test.images, digits.test.labels),
    alt="A test digit, its reconstruction, and the digit decoded from the moved code",
    digit=widgets.slider(0, 99, 1, 18, "encode digit no."),
    **{f"d{k}": widgets.slider(-4.0, 4.0, 0.25, 0.0, f"number {k}") for k in range(1, 11)},
)

# %% [markdown]
# ## What is a nat worth? Beta
#
# Weigh the rate by $\beta$: loss = distortion + $\beta \cdot$ rate (Higgins et al., 2017). Above 1 codes get dear, and
# the model keeps only what saves more than $\beta$ nats for each nat; below 1 they get cheap. Seven small dense models
# of 16 numbers, one for each $\beta$, draw the *rate-distortion curve* (Alemi et al., 2018). **Question:** at which
# $\beta$ do all samples begin to look alike?

# %%
betas = {beta: checkpoints.load(f"vae-beta-{beta}") for beta in recipes.BETAS}
curve = vae_plots.rate_distortion(betas, digits.test.images)
for beta, point in zip(betas, curve, strict=True):
    print(f"beta {beta:>4}: rate {point.rate:5.1f}  distortion {point.distortion:6.1f}  active {point.active:2} of 16")
for beta in ("0.1", "1"):
    mean, log_var = betas[beta].encode(digits.test.images)
    print(f"beta {beta}: means spread by {mean.std(0).mean():.2f}, a posterior by {np.exp(log_var / 2).mean():.2f}")

# %%
widgets.explore(
    vae_plots.beta_panel(betas, digits.test.images, curve),
    alt=vae_plots.describe_beta(curve),
    beta=widgets.choice(list(betas), "1", "beta"),
    seed=widgets.slider(0, 40, 1, 0, "seed of the samples"),
)

# %% [markdown]
# For every one of the models distortion + rate is a bound on $-\log p(x)$, and training with $\beta = 1$ makes just
# this sum small: the dashed line joins all pairs with the sum that it reached, and no dot lies below. With $\beta$
# under 1, at the right end, reconstructions are sharper and samples bad: the posteriors have become narrow dots in too
# wide a cloud, and a code from the prior falls between them, as in the autoencoder. With $\beta$ above 1, at the left
# end, samples and reconstructions become alike and blurred, until at the end the code says nothing: all samples are the
# mean digit. That end has a name.
#
# ## Posterior collapse
#
# A number of the code that pays less than it costs is switched off: its posterior becomes the prior, rate 0. For some
# numbers that is only economy. It becomes a fault when the *weights* of the loss are wrong, or when the decoder ignores
# the code before the encoder has learned to say anything.
#
# The commonest way to bring it about is a loss that takes the *mean* over pixels, as most ready-made losses do, and
# adds the KL. One nat of distortion then counts 1/784, which is $\beta = 784$. Three remedies are in use. A *warm-up*
# (Bowman et al., 2016) lets $\beta$ grow from 0 at first; here it is 0 for one epoch. *Free bits* (Kingma et al., 2016)
# let each number say a little, here 0.2 nats, for nothing. And one can get the weight right. What does each do for the
# two networks?


# %%
def trained(epochs, num_images=8000, callbacks=(), **options):
    model = vae.VAE(latent_dim=32, **options)
    model.compile(keras.optimizers.Adam(1e-3))
    images = datasets.load_digits().train.images[:num_images]
    model.fit(images, epochs=epochs, batch_size=64, verbose=0, callbacks=callbacks)
    return model


def used(model):  # -> active numbers, rate, bound on -log p(x)
    images = datasets.load_digits().test.images
    distortion, rate = (part.mean() for part in model.elbo_terms(images))
    return int(model.active_units(images).sum()), rate, distortion + rate


# %%
remedies = {
    "mean over pixels": {"beta": 784.0},
    "... and warm-up": {"beta": 784.0, "callbacks": [vae.WarmUp(1)]},
    "... and free bits": {"beta": 784.0, "free_bits": 0.2},
    "sum over pixels": {"beta": 1.0},
}
active = {}
for network in vae.NETWORKS:
    for name, options in remedies.items():
        model = trained(sizes.collapse_epochs, sizes.collapse_images, network=network, **options)
        active[network, name], rate, bound = used(model)
        print(
            f"{network:5} {name:18} active {active[network, name]:2} of 32   rate {rate:5.1f}   bound {bound:6.1f} nats"
        )

# %%
for network in vae.NETWORKS:
    check.between(f"vae/active_{network}_collapsed", active[network, "mean over pixels"])
    check.between(f"vae/active_{network}_free_bits", active[network, "... and free bits"])
    check.between(f"vae/active_{network}_sum", active[network, "sum over pixels"])

# %% [markdown]
# With the mean over pixels nothing is said: rate 0, the bound of a model without a code. Free bits keep numbers alive,
# at no more than about 0.2 nats each: far from what pays. A warm-up only delays where the final weight is wrong (after
# a very short training the codes may not be pushed back yet); its use is against early collapse, when the decoder has
# not yet learned to listen. With text a strong decoder tends to ignore the code for good: the first VAE for sentences
# collapsed without a warm-up (Bowman et al., 2016). The cure here is the sum. (More active numbers are no aim in
# themselves: the likelihood decides.)
#
# The squared error hides the same fault. $\sum_i (x_i - \hat x_i)^2$ is minus the logarithm of a normal density with
# variance ½ (up to a constant): noise with a deviation of 0.71 on pixels between 0 and 1. In such noise most of a digit
# is not worth telling. Let the deviation be learned instead:

# %%
for name, deviation in {"squared error": 0.5**0.5, "deviation learned": None}.items():
    model = trained(sizes.collapse_epochs, sizes.collapse_images, likelihood="gaussian", deviation=deviation)
    units, rate, bound = used(model)
    scale = float(np.exp(keras.ops.convert_to_numpy(model.log_scale)))
    print(f"{name:18} deviation {scale:.2f}   active {units:2} of 32   rate {rate:5.1f}   bound {bound:7.1f} nats")

# %% [markdown]
# The learned deviation is a fraction of 0.71, and the rate shows what the code had been keeping to itself. (The bounds
# of this pair are those of a *density* of grey levels, which may be above 1, so they can be negative; they cannot be
# compared with the binary models'.)
#
# ## Grey levels as they are
#
# A density can be made as large as one likes: with a deviation for each pixel, one that is always 0 lets the
# likelihood grow without bound. The clean way counts 256 levels: a *discretised logistic* distribution (Kingma et al.,
# 2016; with open ends as in Salimans et al., 2017) gives each level the mass between its borders, and the result,
# divided by $784 \log 2$, is in bits per dimension, comparable with any model of the same bytes. The code pays if the
# first number is below the second; after a very short training it is not yet.

# %%
grey = trained(sizes.grey_epochs, sizes.collapse_images, likelihood="logistic", network="mlp")
bits = metrics.bits_per_dimension(-grey.log_likelihood(digits.test.images[: sizes.num_images], 100).mean(), 784)
levels = (digits.train.images * 255).round().astype(int).reshape(8000, 784)
counts = np.stack([np.bincount(pixel, minlength=256) for pixel in levels.T]) + 1 / 256
seen = np.log2(counts / counts.sum(1, keepdims=True))
test_levels = (digits.test.images[: sizes.num_images] * 255).round().astype(int).reshape(-1, 784)
independent = -np.take_along_axis(seen.T, test_levels, axis=0).mean()
print(f"bits per dimension: {bits:.3f}; each pixel on its own {independent:.3f}; a uniform guess 8")
check.between("vae/grey_bits", bits)

# %% [markdown]
# ## What a code is good for
#
# **Arithmetic.** The mean code of thick digits minus that of thin ones is a direction; add it to any digit.

# %%
means = shipped.encode(digits.train.images)[0]
ink = digits.train.images.sum(axis=(1, 2, 3))
thickest, thinnest = ink > np.quantile(ink, 0.9), ink < np.quantile(ink, 0.1)
thick, thin = means[thickest].mean(0), means[thinnest].mean(0)
chosen = shipped.encode(digits.test.images[10:18])[0]
rows = [shipped.decode(chosen + share * (thick - thin)) for share in (-1.0, -0.5, 0.0, 0.5, 1.0)]
names = ["much thinner", "thinner", "as it is", "thicker", "much thicker"]
plots.show_images(np.concatenate(rows), columns=8, row_labels=names, alt="Eight digits in five thicknesses")
used_ink = [row.sum(axis=(1, 2, 3)).mean() for row in rows]
assert np.all(np.diff(used_ink) > 0), "each step should add ink"
ones = digits.train.labels == 1
print(f"ones among the thinnest tenth: {ones[thinnest].mean():.0%}; among the thickest: {ones[thickest].mean():.0%}")

# %% [markdown]
# The direction holds more than thickness. Ones are frequent among the digits with little ink and rare among those with
# much, so it also leads away from the ones: a one made much thicker is a one no longer.
#
# **Repair.** Encode a damaged digit, decode, put back the pixels that are known, and repeat (after Rezende et al.,
# 2014, who draw codes instead of taking the mean): what is missing is filled in with what digits usually have there.

# %%
for kind in ("hole", "half", "noise"):
    rows = vae_plots.damaged_rows(shipped, digits.test.images[20:36], kind, seed=0)
    labels = ["original", kind, "repaired"]
    plots.show_images(rows, columns=16, row_labels=labels, alt=f"Test digits, damaged by {kind}, and repaired")

# %% [markdown]
# Where two readings are possible the repair chooses one, and sometimes the wrong one. Noise strewn over the whole image
# defeats it: no pixel is known to be right, and the encoder was never shown such images and answers with nonsense. A
# network that is to remove noise must be trained on noisy images (Vincent et al., 2008).
#
# **Odd ones out.** An image to which the model gives little likelihood should be odd. Put upper halves of digits on
# lower halves of others, and see whether the likelihood tells such chimeras from digits; the area under the ROC curve
# (AUC) is the chance that a chimera scores worse than a digit, 0.5 for guessing. And a blank image, is it odd?

# %%
half = sizes.num_images // 2
normal, other = test_drawn[:half], test_drawn[half : 2 * half]
chimeras = np.concatenate([normal[:, :14], other[:, 14:]], axis=1)
scores = {name: shipped.log_likelihood(x, 50) for name, x in {"digits": normal, "chimeras": chimeras}.items()}
auc = (scores["chimeras"][:, None] < scores["digits"][None]).mean()
print(f"AUC {auc:.2f}; digits {-scores['digits'].mean():.0f} nats, chimeras {-scores['chimeras'].mean():.0f}")
check.between("vae/chimera_auc", auc)

# %%
blank = np.zeros((1, 28, 28, 1), "float32")
by_encoder = {k: -shipped.log_likelihood(blank, k)[0] for k in (100, 1000, 10_000)}
from_prior = shipped.decoder.predict(np.random.default_rng(0).standard_normal((10_000, 32)), batch_size=500, verbose=0)
by_prior = -vae.log_mean_exp(-np.logaddexp(0, from_prior).sum(axis=(1, 2, 3), dtype="float64"))
print("a blank image:", ", ".join(f"{nats:.0f} nats with K = {k:,}" for k, nats in by_encoder.items()))
likeliest = -shipped.log_likelihood(normal[[scores["digits"].argmax()]], 10_000)[0]
print(f"with 10,000 codes from the prior {by_prior:.0f} nats; the likeliest digit, with K = 10,000, {likeliest:.0f}")
check.between("vae/blank_nll", by_prior)

# %% [markdown]
# Chimeras are found well above chance. The blank image is a double warning. With few draws it seems unlikely, but only
# because the encoder, which never saw such an image, proposes the wrong codes: a lower bound may be far too low where
# its proposals are bad. With more draws, and without the encoder, it turns out as likely as the likeliest of these
# digits or likelier, although it resembles none: it has no stroke that could cost something. Likely is not typical
# (Nalisnick et al., 2019), so never trust a likelihood alone to find what does not belong.
#
# ## Ask for a class
#
# Give encoder and decoder the label as well (after Sohn et al., 2015; here the prior stays the same for all classes).
# The code then no longer needs to say *which* digit it is and keeps what remains: style. The shipped one was trained
# with $\beta = 3$. At $\beta = 1$ only 78 % of the samples were read as the class that was asked for (one training).
# **Question:** does style 1 do the same to a one as to an eight?

# %%
conditional = checkpoints.load("cvae-digits")
labels = np.repeat(np.arange(10), 100)
read = metrics.scorer().probabilities(conditional.sample(1000, labels=labels, seed=2)).argmax(1)
print(f"{(read == labels).mean():.1%} of 1,000 samples are read as the class that was asked for")
check.between("vae/cvae_accuracy", (read == labels).mean())

# %%
widgets.explore(
    vae_plots.class_panel(conditional),
    alt="Ten digits of one class in different styles, and one style in all ten classes",
    label=widgets.slider(0, 9, 1, 3, "class"),
    seed=widgets.slider(0, 40, 1, 0, "seed"),
    d1=widgets.slider(-3.0, 3.0, 0.25, 0.0, "style 1"),
    d2=widgets.slider(-3.0, 3.0, 0.25, 0.0, "style 2"),
)

# %% [markdown]
# ## GAN against VAE
#
# The same digits, the same scorer, the same number of samples. The VAE's samples are the decoder's means, without
# drawing pixels. Before you run it: which of the two will have the better recall?

# %%
gan = checkpoints.load("dcgan-digits")
sets = {
    "GAN": gan.sample(1000, seed=1),
    "VAE": shipped.sample(1000, seed=1),
    "VAE of two numbers": plane.sample(1000, seed=1),
}
compared = {name: metrics.score_images(images) for name, images in sets.items()}
nats = {"VAE": ladder[sizes.ks[-1]], "VAE of two numbers": -plane.log_likelihood(few, sizes.ks[-1]).mean()}
print(f"{'':18} course-FID            KID  precision  recall  modes  confidence  -log p(x)")
for name, s in compared.items():
    figures = f"{s.course_fid:10.2f} {s.kid:8.3f}±{s.kid_se:.3f} {s.precision:10.2f} {s.recall:7.2f}"
    likelihood = f"{nats[name]:10.1f}" if name in nats else "  has none"
    print(f"{name:18} {figures} {s.effective_modes:6.2f} {s.confidence:11.3f} {likelihood}")
s = compared["GAN"]
floors = f"{s.fid_floor:10.2f} {s.kid_floor:8.3f}       {s.precision_floor:10.2f} {s.recall_floor:7.2f}"
print(f"{'real digits':18} {floors} {'':6} {s.confidence_real:11.3f}")
check.between("vae/fid_ratio", compared["VAE"].ratio)

# %%
rows = [digits.test.images[:20], *(images[:20] for images in sets.values())]
plots.show_images(np.concatenate(rows), columns=20, row_labels=["real, held out", *sets], alt="Real digits and samples")

# %% [markdown]
# The GAN's strokes have sharp edges; the VAE's are soft, and some of its samples lie between two classes, probably from
# codes of the prior that no digit uses. It reaches more of the real digits (recall), while more of the GAN's samples
# lie among them (precision). course-FID looks at samples only, and puts the VAE far behind. It would not notice if a
# model could not represent the digit in front of you; the likelihood would. That one in turn hardly notices bad
# samples: mix one per cent of good ones into 99 per cent of noise, and it falls by at most $\log 100 = 4.6$ nats (Theis
# et al., 2016). Each score rewards what it looks at.
#
# Two test digits, and the way between them in both models (the GAN has no encoder: its way joins the samples nearest to
# the two). **Question:** on which way do you meet a third digit?

# %%
widgets.explore(
    vae_plots.pair_panel(shipped, gan, digits.test.images[:40]),
    alt="Two rows of nine digits, the way from one digit to another in the VAE and in the GAN",
    first=widgets.slider(0, 39, 1, 4, "from digit no."),
    second=widgets.slider(0, 39, 1, 21, "to digit no."),
)

# %% [markdown]
# ## What the documents got wrong
#
# One of the documents derives a VAE in which mean and deviation of the posterior are the *same* expression squashed
# into (0, 1), no sample is drawn, and the KL term of a loss that is to be minimised reads
# $\sum (\log \sigma - \sigma + 1)$. What does that term do at points that we know by hand?


# %%
def documents_kl(mean, deviation):
    return np.sum(np.log(deviation) - deviation + 1, axis=-1)


for mean, deviation in ((3.0, 1.0), (0.0, 0.1), (0.0, 1e-6)):
    theirs = documents_kl(np.array([mean]), np.array([deviation]))
    right = my_kl(np.array([mean]), 2 * np.log(np.array([deviation])))
    print(f"mean {mean}, deviation {deviation:g}: theirs {theirs:7.2f}, right {right:6.2f} nats")

# %% [markdown]
# A mean of 3 costs nothing, and the narrower the posterior, the larger the *reward*, without bound. Minimising it turns
# the VAE back into an autoencoder with fixed codes. And their encoder could not use a right KL either, since a squashed
# mean cannot reach the codes below 0:

# %%
features = np.random.default_rng(0).normal(size=(1000, 5))
one_head = 1 / (1 + np.exp(-features @ np.random.default_rng(1).normal(size=(5, 2))))
squashed = np.linspace(0.01, 0.99, 99)[:, None]
least = my_kl(squashed, 2 * np.log(squashed)).min()
print(f"one squashed head: means {one_head.min():.2f} to {one_head.max():.2f}, and the deviations are the same numbers")
print(f"its least KL, whatever the weights: {least:.2f} nats a number")
means, log_vars = shipped.encode(digits.test.images)
print(f"two heads: means {means.min():.1f} to {means.max():.1f}, deviations from {np.exp(log_vars / 2).min():.2f}")

# %%
corrections.table("08")

# %% [markdown]
# ## Exercises
#
# **1. The price of a mean over dimensions.** A listing divides the KL by $Z$ but sums the distortion. Which $\beta$ is
# that, and what should the author have called the model?


# %% tags=["exercise"]
def hidden_beta(latent_dim):
    return ...


# %% tags=["solution"]
def hidden_beta(latent_dim):
    return 1 / latent_dim  # a beta-VAE with beta far below 1: sharp reconstructions, bad samples


# %%
def test_hidden_beta(answer):
    mean, log_var = np.array([[1.0, -2.0, 0.5, 0.0]]), np.array([[0.3, -1.0, 0.0, 0.2]])
    averaged = np.mean(0.5 * (mean**2 + np.exp(log_var) - log_var - 1))
    check.close(answer(4) * my_kl(mean, log_var)[0], averaged, name="beta times the right KL")


check.exercise("08.1 hidden beta", hidden_beta, test_hidden_beta, hint="Compare a sum over Z numbers with their mean.")

# %% [markdown]
# **2. Log-mean-exp.** Write $\log \frac1K \sum_k e^{a_k}$ so that it survives $a_k = -1000$. This is the core of the
# importance-sampled likelihood.


# %% tags=["exercise"]
def my_log_mean_exp(a):  # [K] -> number
    return ...


# %% tags=["solution"]
def my_log_mean_exp(a):  # [K] -> number
    top = np.max(a)
    return top + np.log(np.mean(np.exp(a - top)))


# %%
def test_log_mean_exp(answer):
    check.close(answer(np.array([0.0, np.log(3.0)])), np.log(2.0), name="mean of 1 and 3")
    check.close(answer(np.array([-1000.0, -1000.0])), -1000.0, name="far below zero")
    values = np.random.default_rng(0).normal(-90, 5, 50)
    check.close(answer(values), vae.log_mean_exp(values), name="fifty weights")


check.exercise("08.2 log-mean-exp", my_log_mean_exp, test_log_mean_exp, hint="Take the largest term out first.")

# %% [markdown]
# **3. The best deviation.** A Gaussian decoder makes a squared error of $E$ a pixel. Which $\sigma$ minimises
# $\frac{E}{2\sigma^2} + \log \sigma$? (It is what "deviation learned" finds.)


# %% tags=["exercise"]
def best_deviation(error):  # mean squared error of a pixel
    return ...


# %% tags=["solution"]
def best_deviation(error):  # mean squared error of a pixel
    return np.sqrt(error)  # the derivative -E / sigma^3 + 1 / sigma is 0


# %%
def test_best_deviation(answer):
    for error in (0.01, 0.3):
        around = [error / (2 * s**2) + np.log(s) for s in (answer(error) * 0.99, answer(error), answer(error) * 1.01)]
        assert around[1] < min(around[0], around[2]), f"for E = {error} a neighbour of your deviation costs less"


check.exercise(
    "08.3 deviation", best_deviation, test_best_deviation, hint="Set the derivative with respect to sigma to 0."
)

# %% [markdown]
# **4. A random code that is typical.** Normal codes of $Z$ numbers have lengths near $\sqrt Z$. Draw codes from the
# prior and scale each to exactly that length. Are their samples better? Score them with
# `metrics.score_images(shipped.decode(codes_on_the_shell(1000, 32)))` beside those of the table.


# %% tags=["exercise"]
def codes_on_the_shell(num, latent_dim, seed=0):  # -> [N, Z]
    return ...


# %% tags=["solution"]
def codes_on_the_shell(num, latent_dim, seed=0):  # -> [N, Z]
    codes = np.random.default_rng(seed).standard_normal((num, latent_dim))
    return codes / np.linalg.norm(codes, axis=1, keepdims=True) * np.sqrt(latent_dim)


for seed in (1, 2, 3):
    pair = (shipped.decode(codes_on_the_shell(1000, 32, seed)), shipped.sample(1000, seed=seed))
    on_shell, from_prior = (metrics.score_images(images).ratio for images in pair)
    print(f"seed {seed}: {on_shell:.1f} floors on the shell, {from_prior:.1f} from the prior")  # hardly a difference


# %%
def test_shell(answer):
    codes = answer(50, 32)
    check.shape(codes, (50, 32))
    check.close(np.linalg.norm(codes, axis=1), np.full(50, np.sqrt(32)), name="lengths")
    assert np.abs(np.mean(codes)) < 0.1 and np.std(codes, axis=0).min() > 0.5, "the directions must be random"


check.exercise("08.4 shell", codes_on_the_shell, test_shell, hint="Divide each row by its length.")

# %% [markdown]
# **5. Open end.** Lower $-\log p(x)$ of the live convolutional model without training it longer: wider networks, more
# or fewer numbers, warm-up, deformed copies (`datasets.augment.Deformed`). Use three seeds, compare importance-sampled
# likelihoods on the same binarised digits, and keep the test digits for the very end.
#
# ## Summary
#
# - An autoencoder compresses; a distribution over codes, its own or a fitted one, makes it generate.
# - ELBO = −distortion − rate, each summed over its own dimensions, averaged over images, in nats. It lies below
#   $\log p(x)$ by the KL from the encoder's to the true posterior, and $K$ draws tighten it.
# - $z = \mu + \sigma\varepsilon$ lets the gradient pass the draw, at a fraction of the score function's variance.
# - $\beta$, and every hidden variance, moves along the rate-distortion curve; collapse is its far end.
# - Likelihood and sample scores reward different things. State both, with floors.
#
# ## Sources

# %%
models = ["kingma2014", "rezende2014", "burda2016", "sohn2015", "higgins2017", "kingma2016", "bowman2016", "alemi2018"]
others = [
    "williams1992",
    "mohamed2020",
    "salakhutdinov2008",
    "theis2016",
    "nalisnick2019",
    "vincent2008",
    "salimans2017",
]
corrections.references([*models, *others])

# %% [markdown]
# **Where to go next:** chapter 03 judged a GAN by the same scores; chapter 11 will replace the one code by a thousand
# small steps of noise, with the same bound.
