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
# # 02 · GAN mathematics
#
# A GAN is a game between two networks, and the game can be solved on paper. This chapter solves it: which judge is
# best, what the generator then minimises, why its gradient can die, and why a GAN may make excellent samples of only
# a few kinds. Everything is first done on densities that you can draw, where each claim is a number, and then tried
# on real networks that learn toy data before your eyes.
#
# Four short functions carry the chapter: the best judge, the value of the game, the generator's gradient and the
# Wasserstein distance. They are written out; empty them and type them again, and the cell after each tells whether
# yours agrees. Five exercises wait at the end.
#
# *About 60 minutes, one to two of them training.*

# %%
from aigc_course import runtime

print(runtime.setup(seed=0))
sizes = runtime.sizes("02_gan_mathematics")

import keras
import numpy as np

from aigc_course import check, corrections, gan, gan_theory, gan_theory_plots, plots, training, widgets

# %%
plots.show(gan_theory_plots.draw_game(mean=4.0), alt=gan_theory_plots.describe_game(mean=4.0))

# %% [markdown]
# By the end you can read this picture. On the left, the generator's density is far from the data and the best judge
# $D^*$ falls from 1 to 0 between them. In the middle, two losses that Goodfellow et al. (2014) offer the generator,
# while that judge stays as it is: one is flat where the generator stands (the dot), the other steep. On the right, the
# slope of each loss at the dot, for every place where the generator might stand.
#
# ## The game
#
# The **generator** turns noise into data: $z \in \mathbb{R}^k$ is a noise vector, $k$ its dimension, and $G(z)$ lives
# where the data live. Draw $z$ from a fixed density; assume that $G(z)$ then has a density too, and call it $q$ (the
# paper writes $p_g$). That is an assumption: a generator that always makes the same point has none. The density of the
# data is $p$. The **discriminator**, or judge, sees one point $x$, real or generated with equal odds, and gives
# $D(x)$, its probability that $x$ is real: it should be near 1 for real $x$ and near 0 for $G(z)$.
#
# The judge is paid by the logarithm of the probability that it gave to the truth. Its mean pay on real points and its
# mean pay on generated points, added up, are the **value function** (Goodfellow et al., 2014, eq. 1):
#
# $$V(D, G) = \mathbb{E}_{x \sim p}[\log D(x)] + \mathbb{E}_{z}[\log(1 - D(G(z)))]
# = \int \bigl( p(x) \log D(x) + q(x) \log(1 - D(x)) \bigr)\, dx .$$
#
# The judge makes $V$ large, the generator makes it small: $\min_G \max_D V(D, G)$. Only the generator tries to fool
# anybody. Mark the densities under the integral: an expectation is an integral *against the density*.
#
# ### Three numbers by hand
#
# Let $x$ take only three values, with $p = (\tfrac12, \tfrac12, 0)$ and $q = (0, \tfrac12, \tfrac12)$; integrals
# become sums. Take a judge that says $D = (0.9, 0.5, 0.1)$:
#
# - real: $\tfrac12 \log 0.9 + \tfrac12 \log 0.5 = -0.053 - 0.347 = -0.399$;
# - generated: $\tfrac12 \log(1 - 0.5) + \tfrac12 \log(1 - 0.1) = -0.347 - 0.053 = -0.399$;
# - so $V = -0.799$ nats. A judge that shrugs, $D = \tfrac12$ everywhere, gets $2 \log \tfrac12 = -1.386$.
#
# The same by code:

# %%
p_three, q_three = np.array([0.5, 0.5, 0.0]), np.array([0.0, 0.5, 0.5])
for judge_three in ([0.9, 0.5, 0.1], [0.5, 0.5, 0.5], [1.0, 0.5, 0.0]):
    print(judge_three, round(gan_theory.value_function(judge_three, p_three, q_three, dx=1), 3))

# %% [markdown]
# The last judge is sure where it may be sure, and does better than both: $V = -\log 2 = -0.693$. Could any judge do
# better?
#
# ## The best judge
#
# **Proposition.** For a fixed generator the best judge is $D^*(x) = \dfrac{p(x)}{p(x) + q(x)}$.
#
# *Proof.* $D$ may be any function with values from 0 to 1, so $V$ is largest when its integrand is largest at every
# $x$ separately. Fix $x$, write $a = p(x)$, $b = q(x)$, $d = D(x)$, and look for the maximum of
#
# $$\varphi(d) = a \log d + b \log(1 - d), \qquad 0 < d < 1 .$$
#
# $$\varphi'(d) = \frac{a}{d} - \frac{b}{1 - d} = 0 \iff d = \frac{a}{a + b}, \qquad
# \varphi''(d) = -\frac{a}{d^2} - \frac{b}{(1 - d)^2} < 0 .$$
#
# If $a$ and $b$ are positive, $\varphi$ is strictly concave, and the zero of $\varphi'$ is its one maximum. If $b = 0
# < a$, $\varphi$ only rises and $d = 1$ is best; if $a = 0 < b$, $d = 0$. Both agree with the formula. Where $a = b =
# 0$ any $d$ will do. $\blacksquare$
#
# In the example, $D^* = (1, \tfrac12, 0)$: the third judge was already the best. Here are both formulas for densities
# on a grid with step `dx`.


# %%
def my_best_judge(p, q):  # [N], [N] -> [N]
    return p / (p + q)


def my_value(judge, p, q, dx):  # [N], [N], [N] -> nats
    real = np.sum(p * np.log(judge)) * dx
    generated = np.sum(q * np.log(1 - judge)) * dx
    return real + generated


# %%
x = gan_theory.make_grid(-6.0, 9.0)
dx = x[1] - x[0]
p, q = gan_theory.gaussian(x, mean=0.0), gan_theory.gaussian(x, mean=2.0, scale=1.5)
best = my_best_judge(p, q)
check.close(best, gan_theory.best_discriminator(p, q), name="best judge")
check.close(my_value(best, p, q, dx), gan_theory.value_function(best, p, q, dx), name="value")

# %% [markdown]
# The package does the same, but is also safe where both densities are 0, or where the judge says exactly 0 or 1. The
# proposition says that no other judge gets a higher value. A thousand attempts to disprove it, by judges that differ
# from the best one by up to 0.2, or by hardly anything:

# %%
rng = np.random.default_rng(0)
distance = rng.uniform(0, 0.2, (1000, 1))
rivals = np.clip(best + distance * rng.uniform(-1, 1, (1000, len(x))), 1e-6, 1 - 1e-6)
values = [gan_theory.value_function(rival, p, q, dx) for rival in rivals]
top = my_value(best, p, q, dx)
print(f"best judge {top:.4f}; its 1,000 rivals stay below it by {top - max(values):.1g} to {top - min(values):.1g}")
assert max(values) < top

# %% [markdown]
# ## What the generator minimises
#
# Put $D^*$ back into $V$, and write $m = \tfrac12 (p + q)$, so that $D^* = p / 2m$ and $1 - D^* = q / 2m$:
#
# $$V(D^*, G) = \int p \log \frac{p}{2m} + \int q \log \frac{q}{2m}
# = \mathrm{KL}(p \,\|\, m) + \mathrm{KL}(q \,\|\, m) - 2 \log 2 = 2\,\mathrm{JS}(p, q) - \log 4 .$$
#
# $\mathrm{JS}(p, q) = \tfrac12 \mathrm{KL}(p \| m) + \tfrac12 \mathrm{KL}(q \| m)$ is the **Jensen-Shannon
# divergence**.
#
# **Theorem** (Goodfellow et al., 2014, Theorem 1). $\max_D V(D, G)$ is smallest if and only if $q = p$. The value is
# then $-\log 4$, and the best judge is $\tfrac12$ wherever there are data.
#
# *Proof.* $\mathrm{KL} \ge 0$ by Jensen's inequality, with equality only if its two densities are equal (almost
# everywhere). So $\mathrm{JS} \ge 0$, and $\mathrm{JS} = 0$ needs $p = m$ and $q = m$, hence $p = q$. Then
# $D^* = p / (p + p) = \tfrac12$. $\blacksquare$
#
# There is an upper end as well: $p / m \le 2$, so each $\mathrm{KL} \le \log 2$ and $\mathrm{JS} \le \log 2$, reached
# when the densities do not overlap. Check the identity on our two Gaussians; then see the divergence go from 0 to its
# upper end as two narrow Gaussians move apart:

# %%
value = gan_theory.value_function(best, p, q, dx)
check.close(value, 2 * gan_theory.jensen_shannon(p, q, dx) - np.log(4), name="V(D*, G) = 2 JS - log 4")
for mean in (0.0, 1.0, 2.0, 4.0, 6.0):
    js = gan_theory.jensen_shannon(gan_theory.gaussian(x, 0.0, 0.5), gan_theory.gaussian(x, mean, 0.5), dx)
    print(f"distance {mean:.0f}: JS {js:.4f} of at most log 2 = {np.log(2):.4f}")

# %% [markdown]
# A perfect generator does not make the judge reliable; it makes the judge useless. Let the best judge answer "real"
# where $D^* > \tfrac12$, that is, where $p > q$. On half real, half generated data it is then right with probability
# $\tfrac12 \int \max(p, q)\, dx$:

# %%
for name, density in {"far away": gan_theory.gaussian(x, 5.0), "closer": q, "perfect": p}.items():
    print(f"{name:9s} the best judge is right {gan_theory.best_accuracy(p, density, dx):.1%} of the time")

# %% [markdown]
# What the theorem does **not** say: that a network finds $D^*$, that the generator can reach every density, or that
# taking turns by gradient descent arrives anywhere. The rest of the chapter is about that gap.
#
# ## Two losses, two gradients
#
# The generator cannot minimise $V$ in one go. It takes a small step against a gradient, with the judge as it is now.
# Write the judge as a logit, $D(x) = \sigma(a(x))$ with $\sigma(a) = 1/(1 + e^{-a})$; for the best judge
# $a = \log p - \log q$. The paper offers two losses:
#
# - **saturating** (minimax): minimise $\mathbb{E}_q[\log(1 - D(x))]$;
# - **non-saturating**: minimise $-\mathbb{E}_q[\log D(x)]$.
#
# The simplest generator has one parameter: $G(z) = \mu + z$. If $\mu$ moves, every sample moves with it, so
# $\frac{d}{d\mu} \mathbb{E}[h(G(z))] = \mathbb{E}[h'(G(z))]$. With $\frac{d}{da} \log(1 - \sigma(a)) = -\sigma(a)$
# and $\frac{d}{da} \log \sigma(a) = \sigma(-a)$ the chain rule gives
#
# $$\text{saturating: } -\mathbb{E}_q[D(x)\, a'(x)], \qquad
# \text{non-saturating: } -\mathbb{E}_q[(1 - D(x))\, a'(x)] .$$
#
# Sample by sample both point the same way, towards "more real". They differ in the weight. A bad sample has
# $D(x) \approx 0$: the first loss gives it weight almost 0, the second almost 1.
#
# For data $N(0, 1)$ and generator $N(\mu, 1)$, $\log p - \log q = -\mu x + \mu^2 / 2$, so $a'(x) = -\mu$. The two
# gradients as code:


# %%
def my_gradients(mean, x, dx):  # -> saturating, non-saturating
    fake = gan_theory.gaussian(x, mean)
    slope = -mean
    judge = gan_theory.best_discriminator(gan_theory.gaussian(x, 0.0), fake)
    saturating = np.sum(fake * -judge * slope) * dx
    non_saturating = np.sum(fake * -(1 - judge) * slope) * dx
    return saturating, non_saturating


# %%
data = gan_theory.make_gaussian(0.0)
wide = gan_theory.make_grid(-8.0, 16.0, 2401)
for mean in (1.0, 3.0, 6.0):
    rules = ("saturating", "non-saturating")
    theirs = [gan_theory.generator_gradient(rule, data, gan_theory.make_gaussian(mean), wide) for rule in rules]
    check.close(my_gradients(mean, wide, 0.01), theirs, name=f"mean {mean:.0f}: {np.round(theirs, 4)}")

# %% [markdown]
# From mean 1 to mean 6 the first gradient dies away and the second grows. At mean 0 both are 0: there the generator is
# perfect. The package computes the same for any mixture (`generator_gradient`), and its tests compare it with finite
# differences and with automatic differentiation.
#
# Move the generator yourself. **Watch** the two dots in the middle picture: each curve is the loss the generator
# would see if it moved while the judge stayed. **Question:** at which mean is the saturating gradient largest, and
# what happens to it when you make the generator narrower?

# %%
widgets.explore(
    gan_theory_plots.draw_game,
    alt=gan_theory_plots.describe_game,
    mean=widgets.slider(-2.0, 8.0, 0.1, 3.0, "mean of the generator"),
    scale=widgets.slider(0.5, 2.0, 0.1, 1.0, "width of the generator"),
)

# %% [markdown]
# What to see: beyond a mean of about 4 the orange curve is flat at the dot and its gradient is nearly 0, while the
# blue one keeps rising; near a mean of 0 the two gradients are about equal. The saturating gradient is largest, 0.47,
# at a mean of 1.6. A narrower generator overlaps the data less and loses it sooner: at mean 4 it is 0.14 with width 1
# and 0.04 with width 0.5.
#
# ### What does each loss descend on?
#
# The saturating gradient, taken with the best judge held fixed, is exactly the gradient of $2\,\mathrm{JS}(p, q)$: at
# its maximum over $D$, $V$ does not change to first order when $D$ does. For the other loss use
# $(1 - D^*) / D^* = q / p$ and split
#
# $$-\log D^* = \log \frac{q}{p} - \log(1 - D^*) .$$
#
# Take means under $q$. The first part has the gradient of $\mathrm{KL}(q \| p) = \mathbb{E}_q[\log (q / p)]$, although
# the $q$ under the logarithm is held fixed: moving it would add $\mathbb{E}_q[\nabla \log q] = \nabla \int q = 0$. The
# second part has the gradient of $-2\,\mathrm{JS}$ (Arjovsky and Bottou, 2017, Theorem 2.5):
#
# $$\nabla_{\text{saturating}} = \nabla\, 2\,\mathrm{JS}(p, q), \qquad
# \nabla_{\text{non-saturating}} = \nabla \bigl[ \mathrm{KL}(q \,\|\, p) - 2\,\mathrm{JS}(p, q) \bigr] .$$
#
# So the non-saturating loss is not "the same game with a better gradient". By finite differences:

# %%
densities = [gan_theory.gaussian(wide, mean) for mean in (0.0, 1.999, 2.001)]
target, low, high = densities
js_slope = 2 * (gan_theory.jensen_shannon(target, high, 0.01) - gan_theory.jensen_shannon(target, low, 0.01)) / 0.002
kl_slope = (gan_theory.kl_divergence(high, target, 0.01) - gan_theory.kl_divergence(low, target, 0.01)) / 0.002
check.close([js_slope, kl_slope - js_slope], my_gradients(2.0, wide, 0.01), 1e-4, name="slopes of the divergences")

# %% [markdown]
# What does that difference want? Write $\log (q / p) = \log (q / m) + \log (m / p)$ and collect the terms:
#
# $$\mathrm{KL}(q \,\|\, p) - 2\,\mathrm{JS}(p, q) = 2\,\mathrm{KL}(m \,\|\, p) \ge 0 ,$$
#
# with equality only for $m = p$, that is, $q = p$. Both losses have the same goal, then, and charge differently on the
# way. Samples where there are no data cost at most $2 \log 2$ nats in $2\,\mathrm{JS}$ and infinitely much in
# $2\,\mathrm{KL}(m \| p)$. Data without samples cost something in both. Let the data be eight equal modes, and the
# generator perfect on the modes that it has:

# %%
eight = np.full(8, 1 / 8)
for missing in (1, 4, 6, 7):
    kept = np.where(np.arange(8) < missing, 0, 1 / (8 - missing))
    saturating = 2 * gan_theory.jensen_shannon(eight, kept, dx=1)
    other = gan_theory.kl_divergence(kept, eight, dx=1) - saturating
    assert np.isclose(other, 2 * gan_theory.kl_divergence((eight + kept) / 2, eight, dx=1))
    print(f"{missing} of 8 modes missing: saturating {saturating:.3f}, non-saturating {other:.3f}")

# %% [markdown]
# See that the non-saturating loss charges half as much for the first missing mode (0.043 against 0.091), but no less
# once seven are missing (1.086 against 0.994). Keep both facts in mind for the last experiment.
#
# ## When the densities do not overlap
#
# Let the data be uniform on $[0, 1]$ and the generator uniform on $[\theta, \theta + 1]$. As soon as $|\theta| > 1$
# they share no point: the best judge is 1 on the data and 0 on the samples, $\mathrm{JS} = \log 2$ whatever $\theta$
# is, and its gradient is exactly 0. (Nor does $-\log D^*$ help then: it is infinite, and the theory no longer says
# which way a real network, which never gets there, slopes.) Pictures come close to this case: if data and samples lie
# on sets of lower dimension that do not align perfectly, some judge is always right, and flat around almost every
# point (Arjovsky and Bottou, 2017, Theorem 2.2).
#
# A distance that still knows *how far* is the **Wasserstein distance** $W_1$ (Arjovsky, Chintala and Bottou, 2017):
# the least mean distance that mass must travel to turn $q$ into $p$. In one dimension, at least $|P(x) - Q(x)|$ of the
# mass has to cross the point $x$, where $P$ and $Q$ are the cumulative distributions, and no more has to if mass keeps
# its order. So the distance is the area between $P$ and $Q$:
#
# $$W_1(p, q) = \inf_{\text{couplings of } X \sim p,\, Y \sim q} \mathbb{E}|X - Y| = \int |P(x) - Q(x)|\, dx .$$


# %%
def my_wasserstein(p, q, dx):  # [N], [N] -> units of x
    cumulative_p = np.cumsum(p) * dx
    cumulative_q = np.cumsum(q) * dx
    return np.sum(np.abs(cumulative_p - cumulative_q)) * dx


check.close(my_wasserstein(p, q, dx), gan_theory.wasserstein_1d(p, q, dx), name="Wasserstein distance")
check.close(my_wasserstein(p_three, q_three, 1), 1.0, name="by hand: every half moves one place")

# %%
shifts = np.linspace(0, 4, 81)
line = np.arange(-0.5, 5.5, 0.005)
boxes = [((line >= shift) & (line < shift + 1)).astype(float) for shift in shifts]
curves = {
    "Wasserstein": [gan_theory.wasserstein_1d(boxes[0], box, 0.005) for box in boxes],
    "Jensen-Shannon": [gan_theory.jensen_shannon(boxes[0], box, 0.005) for box in boxes],
}
plots.show_curves(curves, x=shifts, xlabel="shift of the generator", ylabel="distance from the data")

# %% [markdown]
# See that the Jensen-Shannon divergence stops at $\log 2 = 0.69$ as soon as the boxes part at shift 1, while the
# Wasserstein distance goes on at slope 1.
#
# How can a network measure it? By the **Kantorovich-Rubinstein** duality. If $|x|$ has a finite mean under both
# densities,
#
# $$W_1(p, q) = \sup_{f \text{ 1-Lipschitz}} \bigl( \mathbb{E}_{x \sim p}[f(x)] - \mathbb{E}_{x \sim q}[f(x)] \bigr),$$
#
# where 1-Lipschitz means $|f(x) - f(y)| \le |x - y|$ for all $x, y$. The *critic* $f$ is not a probability: there is
# no sigmoid and no logarithm, and without the Lipschitz bound the supremum would be infinite unless $q = p$. Any one
# critic gives only a lower bound. Integrate by parts, $\int f\,(p - q) = \int f'\,(Q - P)$, and see that a best one
# has slope $\operatorname{sign}(Q - P)$. So the generator's gradient, if it is the data shifted, is $\pm 1$ however
# far it is. Chapter 03 keeps a network near Lipschitz by a penalty on its gradient (Gulrajani et al., 2017).

# %%
critic = gan_theory.best_critic(p, q, dx)
dual = gan_theory.expectation(critic, p, dx) - gan_theory.expectation(critic, q, dx)
check.close(dual, gan_theory.wasserstein_1d(p, q, dx), name=f"the best critic attains W1 = {dual:.4f}")
widgets.explore(
    gan_theory_plots.draw_transport,
    alt="Left, data and generator with the best critic; right, the area between their cumulative distributions",
    mean=widgets.slider(-2.0, 8.0, 0.1, 3.0, "mean of the generator"),
    scale=widgets.slider(0.5, 2.0, 0.1, 1.0, "width of the generator"),
)

# %% [markdown]
# What to see: the critic is a straight ramp that rises from the samples to the data, as steep when they are far apart
# as when they are near, and the grey area is the distance. (It is drawn flat where no mass is left and any slope up to
# 1 would do.) **Question:** set the mean to 0 and change the width. Why does the critic now have the shape of a V or a
# roof? (Which way must the mass to the left of 0 travel, and which way the mass to its right?)
#
# ## Ten steps of each rule
#
# Let the data be $N(3, 1)$ and the generator start as $N(0, 1)$; at each step the best judge is found anew and the
# generator takes one step of learning rate 0.2. Beside the three right rules run three that the source documents
# print: `B1` descends on $D(G(z))$, `B2` descends on $\log D(G(z))$, `D6` *adds* the gradient of the loss
# $-\log D(G(z))$.

# %%
paths = {rule: gan_theory.run_rule(rule, data_mean=3.0, start=0.0, learning_rate=0.2) for rule in gan_theory.RULES}
plots.show_curves(paths, ylabel="mean of the generator", title="data at 3", size=(7.2, 4.2))

# %%
for rule, path in paths.items():
    print(f"{rule:15s} first step {path[1] - path[0]:+.3f}   after ten steps at {path[-1]:+7.2f}")
assert all(paths[rule][-1] > 0.5 for rule in ("saturating", "non-saturating", "wasserstein"))
assert all(paths[rule][-1] < 0 for rule in ("B1", "B2", "D6"))

# %% [markdown]
# See three curves climb towards 3, the saturating one slowest, and the others sink. `B2` and `D6` are the same wrong
# step (their curves lie on each other), reached by two slips: $\min \log D$ and $\max(-\log D)$. `B1` only looks
# harmless because its gradient, $D(1 - D)\,a'$, dies as the samples become worse; it too makes the generator easier to
# catch at every step.
#
# ## A GAN on the line
#
# Now networks. The data: four narrow Gaussians on the line.

# %%
four = gan_theory.make_line()
points = four.sample(sizes.points, seed=0)
check.shape(points, (sizes.points, 1), name="points")
print("eight of them:", np.round(points[:8, 0], 2))

# %% [markdown]
# The generator maps 8 noise numbers to one point, the discriminator maps a point to a logit; each has two hidden
# layers of 64. `gan.GAN` puts the two losses of this chapter behind one argument, and plain `compile` and `fit` train
# it.

# %%
line_gan = gan.GAN(gan_theory.PointGenerator(data_dim=1), gan_theory.PointDiscriminator(data_dim=1))
line_gan.compile(optimizer=keras.optimizers.Adam(2e-3, beta_1=0.5))
history = training.fit(
    line_gan,
    points,
    epochs=sizes.line_epochs,
    batch_size=sizes.batch_size,
    samples=gan_theory_plots.watch(line_gan, four),
)

# %% [markdown]
# See the histogram of the samples (orange) split into heaps under the density of the data (blue). On the left, compare
# with the theory: at the equilibrium $D = \tfrac12$, so the discriminator's loss, which is $-V$, is $\log 4 = 1.386$
# and the generator's is $\log 2 = 0.693$. (`loss` is their sum.) The curves settle near these values, but take care: a
# judge that shrugs at bad samples has the same loss. How good are the samples? *Coverage* counts. A sample is of high
# quality if it lies within three standard deviations of a mode; a mode is hit if at least 1 % of all samples are of
# high quality and nearest to it (after Srivastava et al., 2017, who ask for one sample). Real data, and a trivial
# model that covers the range evenly, are the two ends of the scale:

# %%
print("real data:", gan_theory.count_modes(four.sample(2048, seed=5), four))
print("even     :", gan_theory.count_modes(np.linspace(-3.6, 3.6, 2048)[:, None], four))
reached = gan_theory.count_modes(line_gan.sample(2048), four)
print("the GAN  :", reached)
check.between("gan_mathematics/line_modes", reached.modes_hit)
check.between("gan_mathematics/line_near", reached.high_quality)

# %% [markdown]
# The even model shows why both numbers are needed: it hits every mode, and the share near a mode gives it away. The
# opposite fault, samples near only one or a few of the modes, is called **mode collapse**. And neither number sees the
# heaps' shape: compare their width and height with the blue curve.
#
# ## Collapse, counted
#
# Eight Gaussians on a ring (the toy of Metz et al., 2017, with wider modes). The judge is now wider and deeper than
# the generator. We train the same two networks from the same initial weights twice, and change nothing but the
# generator's loss. First the non-saturating one:

# %%
ring = gan_theory.make_ring()
ring_points = ring.sample(sizes.points, seed=0)
print("shape", ring_points.shape, "first point", np.round(ring_points[0], 2))

# %%
eager = gan.GAN(gan_theory.PointGenerator(), gan_theory.PointDiscriminator(hidden_dim=256, num_layers=3))
eager.compile(optimizer=keras.optimizers.Adam(1e-3, beta_1=0.5))
history = training.fit(
    eager,
    ring_points,
    epochs=sizes.ring_epochs,
    batch_size=sizes.batch_size,
    samples=gan_theory_plots.watch(eager, ring),
)

# %% [markdown]
# See the points keep to a part of the ring. As long as the discriminator's loss stays well below $\log 4$, the judge
# has the upper hand. Now the minimax loss. Its curve is negative, for it is $\mathbb{E}[\log(1 - D)]$:

# %%
patient = gan.GAN(
    gan_theory.PointGenerator(), gan_theory.PointDiscriminator(hidden_dim=256, num_layers=3), loss="minimax"
)
patient.compile(optimizer=keras.optimizers.Adam(1e-3, beta_1=0.5))
history = training.fit(
    patient,
    ring_points,
    epochs=sizes.ring_epochs,
    batch_size=sizes.batch_size,
    samples=gan_theory_plots.watch(patient, ring),
)

# %% [markdown]
# Side by side with real data; the circles have a radius of three standard deviations. Count the empty ones.

# %%
made = {
    "real data": ring.sample(2048, seed=5),
    "non-saturating": eager.sample(2048),
    "minimax": patient.sample(2048),
}
plots.show(
    gan_theory_plots.draw_coverage(made, ring),
    alt="Points on the ring: real data in all eight circles, non-saturating in few, minimax in more",
)

# %%
cover = {name: gan_theory.count_modes(points, ring) for name, points in made.items()}
for name, result in cover.items():
    print(f"{name:15s} {result}; samples by mode {result.counts}")
check.between("gan_mathematics/ring_modes_non_saturating", cover["non-saturating"].modes_hit)
check.between("gan_mathematics/ring_near_non_saturating", cover["non-saturating"].high_quality)
check.between("gan_mathematics/ring_modes_minimax", cover["minimax"].modes_hit)
check.between("gan_mathematics/ring_near_minimax", cover["minimax"].high_quality)

# %% [markdown]
# See the middle picture: most points lie where data are, but whole circles are empty. A score that looks at single
# samples may well call it the better generator. The minimax generator is blurrier and reaches more of the ring. Three
# seeds, 2,000 steps each: non-saturating 2, 6 and 3 modes of 8, minimax 8 every time.
#
# Does the theory above explain this? Only in part. The non-saturating loss charges less for a missing mode and more
# for a stray sample; but with six or seven modes missing it charges about as much as the other, and its one minimum is
# at $q = p$. Goodfellow's tutorial (2016, section 3.2.5) observes that GANs keep fewer modes than their divergence
# would, and puts it down to the training and not to the divergence. So do not take a law from this run. The networks
# never reach $D^*$, and the outcome depends on the judge's size and the learning rate: with a smaller judge and larger
# steps the non-saturating loss covers the ring too (exercise 5), and against a judge that is sure early the minimax
# gradient is nearly 0, as the slider showed. What carries over is the habit: **count the modes, on more than one
# seed**.
#
# ## What the documents got wrong
#
# **The sign of the generator's loss (B1, B2, D6).** You saw ten steps. Here is one step of 0.5 that you can check in
# your head: a generator with the single parameter $t = 0$, judged by $D(t) = \sigma(t)$, where $\sigma'(0) =
# \tfrac14$.

# %%
for rule in ("saturating", "non-saturating", "B1", "B2", "D6"):
    step = gan_theory.RULES[rule].direction * 0.5 * gan_theory.RULES[rule].slope(np.array(0.0))
    print(f"{rule:15s} {step:+.3f}   {'towards' if step > 0 else 'away from'} what the judge calls real")
corrections.show("B1", "B2", "D6")

# %% [markdown]
# **The lost densities (B3).** Take $p = N(0, 1)$ and $D = \sigma(x)$. With its density the integral is the
# expectation, and a mean of samples agrees; without it, it is another number, which grows with the interval.

# %%
log_judge = -np.logaddexp(0, -x)
normal = rng.standard_normal(100_000)
print(f"mean of samples {np.mean(-np.logaddexp(0, -normal)):.2f}")
print(f"with density    {np.sum(gan_theory.gaussian(x) * log_judge) * dx:.2f}")
print(f"without         {np.trapezoid(log_judge, x):.2f}")
corrections.show("B3", "B18", "B27")

# %% [markdown]
# **What a judge gives (D22), and what it cannot give (B19).** The output of our discriminator is neither 0 nor 1 but
# the log-odds of "real", and its sigmoid estimates $p / (p + q)$. It judges *this* generator's density against the
# data, not the quality of one picture. And a judge that has learned nothing says the same of everything, so that the
# difference of its outputs rates every generator as perfect:

# %%
logits = keras.ops.convert_to_numpy(eager.discriminator(ring_points[:1000]))
print(f"logits of real points: from {logits.min():.2f} to {logits.max():.2f}")
for name, output in {"the GAN": made["minimax"], "pure noise": rng.standard_normal((2048, 2))}.items():
    score = np.ones(2048).mean() - np.ones(len(output)).mean()
    print(f"{name:10s} score by a constant judge {score:.1f}; {gan_theory.count_modes(output, ring)}")

# %% [markdown]
# **One pair is not a loss (D25).** Losses are expectations; a batch mean estimates them. For the generator at 2 and
# the best judge, the non-saturating loss of single samples, and of batches of 256. The spread of a mean of 256 should
# be $\sqrt{256} = 16$ times smaller:

# %%
fakes = 2.0 + rng.standard_normal((500, 256))
losses = np.logaddexp(0, 2.0 * fakes - 2.0)  # -log D with log-odds -2x + 2
print(f"single samples: {losses[:, 0].mean():.2f} plus or minus {losses[:, 0].std():.2f}")
print(f"batch means:    {losses.mean():.2f} plus or minus {losses.mean(axis=1).std():.2f}")
corrections.show("D22", "D25")

# %% [markdown]
# The documents' "examples" (D26) repeat the formulas and hold no number; the three numbers near the top of this
# chapter take their place. The faults in their listings (B16, B17: arguments swapped, samples made outside the tape)
# stand in chapter 03's table, and that chapter scores in the repaired form (B19). And where GANs are credited with text
# (B20), remember $\frac{d}{d\mu} \mathbb{E}[h(G(z))] = \mathbb{E}[h'(G(z))]$: it needs samples that move a little when
# $\mu$ does. A generator that picks one word of a list makes none. All corrections of this chapter in one table:

# %%
corrections.table("02")

# %% [markdown]
# ## Exercises
#
# **1. The shrugging judge.** What is $V(D, G)$ for $D = \tfrac12$ everywhere, whatever $p$ and $q$ are?

# %% tags=["exercise"]
shrug = ...  # one number, in nats

# %% tags=["solution"]
shrug = -np.log(4)  # E_p log 1/2 + E_q log 1/2, and densities integrate to 1

# %%
check.exercise(
    "the shrugging judge",
    shrug,
    lambda answer: check.close(answer, gan_theory.value_function(np.full_like(p, 0.5), p, q, dx), 1e-3),
    hint="log(1/2) is a constant: take it out of both expectations.",
)

# %% [markdown]
# **2. The two gradients add up.** Data $N(0, s^2)$, generator $N(\mu, s^2)$. What is the sum of the saturating and
# the non-saturating gradient?


# %% tags=["exercise"]
def gradient_sum(mean, scale):
    return ...


# %% tags=["solution"]
def gradient_sum(mean, scale):
    return mean / scale**2  # the weights D and 1 - D add up to 1, and a' = -mean / scale^2


# %%
check.exercise(
    "the two gradients add up",
    gradient_sum,
    lambda answer: check.close([answer(1.0, 1.0), answer(3.0, 2.0), answer(-1.5, 0.5)], [1.0, 0.75, -6.0]),
    hint="Add the two formulas before you put in numbers; then find the slope of log p - log q.",
)

# %% [markdown]
# **3. Smoothed labels** (Salimans et al., 2016). Suppose the judge is trained with the target $1 - s$ instead of 1 for
# real points: it maximises $(1 - s)\, p \log D + s\, p \log(1 - D) + q \log(1 - D)$ at every $x$. Which judge is best
# now?


# %% tags=["exercise"]
def smoothed_judge(p, q, smoothing):
    return ...


# %% tags=["solution"]
def smoothed_judge(p, q, smoothing):
    return (1 - smoothing) * p / (p + q)


# %%
check.exercise(
    "smoothed labels",
    smoothed_judge,
    lambda answer: check.close([answer(2.0, 3.0, 0.1), answer(1.0, 1.0, 0.0), answer(0.3, 0.1, 0.2)], [0.36, 0.5, 0.6]),
    hint="Collect the factors of log D and of log(1 - D) and use the proposition with these as a and b.",
)

# %% [markdown]
# **4. Same mean, other width.** What is $W_1$ between $N(0, a^2)$ and $N(0, b^2)$? Couple them by one and the same
# $Z$.


# %% tags=["exercise"]
def width_distance(a, b):
    return ...


# %% tags=["solution"]
def width_distance(a, b):
    return abs(a - b) * np.sqrt(2 / np.pi)  # E|aZ - bZ|; in one dimension the monotone coupling is the best


# %%
check.exercise(
    "same mean, other width",
    width_distance,
    lambda answer: check.close(
        [answer(1.0, b) for b in (0.5, 0.8, 1.3)],
        [gan_theory.wasserstein_1d(gan_theory.gaussian(x), gan_theory.gaussian(x, 0, b), dx) for b in (0.5, 0.8, 1.3)],
        1e-3,
    ),
    hint="Mass at aZ travels to bZ: take the mean of |aZ - bZ|. E|Z| is twice the integral of z phi(z) from 0 on.",
)

# %% [markdown]
# **5. Open-ended: cure the collapse.** Keep the non-saturating loss and find settings (size of the judge, learning
# rate, width of the noise, epochs) with which the generator reaches at least seven of the eight modes. Points spread
# evenly along the circle would do that too, with 38 % of them near a mode; so the check also asks for 40 %. Train as
# above and leave the model in `cured`. Then try two other seeds: does it hold? Write down what you would report.

# %% tags=["exercise"]
cured = ...  # a trained gan.GAN with loss="non-saturating"

# %% tags=["solution"]
cured = gan.GAN(gan_theory.PointGenerator(), gan_theory.PointDiscriminator(hidden_dim=64, num_layers=2))
cured.compile(optimizer=keras.optimizers.Adam(5e-3, beta_1=0.5))
training.fit(
    cured,
    ring_points,
    epochs=sizes.line_epochs,
    batch_size=sizes.batch_size,
    samples=gan_theory_plots.watch(cured, ring),
)
print(gan_theory.count_modes(cured.sample(2048), ring))  # smaller judge, larger steps; try each alone as well

# %%
check.exercise(
    "cure the collapse",
    cured,
    lambda model: (
        model.loss_name == "non-saturating"
        and (found := gan_theory.count_modes(model.sample(2048), gan_theory.make_ring())).modes_hit >= 7
        and found.high_quality >= 0.4
    ),
    hint="A judge that is less sure sooner tells the generator more: make it smaller, or change the learning rate.",
)

# %% [markdown]
# ## Summary
#
# - The value function pays the judge for the log-probability of the truth. Its best answer is $p / (p + q)$.
# - Against that judge the generator minimises $2\,\mathrm{JS} - \log 4$; the minimum is reached if and only if $q =
#   p$, and then the judge can only toss a coin.
# - The saturating loss has almost no gradient where samples are bad. The non-saturating one has, and descends on
#   $\mathrm{KL}(q \| p) - 2\,\mathrm{JS} = 2\,\mathrm{KL}(m \| p)$ instead: the same goal, less charged for a missing
#   mode.
# - Without overlap Jensen-Shannon is flat; the Wasserstein distance is not.
# - The divergence alone does not explain mode collapse: it happens while two networks train.
# - Good samples and covered modes are two different things. Count both.
#
# ## Sources

# %%
works = "arjovsky2017 arjovsky2017principled goodfellow2014 goodfellow2016 goodfellow2016tutorial gulrajani2017 "
works += "metz2017 salimans2016 srivastava2017"
corrections.references(works.split())

# %% [markdown]
# ## Where to go next
#
# [Chapter 03](03_gan_images.ipynb) trains the same `gan.GAN` on handwritten digits, where no density can be drawn and
# quality and coverage must be estimated from samples.
