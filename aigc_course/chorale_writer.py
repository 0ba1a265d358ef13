"""Chorales from a ``WaveNet`` that has learned to write them: under a given melody, or from a plan alone.

A plan is a chorale of which only what surrounds the notes is read: key, bars, ends of lines, length.
Shapes: N chorales, S sixteenths, T = 4 S tokens, F condition features.   Taught in chapters/07_wavenet.
"""

import numpy as np

from aigc_course.datasets import chorales as data
from aigc_course.datasets.chorale_windows import scored_targets
from aigc_course.runtime import CourseError
from aigc_course.sampling import Sampler
from aigc_course.wavenet import WaveNet, doubling
from aigc_course.wavenet_writing import OPEN

CALM = Sampler(temperature=0.7)
DILATIONS = (4, *doubling(8), 4, *doubling(3))  # 4 first: what sounds now meets what the voice sang a sixteenth ago


def build_chorale_wavenet(dilations=DILATIONS, residual_dim=96, skip_dim=160, dropout=0.15, seed=0):
    """An untrained ``WaveNet`` for chorales; unless told, its field is 271 tokens, four bars of four quarters."""
    return WaveNet(
        data.NUM_TOKENS,
        dilations,
        residual_dim,
        skip_dim,
        condition_dim=data.CONDITION_DIM,
        dropout=dropout,
        padding_id=data.PADDING,
        start_id=data.REST,
        seed=seed,
    )


class ChoraleWriter:
    """A ``WaveNet`` together with what it needs to know of a chorale.

    Args:
        model: as ``build_chorale_wavenet`` makes, trained on ``ChoraleWindows``;
            ``checkpoints.load("wavenet-chorales")``.

    Raises:
        ValueError: a model of other tokens or conditions.
    """

    def __init__(self, model):
        if (model.num_classes, model.condition_dim) != (data.NUM_TOKENS, data.CONDITION_DIM):
            raise ValueError(
                f"The model has {model.num_classes} classes and {model.condition_dim} condition features; chorales "
                f"have {data.NUM_TOKENS} and {data.CONDITION_DIM}."
            )
        self.model = model

    def write(self, plans, sampler=CALM, seed=0, keep_soprano=True, cached=True):
        """New music for every plan.

        Args:
            plans: one chorale, or several.
            sampler: how notes are chosen.
            seed: of the draws.
            keep_soprano: keep the plan's melody, which the model then knows two beats ahead, and write the other
                three voices; otherwise write all four.
            cached: see ``WaveNet.generate``.

        Returns:
            A chorale, or a list of as many as there are plans.

        Raises:
            CourseError: no plan, or an empty one.
        """
        several = not isinstance(plans, data.Chorale)
        plans = _listed(plans)
        token_ids, known = _columns(plans, keep_soprano)
        told = keep_soprano & (np.arange(token_ids.shape[1]) % len(data.VOICES) == 0) & (token_ids != data.PADDING)
        given = np.where(told, token_ids, OPEN)
        empty = [np.zeros(0, "int32")] * len(plans)
        rows = self.model.generate(
            empty, token_ids.shape[1], sampler=sampler, cached=cached, seed=seed, conditions=known, given=given
        )
        written = [
            _with_tokens(plan, row[: len(data.VOICES) * len(plan)]) for plan, row in zip(plans, rows, strict=True)
        ]
        return written if several else written[0]

    def nats(self, chorales, melody=True):
        """Mean nats of a token; with ``melody`` of the lower three voices, given the soprano two beats ahead.

        Raises:
            CourseError: no chorale, or an empty one.
        """
        found, counts = self.scored(chorales, melody)
        return float(-found[counts].mean(dtype="float64"))

    def scored(self, chorales, melody=True):  # -> [N, T], [N, T]
        """``log p`` of every token in nats, and which of them count: not padding, nor a melody that was told.

        Args:
            chorales: one, or several.

        Raises:
            CourseError: no chorale, or an empty one.
        """
        chorales = _listed(chorales)
        token_ids, known = _columns(chorales, melody)
        counts = scored_targets(token_ids, known) != data.PADDING
        return self.model.log_probabilities(token_ids, known), counts


def _listed(chorales):
    """A list of one chorale or several; CourseError where there is none, or an empty one."""
    chorales = [chorales] if isinstance(chorales, data.Chorale) else list(chorales)
    if not chorales or not all(map(len, chorales)):
        raise CourseError("There is no music here: give a chorale with a sixteenth at least.")
    return chorales


def _columns(chorales, melody):
    """Tokens [N, T], PADDING behind the shorter ones, and their conditions [N, T, F]."""
    longest = max(map(len, chorales)) * len(data.VOICES)
    token_ids = np.full((len(chorales), longest), data.PADDING, "int32")
    known = np.zeros((len(chorales), longest, data.CONDITION_DIM), "float32")
    for number, chorale in enumerate(chorales):
        row = data.tokens(chorale)
        token_ids[number, : len(row)] = row
        known[number, : len(row)] = data.conditions(chorale, melody)
    return token_ids, known


def _with_tokens(plan, token_ids):
    """The plan with new notes; where the model asked for padding inside the music, the voice rests."""
    return data.with_tokens(plan, np.where(token_ids == data.PADDING, data.REST, token_ids))
