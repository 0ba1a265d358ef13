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
# # 00 · Start here
#
# What generative AI is, the families of its models side by side, the way from data to a score, and how this course
# works: sliders, checks, exercises, your machine.
#
# **A picture first.** Run the two cells below (click the first, then press Shift+Enter twice) and move the sliders. A
# network that began as random numbers draws sixteen handwritten digits and bends each of them into others.
#
# *About 25 minutes. You will write five short answers, none longer than a line of NumPy.*

# %% [markdown] tags=["zh"]
# # 00 · 从这里开始
#
# 什么是生成式人工智能，它的各个模型家族，从数据到评分的全过程，以及这门课怎么用：滑块、检查、练习，还有你自己的机器。
#
# **先看图。** 运行下面两个单元格（点一下第一个，再按两次 Shift+Enter），然后拖动滑块。
# 一个从随机数起步的网络会画出十六个手写数字，并让每一个慢慢变成别的样子。
#
# *大约 25 分钟。你要写五个很短的答案，每个不超过一行 NumPy。*

# %%
from aigc_course import runtime

print(runtime.setup(seed=0))
sizes = runtime.sizes("00_start_here")

import numpy as np
from IPython.display import Markdown

from aigc_course import check, checkpoints, corrections, datasets, plots, tour, widgets

# %%
gan = checkpoints.load("dcgan-digits")
widgets.explore(
    tour.latent_walk(gan),
    alt="Sixteen handwritten digits drawn by the generator",
    angle=widgets.slider(0, 360, 5, 40, "angle in degrees"),
    seed=widgets.slider(0, 50, 1, 0, "seed"),
)

# %% [markdown]
# ## What you just moved
#
# The network is the *generator* of a GAN trained on 8,000 handwritten digits; chapter 03 builds it. Its input is a list
# of 64 random numbers, the *latent code* $z$; its output is a picture of 28 × 28 grey levels. *Seed* chooses two codes
# $u$ and $v$ for each of the sixteen places, and *angle* walks around the circle through them:
#
# $$z(a) = \cos(a)\,u + \sin(a)\,v.$$
#
# Why a circle and not a straight line? The generator was trained on codes whose numbers have variance 1. Here the
# variance is $\cos^2 a + \sin^2 a = 1$ at every angle, so every stop is a code like those it has seen.
#
# **Try:** find an angle at which one place changes from one digit to another. What does the picture look like half-way?

# %% [markdown] tags=["zh"]
# ## 你刚才拖动的是什么
#
# 这个网络是一个 GAN 的**生成器**，用 8,000 张手写数字训练而成；第 03 章会亲手搭建它。它的输入是 64 个随机数，
# 称为**潜在编码** $z$；输出是一张 28 × 28 的灰度图。*seed*（种子）为十六个位置各选定两个编码 $u$ 和 $v$，
# *angle*（角度）则沿着经过它们的圆走一圈：
#
# $$z(a) = \cos(a)\,u + \sin(a)\,v.$$
#
# 为什么走圆，而不走直线？训练时生成器见到的编码，每个数的方差都是 1。在圆上，
# 任何角度的方差都是 $\cos^2 a + \sin^2 a = 1$，所以每一站都像它见过的编码。
#
# **试一试：** 找一个角度，让某个位置上的数字变成另一个数字。变到一半时，图是什么样子？

# %% [markdown]
# ## What AIGC is, and what it is not
#
# **AIGC** stands for *AI-generated content*: text, pictures, sound, video or code made by a model that has learned from
# examples. In one formula: from examples $x_1, \dots, x_N$ a model learns a distribution $p_\text{model}(x)$, often
# $p_\text{model}(x \mid \text{prompt})$, and a *sampler* draws new $x$ from it.
#
# - It is **not** another word for GAN. Adversarial training is one way to learn $p_\text{model}$, beside others.
# - It is **not** a subject like language or vision. Those name the *kind of data*; generation is *what is done with
#   it*.
# - A system that **chooses, ranks or classifies** (a recommender, a lung screening) returns a label or an order, not
#   new content. A mail merge makes text, but from a template: nothing was learned.
#
# ## Families of models, side by side
#
# Two questions are independent of each other: *how* is the distribution learned (the family), and *what* is made (the
# use)? So the map has two axes, and each place holds one published model.

# %% [markdown] tags=["zh"]
# ## AIGC 是什么，不是什么
#
# **AIGC** 是 *AI-generated content* 的缩写，即“人工智能生成内容”：由一个从样例中学习过的模型生成的文字、图片、
# 声音、视频或代码。写成一个式子：模型从样例 $x_1, \dots, x_N$ 中学到一个分布 $p_\text{model}(x)$，
# 常常是带条件的 $p_\text{model}(x \mid \text{提示})$，再由**采样器**从中抽出新的 $x$。
#
# - 它**不是** GAN 的另一个名字。对抗训练只是学习 $p_\text{model}$ 的方法之一，旁边还有别的方法。
# - 它**不是**与自然语言处理、计算机视觉并列的学科。后两者说的是**数据的种类**，生成说的是**拿数据做什么**。
# - 只做**选择、排序或分类**的系统（推荐系统、肺部筛查）给出的是标签或次序，不是新内容。邮件合并会产生文字，
#   但用的是模板，什么也没有学。
#
# ## 并排的模型家族
#
# 有两个互不相干的问题：分布是**怎样**学到的（家族），生成的是**什么**（用途）？所以这张图有两根轴，
# 每一格放一个已发表的模型。

# %%
plots.show(tour.family_map(), alt="Four families of generative models by four uses; every place is filled")

# %% [markdown]
# See that every place is taken: each family has been tried on each kind of data, and no row descends from another. Two
# places are filled, the usual choice at the time of writing: text comes from autoregressive Transformers (GPT-2 and
# its successors), most pictures from diffusion. The course builds models of all four families. The borders are open:
# latent diffusion, for one, runs a diffusion process inside the code of an autoencoder. And the list is not complete:
# normalising flows and energy-based models are families too (Bond-Taylor et al., 2022).
#
# None of the four is best at everything (Bond-Taylor et al. compare them at length):
#
# | | autoregressive | latent variable (VAE) | adversarial (GAN) | diffusion |
# |---|---|---|---|---|
# | probability of a given $x$ | exact, a product | lower bound | none | lower bound |
# | network passes a sample | one a piece | 1 | 1 | one a step |
# | a code to put sliders on | none built in | yes, and an encoder | yes, but no encoder | noise of the picture's size |
# | training | one loss, steady | one loss; may ignore its code | a game of two, unsteady | one loss, steady |
# | usual weakness | slow samples | blurred pictures | missing variety | slow samples |
#
# Pixel by pixel, a digit takes 784 passes; DDPM takes 1,000 steps, newer samplers fewer.

# %% [markdown] tags=["zh"]
# 请注意，每一格都有模型：每个家族都在每种数据上试过，没有哪一行是从另一行派生出来的。涂满颜色的两格是写作时的常用选择：
# 文字来自自回归 Transformer（GPT-2 及其后继者），图片大多来自扩散模型。四个家族的模型，本课程都会搭建。
# 家族之间的边界是开放的：例如潜在扩散（latent diffusion）就是在自编码器的编码里做扩散。这张表也不完整：
# 归一化流和基于能量的模型同样是家族（Bond-Taylor 等，2022）。
#
# 四个家族没有一个样样最好（Bond-Taylor 等有详细比较）：
#
# | | 自回归 | 潜变量（VAE） | 对抗（GAN） | 扩散 |
# |---|---|---|---|---|
# | 给定 $x$ 的概率 | 精确，是乘积 | 下界 | 没有 | 下界 |
# | 每个样本运行网络几次 | 每个单元一次 | 1 | 1 | 每步一次 |
# | 能接滑块的编码 | 本身没有 | 有，还有编码器 | 有，但没有编码器 | 与图片同样大的噪声 |
# | 训练 | 一个损失，平稳 | 一个损失；可能忽略编码 | 两方博弈，不稳 | 一个损失，平稳 |
# | 常见弱点 | 采样慢 | 图片模糊 | 多样性不足 | 采样慢 |
#
# 逐像素画一个数字要运行 784 次；DDPM 走 1,000 步，更新的采样器可以少些。

# %%
plots.show(tour.timeline(), alt="A time line from 1913 to 2022 with one lane for each family")

# %% [markdown]
# Years stand in order, not to scale. Markov counted in 1913 how vowels and consonants follow each other in Pushkin's
# *Eugene Onegin*; Shannon drew random English from such counts in 1948. Both models are autoregressive: the next letter
# given those before. In 2003 Bengio et al. put a neural network in the place of the counts. In the form used today, the
# other three rows began within three years, 2013 to 2015, each with an idea of its own.

# %% [markdown] tags=["zh"]
# 年份只按先后排列，不按比例。1913 年，马尔可夫统计了普希金《叶甫盖尼·奥涅金》里元音和辅音怎样前后相接；1948 年，
# 香农根据这类统计随机写出“英语”。两者都是自回归模型：由前面的字母决定下一个字母。2003 年，
# Bengio 等人用神经网络取代了计数。另外三个家族以今天的形式，在 2013 至 2015 这三年里先后开始，各有各的想法。

# %% [markdown]
# ## From data to a score
#
# Every chapter follows the same eight stages, whatever the family. Here they are with the numbers of the digits that
# ship with the course. They come from MNIST, and the parts share no picture.

# %% [markdown] tags=["zh"]
# ## 从数据到评分
#
# 不论哪个家族，每一章都走同样的八个阶段。下图用的是随课程附带的手写数字的真实数目。这些数字来自 MNIST，
# 三个部分没有共同的图片。

# %%
digits = datasets.load_digits()
stages = "data, split, model, loss, training, sampling, scoring, release"
plots.show(tour.pipeline_figure(digits), alt=f"Eight stages joined by arrows: {stages}")

# %%
images, labels = digits.train.images, digits.train.labels
print("shape", images.shape, "· grey levels from", images.min(), "to", images.max())
plots.show_images(images[:8], titles=labels[:8].tolist(), alt="The first eight training digits")

# %% [markdown]
# The first digit is smeared: real data are like that. Two stages are easily skipped. *Split*: the model never learns
# from the test part, so a score on it cannot be earned by copying. *Scoring*: a sample is judged as one of a set, and
# the score means something only beside two others, that of real data and that of a model too simple to be any good.
#
# ## How to type an answer
#
# An exercise has a cell with `...` where your answer goes, then a cell that checks it. Run the check first: three dots
# count as "not tried yet", so you get the hint and nothing breaks. Replace the dots, run both cells again.
#
# **First exercise.** One picture is an array of shape (28, 28, 1). How many grey levels is that?

# %% [markdown] tags=["zh"]
# 第一个数字有污迹：真实数据就是这样。有两个阶段容易被跳过。**划分**：模型从不学习测试部分，
# 所以靠抄袭得不到那里的分数。**评分**：评判的是一组样本，而且一个分数只有放在另外两个分数旁边才有意义：
# 真实数据的分数，和一个简单到不可能好的模型的分数。
#
# ## 怎样填写答案
#
# 每个练习先有一个带 `...` 的单元格，答案写在那里；再有一个检查它的单元格。不妨先运行检查：三个点表示“还没做”，
# 你会看到提示，不会出错。然后把三个点换成答案，重新运行这两个单元格。
#
# **第一个练习。** 一张图片是形状为 (28, 28, 1) 的数组。它一共有多少个灰度值？

# %% tags=["exercise"]
grey_levels = ...

# %% tags=["solution"]
grey_levels = 28 * 28 * 1

# %%
check.exercise(
    "grey levels in a picture",
    grey_levels,
    lambda mine: check.close(mine, 784),
    hint="Multiply the three sizes.",
)

# %% [markdown]
# ### When a check fails
#
# A wrong answer raises a `CheckError` that compares yours with the course's. The next cell gives a wrong answer on
# purpose and catches the error, so that you have seen one in peace.

# %% [markdown] tags=["zh"]
# ### 检查不通过时
#
# 答案不对，会抛出 `CheckError`，里面把你的结果和课程的结果放在一起比较。下一个单元格故意给出错误答案，并把异常接住，
# 好让你先从容地见识一次。

# %%
try:
    check.close(27 * 28, 28 * 28, name="grey levels")
except check.CheckError as error:
    print("CheckError:", error)

# %% [markdown]
# Read the last line of an error first: it names the check and both values. Other checks compare what a *run* measured
# with a band that was measured beforehand. If one of those fails and you changed nothing, restart the kernel, run all
# cells from the top, and if it fails again, `python3 course.py doctor` looks for a damaged file.

# %% [markdown] tags=["zh"]
# 看报错先看最后一行：那里写着是哪个检查、两个值各是多少。另一类检查把这次**运行**测得的数与事先测好的范围相比。
# 如果你什么都没改而它没有通过，就重启内核，从头运行所有单元格；若再次不通过，
# 用 `python3 course.py doctor` 查一查有没有损坏的文件。

# %% [markdown]
# ## A metric has its floor
#
# How far is one set of pictures from another? A first attempt: average each set into one picture, then take the root of
# the mean squared difference over the $P$ pixels,
#
# $$d(A, B) = \sqrt{\frac{1}{P} \sum_{p=1}^{P} \left(\bar A_p - \bar B_p\right)^2}.$$
#
# By hand, with two pixels: averages $(0.2, 0.6)$ and $(0.5, 0.2)$ differ by $-0.3$ and $0.4$; squares $0.09$ and
# $0.16$; mean $0.125$; root $0.354$.
#
# **Second exercise.** Write it. Both arguments are arrays [N, 28, 28, 1]; the first axis counts the pictures.

# %% [markdown] tags=["zh"]
# ## 每个指标都有它的底线
#
# 一组图片离另一组有多远？先试一个办法：把每组平均成一张图，再对 $P$ 个像素求差的平方的平均，然后开方：
#
# $$d(A, B) = \sqrt{\frac{1}{P} \sum_{p=1}^{P} \left(\bar A_p - \bar B_p\right)^2}.$$
#
# 用两个像素手算：平均值 $(0.2, 0.6)$ 和 $(0.5, 0.2)$ 相差 $-0.3$ 和 $0.4$；平方是 $0.09$ 和 $0.16$；平均 $0.125$；
# 开方 $0.354$。
#
# **第二个练习。** 把它写出来。两个参数都是 [N, 28, 28, 1] 的数组，第一根轴数的是图片。


# %% tags=["exercise"]
def my_mean_gap(images, reference):
    return ...


# %% tags=["solution"]
def my_mean_gap(images, reference):
    return np.sqrt(np.mean((images.mean(axis=0) - reference.mean(axis=0)) ** 2))


# %%
threes, sevens = (digits.train.images[digits.train.labels == label] for label in (3, 7))
check.exercise(
    "the gap between two average pictures",
    my_mean_gap,
    lambda mine: check.close(mine(threes, sevens), tour.mean_gap(threes, sevens)),
    hint="images.mean(axis=0) is the average picture; then difference, square, np.mean, np.sqrt.",
)

# %% [markdown]
# Now score three sets against test digits: other real digits, one picture repeated (the average of all training
# digits), and pure noise. Which should come out best?

# %% [markdown] tags=["zh"]
# 现在拿三组图片与测试数字比较打分：另一批真实数字、反复出现的同一张图（全部训练数字的平均）、纯噪声。哪一组应该最好？

# %%
reference, sets = tour.tiny_sets(digits, sizes.num_pictures)
plots.show_images(
    np.concatenate([pictures[:8] for pictures in sets.values()]),
    columns=8,
    row_labels=list(sets),
    alt="Three rows of eight: real digits, the mean picture repeated, noise",
)
gaps = {name: tour.mean_gap(images, reference) for name, images in sets.items()}
check.between("start_here/mean_gap_ratio", gaps["the mean picture"] / gaps["other real digits"])
Markdown(tour.score_table({"gap between averages": gaps}))

# %% [markdown]
# The grey smudge beats real digits! Two lessons.
#
# 1. **The score of real data is not 0.** Two sets of real digits differ by chance. That value is the *floor*. A model
#    that scores below it, as the smudge does, has earned a second look and not a prize.
# 2. **A trivial model shows what a score is blind to.** This one looks at averages only. The smudge *is* the average,
#    of 8,000 pictures even, while a set of real digits has the luck of its draw on top.
#
# So a better score must look at variety too. The *Fréchet distance* compares the means $m$ and the covariances $C$ of
# two sets of features, here the mean grey levels of the 49 blocks of 4 × 4 pixels. As in Heusel et al. (2017), $F$ is
# the square of a distance, that between two normal distributions with these means and covariances:
#
# $$F = \lVert m_A - m_B \rVert^2 + \operatorname{tr}\left(C_A + C_B - 2\,(C_A C_B)^{1/2}\right).$$
#
# Zero is reached only if both agree. In one dimension $F$ is $(m_A - m_B)^2 + (s_A - s_B)^2$ with standard deviations
# $s$. By hand: means equal, $s_A = 0$ for a repeated picture, $s_B = 0.3$ for real ones, so $F = 0.09$ although the
# means agree.

# %% [markdown] tags=["zh"]
# 一团灰影竟然胜过了真实数字！这里有两条教训。
#
# 1. **真实数据的分数不是 0。** 两组真实数字之间也有偶然的差别。这个值就是**底线**。像灰影这样得分比它还低的，
#    该引起怀疑，而不是得奖。
# 2. **用一个极简的模型，能看出分数对什么视而不见。** 这个分数只看平均。灰影恰恰**就是**平均，
#    而且是 8,000 张图的平均；一组真实数字却还带着抽样的运气。
#
# 所以更好的分数必须也看多样性。**弗雷歇距离**比较两组特征的均值 $m$ 和协方差 $C$；
# 这里的特征是 49 个 4 × 4 像素小块的平均灰度。与 Heusel 等（2017）一样，这里用的是距离的平方，
# 也就是具有这些均值和协方差的两个正态分布之间距离的平方：
#
# $$F = \lVert m_A - m_B \rVert^2 + \operatorname{tr}\left(C_A + C_B - 2\,(C_A C_B)^{1/2}\right).$$
#
# 只有均值和协方差都相同，它才是零。在一维情形，它就是 $(m_A - m_B)^2 + (s_A - s_B)^2$，$s$ 是标准差。
# 手算一例：均值相等，反复出现的同一张图 $s_A = 0$，真实图片 $s_B = 0.3$，于是 $F = 0.09$，尽管均值一致。

# %%
sets = {"the generator": gan.sample(sizes.num_pictures, seed=1), **sets}
distances = {name: tour.block_distance(images, reference) for name, images in sets.items()}
floor = distances["other real digits"]
check.between("start_here/real_floor", floor)
check.between("start_here/mean_over_floor", distances["the mean picture"] / floor)
check.between("start_here/gan_over_floor", distances["the generator"] / floor)
Markdown(tour.score_table({"Fréchet distance": distances}))

# %%
widgets.explore(
    tour.floor_walk(digits, gan),
    alt="Bars on a logarithmic axis: the Fréchet distance of four sets to test digits",
    num_pictures=widgets.slider(100, 1000, 50, 300, "pictures in a set"),
)

# %% [markdown]
# Now the order is right: real digits, generator, smudge, noise.
#
# **Watch the green bar** as you move the slider. Real digits do not become better, and yet their bar shrinks: with few
# pictures the covariance is estimated badly and the distance comes out too large. So the course compares scores only at
# the same number of pictures, beside their floor. Chapter 03 scores with the features of a trained classifier instead.
#
# ## How to read the course
#
# - **Notebooks** stand on their own and run from top to bottom. Each has a source in `chapters/src`; worked answers lie
#   in `chapters/solutions`.
# - **Sliders** call a plain function of their values. Without a running kernel you see the last picture instead.
# - **Seeds** fix what is random: same seed, machine and backend, same numbers. Another backend draws other numbers,
#   which is why promised results are bands.
# - **Profiles** set the sizes. `class` (the default) trains for up to about four minutes in a chapter; where longer
#   training is needed, shipped weights are used beside it. `quick` is a short check. `full` trains longer, in chapter
#   03 for as many epochs as the shipped weights had; `aigc-course train` makes those. Choose before you start:
#   `AIGC_PROFILE=quick python3 course.py lab` (in PowerShell, `$env:AIGC_PROFILE = "quick"` on a line of its own).
#
# ## Your machine
#
# Two processor cores and no network are enough. The first line of every chapter says what it runs on; in a terminal,
# `python3 course.py doctor` tells more, with checksums of data and weights.
#
# - **GPU:** on Linux or WSL2 with an NVIDIA card, `python3 course.py setup gpu`; the first line then names the card.
# - **Backend:** the code runs on TensorFlow, JAX and PyTorch through Keras 3. For JAX, `python3 course.py setup jax`,
#   then `KERAS_BACKEND=jax python3 course.py lab`; likewise `torch`.

# %% [markdown] tags=["zh"]
# 现在次序对了：真实数字、生成器、灰影、噪声。
#
# 拖动滑块时**注意绿色的条**。真实数字并没有变好，条却缩短了：图片少的时候，协方差估计得差，距离就偏大。
# 所以本课程只在图片数目相同时比较分数，而且总把底线放在旁边。第 03 章改用一个训练好的分类器的特征来评分。
#
# ## 怎样读这门课
#
# - **笔记本**各自独立，从头到尾运行。每一本在 `chapters/src` 里有源文件；参考答案在 `chapters/solutions`。
# - **滑块**调用一个只取决于滑块值的普通函数。没有内核运行时，你看到的是最后一张图。
# - **种子**固定随机的部分：种子、机器、后端相同，数就相同。换一个后端会抽到别的随机数，所以承诺的结果是一个范围。
# - **档位**决定规模。默认的 `class` 每章现场训练最多约四分钟；需要训练更久的地方，同时使用随课程附带的权重。
#   `quick` 是短时间的检查。`full` 训练得更久，在第 03 章里轮数与附带的权重相同；
#   那些权重由 `aigc-course train` 制作。请在启动前选择：
#   `AIGC_PROFILE=quick python3 course.py lab`（在 PowerShell 里先单独运行一行 `$env:AIGC_PROFILE = "quick"`）。
#
# ## 你的机器
#
# 两个处理器核、没有网络，就够用了。每章的第一行写明它运行在什么上面；
# 在终端里输入 `python3 course.py doctor` 可以看到更多，包括数据和权重的校验和。
#
# - **GPU：** 在装有 NVIDIA 显卡的 Linux 或 WSL2 上运行 `python3 course.py setup gpu`；之后第一行写的就是显卡名。
# - **后端：** 代码通过 Keras 3 可在 TensorFlow、JAX 和 PyTorch 上运行。要用 JAX，先 `python3 course.py setup jax`，
#   再 `KERAS_BACKEND=jax python3 course.py lab`；`torch` 同理。

# %%
steps = [{"angle": angle, "seed": 3} for angle in np.linspace(0, 360, sizes.num_steps)]
print(runtime.system())
median = tour.milliseconds(tour.latent_walk(gan), steps)
print(f"one step of the first slider: {median:.0f} ms (median of {len(steps)})")

# %% [markdown]
# A slider feels immediate below about 100 ms (Nielsen, 1993). If yours is far above, something else is busy on the
# machine.
#
# ## The map of the course
#
# The table looks into the course's folder when it is drawn; chapters that are there are links.

# %% [markdown] tags=["zh"]
# 低于约 100 毫秒，滑块就感觉不到延迟（Nielsen，1993）。如果你的数远高于此，多半是机器上还有别的程序在忙。
#
# ## 课程地图
#
# 下表在显示时会查看课程的文件夹；已有的章节带链接。

# %%
Markdown(tour.course_map())

# %% [markdown]
# ## What the documents got wrong
#
# The course grew out of five documents about AIGC, A to E, whose code does not run and whose claims are partly wrong.
# Every fault is an entry of a ledger, with the right form, a source and a test. Two entries take one family, the GAN,
# for the whole field; below them stand all entries of this chapter. Papers were cited that could not be found: here
# every reference was looked up, or says that it was not re-read. A news writer that fills templates was said to be a
# GAN.

# %% [markdown] tags=["zh"]
# ## 原始文档错在哪里
#
# 这门课源于五篇介绍 AIGC 的文档（A 到 E）。它们的代码跑不起来，说法也有一部分不对。每个错误都记在一本勘误账里，
# 写明正确的形式、出处和一个测试。头两条把 GAN 这一个家族当成了整个领域；其后是本章的全部条目。有些论文查无此文：
# 这里每条文献都核对过，没有重读的会注明。还有一个靠填模板写新闻的系统被说成用了 GAN。

# %%
corrections.show("E1", "B11")

# %%
corrections.table("00")

# %% [markdown]
# ## Exercises
#
# **1. The straight line.** With independent $u$, $v$ of variance 1, let $z(t) = (1 - t)\,u + t\,v$ for $t$ from 0 to 1.
# What is the standard deviation of each number of $z(t)$? Where is it smallest?

# %% [markdown] tags=["zh"]
# ## 练习
#
# **1. 直线。** 设 $u$、$v$ 相互独立，方差为 1，$z(t) = (1 - t)\,u + t\,v$，$t$ 从 0 到 1。
# $z(t)$ 中每个数的标准差是多少？在哪里最小？


# %% tags=["exercise"]
def line_deviation(t):
    return ...


# %% tags=["solution"]
def line_deviation(t):
    return np.sqrt((1 - t) ** 2 + t**2)  # smallest half-way: 0.707, a code unlike those of training


# %%
check.exercise(
    "the straight line",
    line_deviation,
    lambda mine: check.close([mine(0.0), mine(0.25), mine(0.5)], [1.0, 0.790569, 0.707107]),
    hint="Variances of independent numbers add up, each multiplied by the square of its factor.",
)

# %% [markdown]
# **2. Generation or not?** Answer True where a *learned* model makes *new content*, False otherwise.

# %% [markdown] tags=["zh"]
# **2. 是不是生成？** 由**学习得到**的模型产生**新内容**的，答 True；否则答 False。五个系统依次是：语言模型续写句子；
# 商店按你的口味给电影排序；网络判断肺部图片里有没有结节；程序把比赛结果填进固定的句子；扩散模型根据说明画一只猫。

# %% tags=["exercise"]
generates = {
    "a language model continues a sentence": ...,
    "a shop orders its films by your taste": ...,
    "a network says whether a lung picture shows a nodule": ...,
    "a program puts match results into fixed sentences": ...,
    "a diffusion model paints a cat from a caption": ...,
}

# %% tags=["solution"]
generates = {
    "a language model continues a sentence": True,
    "a shop orders its films by your taste": False,  # ranks
    "a network says whether a lung picture shows a nodule": False,  # classifies
    "a program puts match results into fixed sentences": False,  # nothing was learned
    "a diffusion model paints a cat from a caption": True,
}

# %%
check.exercise(
    "generation or not",
    generates,
    lambda mine: list(mine.values()) == [True, False, False, False, True],
    hint="Two of the five generate. The others rank, classify, or fill in a template.",
)

# %% [markdown]
# **3. Your own score (open).** Write a score that puts real digits before the mean picture and before noise, without
# the Fréchet distance. Lower is better. The check draws three new samples; there are many right answers.

# %% [markdown] tags=["zh"]
# **3. 你自己的评分（开放题）。** 不用弗雷歇距离，写一个评分，让真实数字排在平均图和噪声之前。越低越好。
# 检查会重新抽三次样；正确答案有很多。


# %% tags=["exercise"]
def my_score(images, reference):
    return ...


# %% tags=["solution"]
def my_score(images, reference):
    """Compare the spread of every pixel as well as its mean: the repeated picture has no spread."""
    return tour.mean_gap(images, reference) + np.abs(images.std(axis=0) - reference.std(axis=0)).mean()


# %%
check.exercise(
    "your own score",
    my_score,
    lambda mine: tour.real_wins(mine, digits),
    hint="The repeated picture has no variety. Which number of a set of pictures shows that, pixel by pixel?",
)

# %% [markdown]
# ## Summary
#
# - AIGC is AI-generated content: a model learns a distribution from examples, a sampler draws from it.
# - Families and uses are two axes. The GAN is one family among several; text today comes mostly from autoregressive
#   Transformers, pictures mostly from diffusion.
# - The families differ in what they offer: an exact probability, a quick sample, a code, a calm training.
# - A score is read beside its floor (real data) and a trivial model, on held-out data, at a fixed number of pictures.
#
# ## Sources
#
# First what the text rests on, then the other works on the map and the time line.

# %% [markdown] tags=["zh"]
# ## 小结
#
# - AIGC 是人工智能生成的内容：模型从样例中学到一个分布，采样器从中抽样。
# - 家族和用途是两根轴。GAN 只是若干家族之一；今天的文字大多来自自回归 Transformer，图片大多来自扩散模型。
# - 各家族给出的东西不同：精确的概率、快速的采样、可用的编码、平稳的训练。
# - 读一个分数，要把底线（真实数据）和极简模型的分数放在旁边，用留出的数据，并固定图片数目。
#
# ## 参考文献
#
# 先是正文依据的文献，再是家族图和时间线上的其他工作。

# %%
cited = "bengio2003 bowman2016 deeplearningai2017 goodfellow2014 goodfellow2016 heusel2017 ho2020 keras3 kingma2014 "
cited += "nielsen1993 radford2016 radford2019 roberts2018 vandenoord2016 vaswani2017 vondrick2016 zhang2017"
corrections.references(cited.split())

# %%
Markdown(tour.map_sources())

# %% [markdown]
# ## Where to go next
#
# [Chapter 02](02_gan_mathematics.ipynb) asks why a game of two networks learns a distribution at all; [chapter
# 03](03_gan_images.ipynb) builds the generator that you moved. New to neural networks? Wait for chapter 01, or read
# Goodfellow, Bengio and Courville, *Deep Learning* (MIT Press, 2016), chapter 6, or take the *Deep Learning
# Specialization* of DeepLearning.AI on Coursera.

# %% [markdown] tags=["zh"]
# ## 接下来
#
# [第 02 章](02_gan_mathematics.ipynb)讨论两个网络的博弈为什么竟能学到一个分布；
# [第 03 章](03_gan_images.ipynb)亲手搭建你刚才拖动的生成器。没接触过神经网络？可以等第 01 章，或先读 Goodfellow、
# Bengio 和 Courville 的 *Deep Learning*（MIT Press，2016）第 6 章，
# 或学习 Coursera 上 DeepLearning.AI 的 *Deep Learning Specialization*。
