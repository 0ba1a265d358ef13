"""WaveNet (van den Oord et al., 2016): dilated causal convolutions that predict the next token of a sequence.

Shapes: B batch, N rows, T steps, V classes, R residual width, K skip width, L layers, F features of a condition,
k kernel width, d dilation, S = (k - 1) d + 1 slots of a queue.   Taught in chapters/07_wavenet.
Corrects A14, A15, A16, A17, A18, A21.

``log p(x_1 ... x_T | c) = sum over t of log p(x_t | x_1 ... x_(t-1), c_1 ... c_t)`` (eq. 1 and section 2.5), in nats.
A row reaches back over the last ``1 + (k - 1) (d_1 + ... + d_L)`` tokens, the receptive field.
"""

from collections import deque

import keras
import numpy as np
from keras import ops

from aigc_course.compiled import compiled, get_row, input_gradient, put_row
from aigc_course.runtime import is_whole
from aigc_course.sampling import Sampler
from aigc_course.token_losses import hits, masked_mean, token_cross_entropy
from aigc_course.wavenet_writing import Writing

STEPS = 2**15  # that are scored at once: rows times steps
AS_DRAWN = Sampler()  # from the model's own distribution


def receptive_field(kernel_size, dilations):
    """Steps that stacked causal convolutions reach back over, the last row's own included: ``1 + (k - 1) sum(d)``.

    They see all of these unless the dilations leave holes, as (4, 8) alone would.
    """
    return 1 + (kernel_size - 1) * sum(dilations)


def doubling(num_layers, cycles=1):
    """Dilations 1, 2, 4, ... of ``num_layers`` layers, ``cycles`` times; with k = 2 one cycle of L sees 2^L steps."""
    return tuple(2**layer for layer in range(num_layers)) * cycles


def gated(x):  # [..., 2 R] -> [..., R]
    """``tanh(filter) * sigmoid(gate)``, filter and gate being the two halves of ``x`` (eq. 2)."""
    width = x.shape[-1] // 2
    return ops.tanh(x[..., :width]) * ops.sigmoid(x[..., width:])


@keras.saving.register_keras_serializable("aigc_course")
class CausalConv1D(keras.layers.Layer):
    """``y_t = b + sum over j < k of x_(t - (k - 1 - j) d) W_j``; what lies before the first step is zero (section 2.1).

    The same numbers as ``keras.layers.Conv1D(padding="causal")`` with the same weights. (Written as k matrix products
    of shifted inputs it was slower, forward and back, on JAX and, where inputs are long, on TensorFlow.)

    Args:
        filters: width of the output.
        kernel_size: k.
        dilation: d, steps between the inputs that meet in one output.
    """

    def __init__(self, filters, kernel_size=2, dilation=1, **options):
        super().__init__(**options)
        self.filters, self.kernel_size, self.dilation = filters, kernel_size, dilation

    @property
    def reach(self):
        """Steps back to the oldest input of an output: (k - 1) d."""
        return (self.kernel_size - 1) * self.dilation

    def build(self, input_shape):
        """Kernel [k, input width, filters] and bias [filters]."""
        self.kernel = self.add_weight(shape=(self.kernel_size, input_shape[-1], self.filters), name="kernel")
        self.bias = self.add_weight(shape=(self.filters,), initializer="zeros", name="bias")

    def call(self, x):  # [B, T, D] -> [B, T, filters]
        """All steps at once."""
        padded = ops.pad(x, ((0, 0), (self.reach, 0), (0, 0)))
        found = ops.conv(padded, self.kernel, dilation_rate=self.dilation, data_format="channels_last")
        return found + self.bias

    def step(self, x, queue, at):  # [B, D], [S, B, D], [] -> [B, filters], [S, B, D]
        """Step ``at`` alone: step s waits in slot s modulo S of the queue (Le Paine et al., 2016).

        ``x`` is written first and all inputs are read behind it, so that a compiler can keep the queue in its place.
        """
        slots = self.reach + 1
        queue = put_row(queue, at % slots, x)
        back = [(self.kernel_size - 1 - j) * self.dilation for j in range(self.kernel_size - 1)]
        taps = [get_row(queue, (at + slots - steps) % slots) for steps in back]
        kernel = ops.reshape(self.kernel, (-1, self.filters))
        return ops.matmul(ops.concatenate([*taps, x], axis=-1), kernel) + self.bias, queue

    def get_config(self):
        """What the constructor takes."""
        sizes = {"filters": self.filters, "kernel_size": self.kernel_size, "dilation": self.dilation}
        return {**super().get_config(), **sizes}


@keras.saving.register_keras_serializable("aigc_course")
class GatedBlock(keras.layers.Layer):
    """Causal convolution, gate, and two 1x1 convolutions: one adds to the stream, one to the output (section 2.4).

    Args:
        residual_dim: R, width of the stream.
        skip_dim: K, width of what goes to the output.
        kernel_size, dilation: of the convolution.
        conditioned: whether a condition enters filter and gate through a 1x1 convolution of its own (section 2.5).
        dropout: in training, of what left the gate.
        last: no stream goes on behind it.
        seed: of the dropout.
    """

    def __init__(
        self,
        residual_dim,
        skip_dim,
        kernel_size,
        dilation,
        conditioned=False,
        dropout=0.0,
        last=False,
        seed=0,
        **options,
    ):
        super().__init__(**options)
        self.convolution = CausalConv1D(2 * residual_dim, kernel_size, dilation, name="convolution")
        self.condition = keras.layers.Dense(2 * residual_dim, use_bias=False, name="condition") if conditioned else None
        self.dropout = keras.layers.Dropout(dropout, seed=seed)
        self.residual = None if last else keras.layers.Dense(residual_dim, name="residual")
        self.skip = keras.layers.Dense(skip_dim, name="skip")

    def call(self, x, conditions=None, training=False):  # [B, T, R], [B, T, F] -> [B, T, R], [B, T, K]
        """The stream behind the block, and what the block says to the output."""
        return self._outputs(x, self.convolution(x), conditions, training)

    def step(self, x, conditions, queue, at):  # [B, R], [B, F], [S, B, R], [] -> [B, R], [B, K], [S, B, R]
        """One step, and the queue behind it."""
        filters, queue = self.convolution.step(x, queue, at)
        return *self._outputs(x, filters, conditions), queue

    def _outputs(self, x, filters, conditions, training=False):
        if self.condition is not None:
            filters = filters + self.condition(conditions)
        z = self.dropout(gated(filters), training=training)
        return (x if self.residual is None else x + self.residual(z)), self.skip(z)


@keras.saving.register_keras_serializable("aigc_course")
class WaveNet(keras.Model):
    """Token embedding, gated blocks whose skip outputs are summed, and ReLU, 1x1, ReLU, 1x1 (section 2.4).

    Called with ``token_ids`` [B, T], and ``conditions`` [B, T, F] where ``condition_dim`` is F, it gives logits
    [B, T, V]: row t scores token t + 1, and ``conditions[:, t]`` are those of the token that row t scores. ``shifted``
    brings both into this order: ``fit(*shifted(token_ids, conditions, model.start_id))``. All other methods take the
    conditions as the data have them: ``conditions[:, t]`` belong to the token in column t.

    Args:
        num_classes: V.
        dilations: d of every layer.
        residual_dim, skip_dim: R and K.
        kernel_size: k.
        condition_dim: F, 0 for none.
        dropout: in training, in every block.
        padding_id: targets of this id do not count in loss, accuracy and scores; it may be one of the V classes, or -1,
            which is then read as token 0. None where every target counts.
        start_id: the token ("silence") that stands before column 0 whenever the model scores or writes: then column 0
            is predicted as well, and a prompt may be empty. None: a prompt has one token at least.
        seed: of the dropout.

    Raises:
        ValueError: a number out of range.
    """

    def __init__(
        self,
        num_classes,
        dilations=(1, 2, 4, 8, 16, 32, 64, 128),
        residual_dim=64,
        skip_dim=128,
        kernel_size=2,
        condition_dim=0,
        dropout=0.0,
        padding_id=None,
        start_id=None,
        seed=0,
        **options,
    ):
        super().__init__(**options)
        self.num_classes, self.residual_dim, self.skip_dim = num_classes, residual_dim, skip_dim
        self.kernel_size, self.condition_dim, self.dropout_rate = kernel_size, condition_dim, dropout
        self.padding_id, self.start_id, self.seed = padding_id, start_id, seed
        self.dilations = tuple(dilations)
        self._demand_sizes()
        self.embedding = keras.layers.Embedding(num_classes, residual_dim, name="embedding")
        last = len(self.dilations) - 1
        self.blocks = [
            GatedBlock(
                residual_dim, skip_dim, kernel_size, dilation, condition_dim > 0, dropout, number == last,
                seed=seed + number, name=f"block_{number}",
            )
            for number, dilation in enumerate(self.dilations)
        ]  # fmt: skip
        self.hidden_layer = keras.layers.Dense(skip_dim, activation="relu", name="hidden_layer")
        self.output_layer = keras.layers.Dense(num_classes, name="output_layer")
        self.accuracy = keras.metrics.Mean(name="accuracy")
        self._writing, self._scores = Writing(self), None
        self(np.zeros((1, 2), "int32"), np.zeros((1, 2, condition_dim), "float32") if condition_dim else None)

    def _demand_sizes(self):
        for name in ("num_classes", "residual_dim", "skip_dim", "kernel_size", "condition_dim"):
            value, least = getattr(self, name), 0 if name == "condition_dim" else 1
            if not is_whole(value) or value < least:
                raise ValueError(f"{name} is a whole number from {least} on, not {value!r}.")
        if not self.dilations or not all(is_whole(dilation) and dilation > 0 for dilation in self.dilations):
            raise ValueError(f"dilations are whole numbers from 1 on, one for each layer, not {self.dilations!r}.")
        if not 0 <= self.dropout_rate < 1:
            raise ValueError(f"dropout lies in [0, 1), not {self.dropout_rate!r}.")
        for name, least in (("start_id", 0), ("padding_id", -1)):
            value = getattr(self, name)
            if value is not None and (not is_whole(value) or not least <= value < self.num_classes):
                raise ValueError(f"{name} lies in {least} to {self.num_classes - 1}, or is None; it is {value!r}.")

    @property
    def receptive_field(self):
        """Tokens from the oldest that a row of logits depends on to its own, both included."""
        return receptive_field(self.kernel_size, self.dilations)

    # ------------------------------------------------------------------ network

    def call(self, token_ids, conditions=None, training=False):  # [B, T], [B, T, F] -> [B, T, V]
        """Logits; ``fit`` passes both inputs as one list."""
        if isinstance(token_ids, list | tuple):
            token_ids, conditions = token_ids
        return self.to_logits(self.skips(self.embed(token_ids), conditions, training))

    def embed(self, token_ids):  # [...] -> [..., R]
        """Token embeddings; padding of -1 is read as token 0."""
        if self.padding_id == -1:
            token_ids = ops.maximum(token_ids, 0)
        return self.embedding(token_ids)

    def skips(self, x, conditions=None, training=False):  # [B, T, R], [B, T, F] -> [B, T, K]
        """Sum of what all blocks say to the output, from embedded tokens."""
        return self._through(x, conditions, training)[0]

    def _through(self, x, conditions, training=False):
        """The sum of the skips, and the input of every block."""
        self._demand_conditions(x, conditions)
        total, inputs = 0.0, []
        for block in self.blocks:
            inputs.append(x)
            x, skip = block(x, conditions, training=training)
            total = total + skip
        return total, inputs

    def to_logits(self, skips):  # [..., K] -> [..., V]
        """ReLU, 1x1, ReLU, 1x1."""
        return self.output_layer(self.hidden_layer(ops.relu(skips)))

    def _demand_conditions(self, x, conditions):
        """ValueError unless there are conditions just where they are needed, a row of them for each step."""
        if self.condition_dim == 0:
            if conditions is not None:
                raise ValueError("This WaveNet was built without conditions (condition_dim=0), but was given some.")
            return
        if conditions is None:
            raise ValueError(f"This WaveNet needs conditions [B, T, {self.condition_dim}].")
        found, (rows, steps) = tuple(conditions.shape), tuple(x.shape)[:2]
        wanted = (rows, steps, self.condition_dim)
        known = len(found) == 3 and all(None in pair or pair[0] == pair[1] for pair in zip(found, wanted, strict=True))
        if not known:
            raise ValueError(f"Conditions are {wanted} for these tokens, not {found}.")

    # ------------------------------------------------------------------ one step, with queues

    def empty_queues(self, rows):
        """One queue [S, B, R] of zeros for each block: what lies before the first step."""
        shapes = [(block.convolution.reach + 1, rows, self.residual_dim) for block in self.blocks]
        return [ops.zeros(shape, self.compute_dtype) for shape in shapes]

    def filled_queues(self, token_ids, conditions, last, at):  # [B, T], [B, T, F], [], [] -> L queues [S, B, R]
        """The queues behind column ``last``, computed at once; what stands behind it is not read.

        That column is step ``at`` of the piece: the beginning may have been left out if it is beyond the field.
        """
        queues = []
        for block, x in zip(self.blocks, self._through(self.embed(token_ids), conditions)[1], strict=True):
            slots = block.convolution.reach + 1
            columns = last - (at + slots - ops.arange(slots, dtype="int32")) % slots  # that wait in slot 0, 1, ...
            found = ops.take(ops.transpose(x, (1, 0, 2)), ops.maximum(columns, 0), axis=0)
            queues.append(ops.where((columns >= 0)[:, None, None], found, 0.0))
        return queues

    def step(self, tokens, conditions, queues, at):  # [B], [B, F], list, [] -> [B, V], list
        """Logits behind the token of step ``at``, and the queues with it; ``conditions`` of the token that comes."""
        x, total, filled = self.embed(tokens), 0.0, []
        for block, queue in zip(self.blocks, queues, strict=True):
            x, skip, queue = block.step(x, conditions, queue, at)
            total = total + skip
            filled.append(queue)
        return self.to_logits(total), filled

    # ------------------------------------------------------------------ training and scores

    @property
    def metrics(self):
        return [*super().metrics, self.accuracy]

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Mean cross-entropy over the targets that are not padding, in nats; ValueError for sample weights."""
        if sample_weight is not None:
            raise ValueError("WaveNet takes no sample weights; give targets that do not count the padding_id.")
        targets, counts = self._targets(ops.convert_to_tensor(y, "int32"))
        self.accuracy.update_state(hits(targets, y_pred), ops.cast(counts, "float32"))
        return masked_mean(token_cross_entropy(targets, y_pred), counts)

    def _targets(self, token_ids):
        """The targets, with a class in place of padding, and which of them count."""
        if self.padding_id is None:
            return token_ids, ops.ones_like(token_ids, dtype="bool")
        return ops.maximum(token_ids, 0), ops.not_equal(token_ids, self.padding_id)

    def log_probabilities(self, token_ids, conditions=None):  # [N, T], [N, T, F] -> [N, T - 1], or [N, T] with start_id
        """``log p`` of every token given those before it, in nats, 0 at padding; a NumPy array.

        The first token is given, not scored, unless the model has a ``start_id``. ``conditions[:, t]`` belong to the
        token in column t.

        Raises:
            ValueError: ids out of range, or conditions that do not fit.
        """
        token_ids = self._checked(token_ids)
        conditions = self._checked_conditions(conditions, token_ids.shape)
        if token_ids.shape[1] + (self.start_id is not None) < 2:
            return np.zeros((len(token_ids), 0), "float32")
        x, targets = shifted(token_ids, conditions, self.start_id)
        columns = [*(x if isinstance(x, list) else [x]), targets]
        if self._scores is None:
            self._scores = compiled(self._score, self)
        found = np.zeros(targets.shape, "float32")
        rows = max(1, min(64, STEPS // targets.shape[1]))
        for start in range(0, len(found), rows):
            some = [column[start : start + rows] for column in columns]
            asked = len(some[0])
            size = 1 << (asked - 1).bit_length()  # one of few numbers of rows
            some = [np.resize(part, (size, *part.shape[1:])) for part in some]
            found[start : start + rows] = ops.convert_to_numpy(self._scores(*some))[:asked]
        return found

    def _score(self, inputs, *others):
        *conditions, targets = others
        targets, counts = self._targets(targets)
        return ops.where(counts, -token_cross_entropy(targets, self(inputs, *conditions)), 0.0)

    def log_likelihood(self, token_ids, conditions=None):  # [N, T], [N, T, F] -> [N]
        """``log p`` of every row in nats, given its first token unless there is a ``start_id``; padding counts not."""
        return self.log_probabilities(token_ids, conditions).astype("float64").sum(-1)

    def next_logits(self, token_ids, conditions=None):  # [B, T], [B, T + 1, F] -> [B, V]
        """Logits of the token in column T, as a NumPy array; ``conditions[:, t]`` belong to column t.

        Raises:
            ValueError: no row, ids out of range, or conditions that do not fit.
        """
        token_ids = self._checked(token_ids)
        if not len(token_ids):
            raise ValueError("There is no row to go on with.")
        conditions = self._checked_conditions(conditions, (len(token_ids), token_ids.shape[1] + 1))
        return self._writing.next_logits(token_ids, conditions)

    def _checked(self, token_ids):
        """int32 ids [N, T]; ValueError for anything else, or ids that are neither a class nor padding."""
        token_ids, least = np.asarray(token_ids), 0 if self.start_id is not None else 1
        if token_ids.size == 0 and token_ids.ndim == 2:
            token_ids = token_ids.astype("int32")
        if token_ids.ndim != 2 or token_ids.shape[1] < least or token_ids.dtype.kind not in "iu":
            raise ValueError(
                f"Pass whole numbers [N, T] with T from {least} on, not {token_ids.dtype} {token_ids.shape}."
            )
        wrong = (token_ids < min(0, self.padding_id or 0)) | (token_ids >= self.num_classes)
        if wrong.any():
            raise ValueError(f"Token ids lie in 0 to {self.num_classes - 1}; {token_ids[wrong][0]} does not.")
        return token_ids.astype("int32")

    def _checked_conditions(self, conditions, shape):
        """float32 conditions [*shape, F], or None where there are none."""
        if self.condition_dim == 0 or conditions is None:
            self._demand_conditions(np.zeros(shape), conditions)
            return None
        conditions = np.asarray(conditions, "float32")
        self._demand_conditions(np.zeros(shape), conditions)
        return conditions

    # ------------------------------------------------------------------ writing

    def generate(self, prompt, num_steps, sampler=AS_DRAWN, cached=True, seed=0, conditions=None, given=None):
        """Write on, token by token, in one compiled loop. Columns are counted from 0, the first token of the prompt.

        Args:
            prompt: B rows of ids, [B, P] or a list of rows of unequal lengths P_b; they may be empty (``[[]]`` is one
                empty row) if the model has a ``start_id``. They may be longer than the receptive field.
            num_steps: tokens to write behind each prompt: row b has the columns 0 to P_b + num_steps - 1.
            sampler: ``sampling.Sampler``; as drawn from the model unless told.
            cached: keep a queue of inputs for each layer, so that a step costs L small products (Le Paine et al.,
                2016); without, every step reads the last ``receptive_field`` columns again. The tokens are the same,
                but for rounding where two logits are equal.
            seed: of the draws, a whole number from 0 on or several. A row's tokens depend on its prompt, its
                conditions, its place among the rows and the seed, not on the other rows.
            conditions: [B, N, F] with N from max P_b + num_steps on; ``conditions[:, t]`` belong to column t. Those of
                column 0 are read only if there is a ``start_id``.
            given: [B, N] with N = max P_b + num_steps, ids of single columns that are to be kept, -1 where the model
                writes; in the columns of a prompt -1 or what the prompt says.

        Returns:
            List of B int32 arrays: the prompt, and what was written.

        Raises:
            ValueError: no prompt, ids out of range, or conditions or given tokens that do not fit.
        """
        steps = self._writing.write(prompt, num_steps, sampler, cached, seed, conditions, given)
        return deque(steps, maxlen=1)[0]

    def stream(self, prompt, num_steps, sampler=AS_DRAWN, cached=True, seed=0, conditions=None, given=None, every=1):
        """As ``generate``, but yields the rows as they are after every ``every`` columns."""
        yield from self._writing.write(prompt, num_steps, sampler, cached, seed, conditions, given, every)

    # ------------------------------------------------------------------ saving

    def get_config(self):
        """What the constructor takes."""
        names = ("num_classes", "residual_dim", "skip_dim", "kernel_size", "condition_dim")
        sizes = {name: getattr(self, name) for name in (*names, "padding_id", "start_id", "seed")}
        return {**sizes, "dilations": list(self.dilations), "dropout": self.dropout_rate, "name": self.name}

    @classmethod
    def from_config(cls, config):
        """The untrained model of ``get_config``."""
        return cls(**config)


def shifted(token_ids, conditions=None, start_id=None):  # [N, T], [N, T, F]
    """Inputs and targets for ``fit``: each target is the token one step later.

    Returns:
        ``(inputs, targets)`` [N, T - 1] each, or, with ``start_id`` put before every row, [N, T] each. Where there are
        conditions, ``([inputs, their conditions], targets)``: a condition goes to the row that scores its token.

    Raises:
        ValueError: anything but whole numbers [N, T] with T from 2 on (from 1 on with ``start_id``), or conditions of
            another number of rows or steps.
    """
    token_ids, least = np.asarray(token_ids), 2 if start_id is None else 1
    if token_ids.ndim != 2 or token_ids.shape[1] < least or token_ids.dtype.kind not in "iu":
        raise ValueError(f"Pass whole numbers [N, T] with T from {least} on, not {token_ids.dtype} {token_ids.shape}.")
    token_ids = token_ids.astype("int32")
    if start_id is not None:
        token_ids = np.pad(token_ids, ((0, 0), (1, 0)), constant_values=start_id)
    inputs, targets = token_ids[:, :-1], token_ids[:, 1:]
    if conditions is None:
        return inputs, targets
    conditions = np.asarray(conditions, "float32")
    steps = targets.shape[1] + (start_id is None)
    if conditions.ndim != 3 or conditions.shape[:2] != (len(token_ids), steps):
        raise ValueError(f"Conditions are [{len(token_ids)}, {steps}, F] for these tokens, not {conditions.shape}.")
    return [inputs, conditions[:, -targets.shape[1] :]], targets


# ---------------------------------------------------------------------------------------------------- what is seen


def steps_seen(network, length, width, at, seed=0):  # -> [T] of booleans
    """Which of ``length`` input steps output step ``at`` depends on: those with a gradient that is not 0.

    The gradient is that of a random mixture of the step's outputs (their sum is constant behind a softmax or a norm),
    at each of eight random inputs (at a single one a ReLU may be shut).

    Args:
        network: a function of tensors, [1, T, width] -> [1, T, anything], such as a stack of convolutions.
        length, width: of the inputs.
        at: the output step.
        seed: of the inputs and the mixture.
    """
    random = np.random.default_rng(seed)
    inputs = random.normal(size=(8, 1, length, width)).astype("float32")
    size = int(np.prod(network(ops.convert_to_tensor(inputs[0])).shape[2:]))
    mixture = ops.convert_to_tensor(random.normal(size=size).astype("float32"))

    def output(x):
        found = ops.cast(ops.reshape(network(x)[:, at], (1, -1)), "float32")
        return ops.sum(found * mixture, axis=-1)

    slope = compiled(lambda x: input_gradient(output, x))
    found = [ops.convert_to_numpy(slope(ops.convert_to_tensor(one)))[0] != 0 for one in inputs]
    return np.any(found, axis=0).any(axis=-1)


def measured_receptive_field(model, seed=0):
    """Steps from the oldest that the last logits of a ``WaveNet`` depend on, by gradients, to the last one.

    To be ``model.receptive_field``.
    """
    length = model.receptive_field + 7
    conditions = np.zeros((1, length, model.condition_dim), "float32") if model.condition_dim else None
    network = lambda x: model.to_logits(model.skips(x, conditions))  # noqa: E731
    return int(length - np.flatnonzero(steps_seen(network, length, model.residual_dim, length - 1, seed))[0])
