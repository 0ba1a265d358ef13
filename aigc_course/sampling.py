"""Choosing the next token: the most probable one, or one drawn from a distribution that was reshaped first.

Each strategy is a function of logits and gives logits, so that they can be put in a row; a token that is ruled out gets
the logit ``NEVER``. Nothing here knows what made the logits.

Shapes: B rows, V vocabulary.   Taught in chapters/10_gpt2 (first met in 06).   Corrects C30, C36.
"""

from dataclasses import dataclass

import keras
import numpy as np
from keras import ops

from aigc_course.attention import NEVER

COLDEST, HOTTEST = 1e-30, 1e6  # temperatures at which float32 still holds a logit, and NEVER is still never
WEAKEST, STRONGEST = 1e-6, 1e6  # penalties that leave numbers
LARGEST = np.int32(2**31 - 1)  # all bits but the sign


def greedy(logits):  # [B, V] -> [B]
    """The most probable token; of equal ones the first."""
    return ops.cast(ops.argmax(logits, axis=-1), "int32")


def scale_temperature(logits, temperature):  # [B, V] -> [B, V]
    """``logits / temperature``, less the largest: below 1 the distribution is sharper, above 1 flatter, near 0 greedy.

    What is subtracted changes no probability, and keeps the best token at 0 however small the temperature, which has to
    be ``usable``: not 0.
    """
    return (logits - ops.max(logits, axis=-1, keepdims=True)) / temperature


def usable(temperature):
    """``temperature`` within what float32 can divide by."""
    return np.float32(np.clip(temperature, COLDEST, HOTTEST))


def keep_top_k(logits, k):  # [B, V] -> [B, V]
    """Rule out all but the ``k`` most probable tokens (Fan et al., 2018), and those as probable as the k-th."""
    return _from(logits, _lowest(logits, ops.ones_like(logits), k))


def keep_top_p(logits, p):  # [B, V] -> [B, V]
    """Rule out all but the nucleus: the fewest tokens whose probabilities sum to ``p`` or more (Holtzman et al., 2020),
    and those as probable as its last one."""
    return _from(logits, _lowest(logits, ops.softmax(logits, axis=-1), p))


def penalise_repetition(logits, seen, penalty):  # [B, V], [B, V] of 0 and 1 -> [B, V]
    """Make tokens that were ``seen`` less probable: positive logits are divided by ``penalty`` (Keskar et al., 2019,
    section 4.1, who divide all and name 1.2), others multiplied, as libraries do. What is ruled out stays so."""
    lowered = ops.where(logits > 0, logits / penalty, logits * penalty)
    return ops.where(ops.logical_and(seen > 0, logits > NEVER / 2), lowered, logits)


def draw(logits, chance):  # [B, V], [B] in [0, 1) -> [B]
    """The token in whose piece of the cumulated probabilities the random number ``chance`` falls.

    Where sums are made in parallel, rounding can leave a piece to a token of probability 0; it is passed over.
    """
    probabilities = ops.softmax(logits, axis=-1)
    cumulated = ops.where(probabilities > 0, ops.cumsum(probabilities, axis=-1), 0.0)
    beyond = cumulated > ops.expand_dims(chance, -1) * ops.max(cumulated, axis=-1, keepdims=True)
    return ops.cast(ops.argmax(ops.cast(beyond, "int32"), axis=-1), "int32")


def chances(seed, rows, columns):  # -> [B, N] in [0, 1)
    """The random numbers of a text: row b has those of ``seed``, a whole number or several, and b."""
    found = [np.random.default_rng([*np.ravel(seed), row]).random(columns) for row in range(rows)]
    return np.minimum(np.array(found, "float32").reshape(rows, columns), np.float32(1 - 2**-24))


def _from(logits, lowest):  # [B, V], [B, 1] -> [B, V]
    return ops.where(logits >= lowest, logits, NEVER)


def _lowest(logits, weights, enough):  # [B, V] x 2, [] -> [B, 1]
    """The largest logit from which on the ``weights`` sum to ``enough``; the smallest one if they never do.

    Found by halving, on the numbers that float32 can hold in their order: 32 sums take a quarter of the time of a sort
    where XLA compiles them, or less, and are as exact.
    """
    keys, enough = _ordered(ops.cast(logits, "float32")), ops.convert_to_tensor(enough, "float32")

    def halve(_, ends):
        low, high = ends
        middle = ops.bitwise_or(low, high) - ops.right_shift(ops.bitwise_xor(low, high), 1)  # rounded up
        reached = ops.sum(ops.where(keys >= middle, weights, 0.0), axis=-1, keepdims=True) >= enough
        return ops.where(reached, middle, low), ops.where(reached, high, middle - 1)

    ends = ops.min(keys, axis=-1, keepdims=True), ops.max(keys, axis=-1, keepdims=True)
    found = ops.fori_loop(0, 32, halve, ends)[0]
    return ops.view(ops.where(found < 0, ops.bitwise_xor(found, LARGEST), found), "float32")


def _ordered(values):  # float32 -> int32
    """Whole numbers in the order of the values: the bits, all but the sign turned round where it is negative."""
    bits = ops.view(values, "int32")
    return ops.where(bits < 0, ops.bitwise_xor(bits, LARGEST), bits)


@dataclass(frozen=True)
class Sampler:
    """How the next token is chosen: repetition penalty, temperature, top-k and top-p, in this order, then a draw.

    Args:
        temperature: 0 takes the most probable token.
        top_k: None for all.
        top_p: None for all, else above 0 and at most 1.
        repetition_penalty: 1 for none.

    Raises:
        ValueError: a number out of range.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    repetition_penalty: float = 1.0

    def __post_init__(self):
        if not 0 <= self.temperature < np.inf:
            raise ValueError(f"temperature is 0 or a positive number, not {self.temperature}.")
        if self.top_k is not None and (not 1 <= self.top_k < np.inf or self.top_k != int(self.top_k)):
            raise ValueError(f"top_k is a whole number from 1 on, or None, not {self.top_k}.")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ValueError(f"top_p lies above 0 and is at most 1, or is None; it is {self.top_p}.")
        if not 0 < self.repetition_penalty < np.inf:
            raise ValueError(f"repetition_penalty is a positive number, not {self.repetition_penalty}.")

    @property
    def kind(self):
        """Which parts act: what a function compiled for one kind leaves open are the ``numbers``."""
        drawn = self.temperature > 0
        return (
            drawn,
            drawn and self.top_k is not None,
            drawn and self.top_p is not None and self.top_p < 1,
            self.repetition_penalty != 1,
        )

    @property
    def numbers(self):
        """Temperature, k, p and penalty as float32 [4]."""
        penalty = np.clip(self.repetition_penalty, WEAKEST, STRONGEST)
        largest = 2**31  # of k: more tokens than any vocabulary has
        return np.array([usable(self.temperature), min(self.top_k or 1, largest), self.top_p or 1, penalty], "float32")

    def logits(self, logits, seen=None):  # [B, V], [B, V] -> [B, V]
        """The reshaped logits, those of tokens ruled out at ``NEVER``; at temperature 0 only the penalty acts."""
        return reshaped(logits, self.kind, self.numbers, seen)

    def probabilities(self, logits, seen=None):  # [B, V], [B, V] -> [B, V]
        """What is drawn from, as a NumPy array; at temperature 0 all is on one token."""
        found = self.logits(ops.convert_to_tensor(logits, "float32"), seen)
        if not self.kind[0]:
            return ops.convert_to_numpy(ops.one_hot(greedy(found), found.shape[-1]))
        return ops.convert_to_numpy(ops.softmax(found, axis=-1))


GREEDY = Sampler(temperature=0.0)


def reshaped(logits, kind, numbers, seen=None):  # [B, V], four booleans, [4], [B, V] -> [B, V]
    """What a ``Sampler`` of that kind and numbers makes of ``logits``; ``numbers`` may be a tensor."""
    drawn, by_rank, by_mass, penalised = kind
    if penalised and seen is not None:
        logits = penalise_repetition(logits, seen, numbers[3])
    if drawn:
        logits = scale_temperature(logits, numbers[0])
    if by_rank:
        logits = keep_top_k(logits, numbers[1])
    if by_mass:
        logits = keep_top_p(logits, numbers[2])
    return logits


def choose(logits, chance, kind, numbers, seen=None):  # [B, V], [B] -> [B]
    """The next token of every row, greedily or drawn with ``chance``."""
    logits = reshaped(ops.cast(logits, "float32"), kind, numbers, seen)
    return draw(logits, chance) if kind[0] else greedy(logits)


def sample(logits, temperature=1.0, top_k=None, top_p=None, seed=0):  # [B, V] -> [B]
    """Draw one token of each row.

    Args:
        logits: [B, V], or [V] for one row.
        temperature, top_k, top_p: see ``Sampler``.
        seed: the same seed draws the same tokens.

    Returns:
        int32 NumPy array [B], or one number for one row.

    Raises:
        ValueError: a number out of range, logits of another shape, NaN or infinite, or a row of -inf only.
    """
    logits = np.asarray(keras.ops.convert_to_numpy(logits), "float32")
    if logits.ndim not in (1, 2) or not logits.shape[-1]:
        raise ValueError(f"The logits must have shape [B, V] or [V], not {list(logits.shape)}.")
    if not np.isfinite(logits.max(axis=-1)).all():
        raise ValueError("There are NaN or inf among the logits; -inf is fine, but not for all tokens of a row.")
    rows, sampler = np.atleast_2d(logits), Sampler(temperature, top_k, top_p)
    if not len(rows):
        return np.zeros(0, "int32")
    chance = np.random.default_rng(seed).random(len(rows), "float32")
    ids = ops.convert_to_numpy(choose(ops.convert_to_tensor(rows), chance, sampler.kind, sampler.numbers))
    return ids if logits.ndim == 2 else int(ids[0])
