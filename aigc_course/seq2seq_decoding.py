"""Writing a text step by step with a ``Translator``: the most probable token, a drawn one, or a beam search.

Every function is one compiled loop over target steps for a whole batch, which ends when every row has ended.

Shapes: B batch, S source steps, T target steps, H width, V target vocabulary, K beam.   Taught in chapters/06_seq2seq.
"""

import numpy as np
from keras import ops

from aigc_course.attention import NEVER
from aigc_course.compiled import compiled
from aigc_course.sampling import draw, greedy, scale_temperature
from aigc_course.vocabulary import END, PAD, START


class DecodingFunctions:
    """The compiled functions of one model; made when first needed."""

    def __init__(self, model):
        self.model, self.made = model, {}

    def _get(self, name, make):
        if name not in self.made:
            self.made[name] = compiled(make, self.model)
        return self.made[name]

    def greedy(self, source_ids):
        return self._get("greedy", lambda ids: _write(self.model, ids, lambda logits, at: greedy(logits)))(source_ids)

    def sampled(self, source_ids, chance, temperature):
        def make(ids, chance, temperature):
            return _write(self.model, ids, lambda logits, at: draw(scale_temperature(logits, temperature), chance[at]))

        return self._get("sampled", make)(source_ids, chance, temperature)

    def beam(self, source_ids, beam_width, length_penalty):
        size = 1 << (beam_width - 1).bit_length()
        wanted = np.where(np.arange(size) < beam_width, 0.0, NEVER).astype("float32")
        make = lambda ids, wanted, penalty: _search(self.model, ids, wanted, penalty)  # noqa: E731
        return self._get(("beam", size), make)(source_ids, wanted, np.float32(length_penalty))

    def forced(self, source_ids, decoder_ids):
        def make(source_ids, decoder_ids):
            logits, weights = self.model.logits_and_weights(source_ids, decoder_ids)
            scores = ops.log_softmax(logits, axis=-1)
            return scores if weights is None else (scores, weights)

        found = self._get("forced", make)(source_ids, decoder_ids)
        return found if self.model.attention else (found, None)


def _write(model, source_ids, choose):  # [B, S] -> [B, T]
    """Step by step: read the token written last, choose the next, until every row has its END."""
    memory, states = model.encode(source_ids)
    mask = model.padding_mask(source_ids)
    length, rows = model.max_target_length + 1, ops.shape(source_ids)[0]
    written = ops.full((length, rows), PAD, "int32")
    last = ops.full((rows,), START, "int32")

    def unfinished(at, last, written, *states):
        return ops.logical_and(at < length, ops.any(ops.logical_and(last != END, last != PAD)))

    def body(at, last, written, *states):
        logits, states = model.step(last, list(states), memory, mask)
        ended = ops.logical_or(last == END, last == PAD)
        token = ops.where(ended, PAD, choose(logits, at))
        return (at + 1, token, ops.slice_update(written, (at, 0), token[None]), *states)

    start = (ops.convert_to_tensor(0, "int32"), last, written, *states)
    return ops.transpose(ops.while_loop(unfinished, body, start)[2])


def _search(model, source_ids, wanted, penalty):  # [B, S], [K], [] -> [B, T]
    """Beam search: the K best beginnings of every row; ``wanted`` is 0 for those to keep and NEVER for the others."""
    wanted = ops.convert_to_tensor(wanted)
    width, size = wanted.shape[0], len(model.target_vocabulary)
    length, rows = model.max_target_length + 1, ops.shape(source_ids)[0]
    memory, states = model.encode(source_ids)
    repeat = lambda values: ops.repeat(values, width, axis=0)  # noqa: E731
    memory, mask, states = repeat(memory), repeat(model.padding_mask(source_ids)), [repeat(s) for s in states]
    rest = ops.where(ops.arange(size) == PAD, 0.0, NEVER)  # what has ended goes on with padding, at no cost

    def unfinished(at, last, scores, written, *states):
        open_beams = ops.logical_and(last != END, last != PAD)
        return ops.logical_and(at < length, ops.any(ops.logical_and(open_beams, scores > NEVER / 2)))

    def body(at, last, scores, written, *states):
        logits, states = model.step(ops.reshape(last, (-1,)), list(states), memory, mask)
        added = ops.reshape(ops.log_softmax(logits, axis=-1), (-1, width, size))
        ended = ops.expand_dims(ops.logical_or(last == END, last == PAD), -1)
        totals = ops.expand_dims(scores, -1) + ops.where(ended, rest, added)
        scores, best = ops.top_k(ops.reshape(totals, (-1, width * size)), width)
        best = ops.cast(best, "int32")
        parent, last = best // size, best % size
        rows_of = ops.reshape(parent + ops.expand_dims(ops.arange(rows, dtype="int32") * width, -1), (-1,))
        states = [ops.take(state, rows_of, axis=0) for state in states]
        written = ops.take_along_axis(written, ops.expand_dims(parent, 0), axis=2)
        written = ops.slice_update(written, (at, 0, 0), last[None])
        return (at + 1, last, scores + wanted, written, *states)

    first = ops.where(ops.arange(width) == 0, 0.0, NEVER)
    start = (
        ops.convert_to_tensor(0, "int32"),
        ops.full((rows, width), START, "int32"),
        ops.broadcast_to(first, (rows, width)),
        ops.full((length, rows, width), PAD, "int32"),
        *states,
    )
    _, _, scores, written, *_ = ops.while_loop(unfinished, body, start)
    lengths = ops.cast(ops.sum(ops.cast(written != PAD, "int32"), axis=0), "float32")
    best = ops.argmax(scores / ((5.0 + lengths) / 6.0) ** penalty, axis=-1)
    chosen = ops.take_along_axis(written, ops.cast(best, "int32")[None, :, None], axis=2)
    return ops.transpose(chosen[..., 0])
