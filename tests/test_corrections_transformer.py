"""Corrections of the Transformer: embedding, positions, attention, masks, blocks, normalisation, dropout.

See tests/ledger.py. B batch, T steps, S memory steps, D width, H heads, V vocabulary.
"""

import functools

import keras
import numpy as np
import pytest
from keras import layers, ops
from ledger import Pair, array, correction, numbers, pictures_of, sharpened, verify

from aigc_course import gpt2, transformer
from aigc_course.attention import scaled_dot_product_attention
from aigc_course.compiled import input_gradient
from aigc_course.transformer import SinusoidalPositions, TransformerBlock, causal_mask
from aigc_course.vocabulary import END, START, Vocabulary

B, T, S, D, H, V = 2, 5, 7, 6, 3, 11
MISFIT = "(?i:incompatible|same shape|cannot be multiplied|size)"  # how the backends say that two sizes do not fit


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(0)


def course_gpt2(**options):
    sizes = {"vocabulary_size": V, "context_length": 9, "num_layers": 2, "num_heads": H, "hidden_dim": D, **options}
    return gpt2.GPT2(gpt2.GPT2Config(**sizes))


@functools.cache
def sharp_gpt2():
    return sharpened(course_gpt2())


def course_block(**options):
    block = TransformerBlock(H, D, **options)
    block.build((None, None, D))
    return sharpened(block)


@functools.cache
def sharp_transformer():
    sizes = {"num_layers": 1, "num_heads": H, "hidden_dim": D, "max_source_length": S, "max_target_length": T}
    return sharpened(transformer.Transformer(Vocabulary("abc"), Vocabulary("xyz"), **sizes))


def table_of(embedding):  # -> [V, D]
    return embedding.get_weights()[0]


def moved(before, after):
    return np.abs(array(before) - array(after)).max()


# --- embedding and positions ------------------------------------------------------------------------------------------


@correction("C7")
def test_c7_an_embedding_is_a_row_of_the_table():
    model, ids = sharp_gpt2(), np.array([[3, 0, 10, 3, 7], [1, 1, 9, 2, 5]], "int32")
    table = table_of(model.token_embedding)
    long = np.concatenate([ids, ids[:, ::-1], ids[:, :1]], axis=1)  # [B, V]: as long as the vocabulary

    def product(ids):
        return ids, array(ops.matmul(ids.astype("float32"), table))

    def looked_up(ids):
        start = table_of(model.position_embedding)[0]
        return ids, array(model.embed(ids, np.zeros_like(ids))) - start

    def is_right(case):
        ids, rows = case
        return rows.shape == (*ids.shape, D) and np.allclose(rows, table[ids], atol=1e-5)

    assert product(long)[1].shape == (B, D), "one sum of all rows, weighted by the ids, and nothing raises"
    one_hot = np.eye(V, dtype="float32")[ids]
    assert is_right((ids, array(ops.matmul(one_hot, table)))), "trap: on one-hot input the product is the look-up"
    return Pair(
        faulty=[lambda: product(ids), lambda: product(long)],
        right=[lambda: looked_up(ids), lambda: looked_up(long[:, :9])],
        is_right=is_right,
        raises=Exception,
        message=MISFIT,
    )


class WithoutShape(layers.Layer):
    """A table that was never given a shape, so it is one number, and is sliced all the same."""

    def __init__(self):
        super().__init__()
        self.table = self.add_weight(name="table", trainable=False)

    def call(self, inputs):
        return inputs + self.table[: inputs.shape[1]]


@correction("C8")
def test_c8_every_position_adds_a_vector_of_its_own():
    """What is added to the steps of a batch: one vector a position, the same in every row."""
    model = sharp_gpt2()
    inputs, ids = numbers(B, T, D), np.zeros((B, T), "int32")
    angles = [[t / 10000 ** (2 * (i // 2) / D) for i in range(D)] for t in range(T)]
    by_hand = np.where(np.arange(D) % 2, np.cos(angles), np.sin(angles))
    assert np.allclose(transformer.sinusoidal_table(T, D), by_hand, atol=1e-6)

    def rank_four():
        return inputs + np.linspace(0, 1, T, dtype="float32").reshape(1, 1, -1, 1) - inputs

    def learned():
        return array(model.embed(ids, np.arange(T))) - table_of(model.token_embedding)[0]

    def is_right(added):
        if added.shape != (B, T, D) or not np.allclose(added[0], added[1], atol=1e-5):
            return False
        return min(np.abs(added[0, s] - added[0, t]).max() for t in range(T) for s in range(t)) > 1e-3

    return Pair(
        faulty=[lambda: array(WithoutShape()(inputs)) - inputs, rank_four],
        right=[lambda: array(SinusoidalPositions(9)(inputs)) - inputs, learned],
        is_right=is_right,
        raises=Exception,
        message="(?i)slice|indices|dimension|index",
    )


@correction("C9")
def test_c9_positions_are_added_once():
    inputs, ids = numbers(B, T, D), np.zeros((B, T), "int32")
    table = np.broadcast_to(transformer.sinusoidal_table(T, D), inputs.shape)
    return Pair(
        faulty=[lambda: ops.concatenate([inputs + table, table], axis=-1)],
        right=[lambda: SinusoidalPositions(9)(inputs), lambda: sharp_gpt2().embed(ids, np.arange(T))],
        is_right=lambda outputs: tuple(outputs.shape) == (B, T, D),
    )


@correction("C28")
def test_c28_the_table_of_positions_is_not_shrunk():
    """Entry (1, 0) of the sinusoids is sin 1."""
    width = 8
    return Pair(
        faulty=[lambda: transformer.sinusoidal_table(2, width)[1, 0] / width**0.5],
        right=[
            lambda: transformer.sinusoidal_table(2, width)[1, 0],
            lambda: array(SinusoidalPositions(9)(np.zeros((1, 2, width), "float32")))[0, 1, 0],
        ],
        is_right=lambda entry: abs(entry - 0.8415) < 1e-4,
    )


@pytest.mark.slow
def test_c28_the_transformer_scales_its_tokens_and_gpt2_nothing():
    model, gpt, one = sharp_transformer(), sharp_gpt2(), np.array([[4]], "int32")
    token = array(model.source_embedding(one))[0, 0]
    paper = array(model._embed(model.source_embedding, one))[0, 0] - transformer.sinusoidal_table(1, D)[0]
    assert np.allclose(paper, D**0.5 * token, atol=1e-5)
    both = table_of(gpt.token_embedding)[4] + table_of(gpt.position_embedding)[0]
    assert np.allclose(array(gpt.embed(one, np.zeros(1, "int32")))[0, 0], both, atol=1e-6)


# --- what a stack is made of ------------------------------------------------------------------------------------------


def bag(positions):
    """Embeddings, with positions or without, and a linear head: the model that calls no attention."""
    table, head = numbers(V, D, seed=2), numbers(D, V, seed=3)
    place = transformer.sinusoidal_table(9, D) if positions else np.zeros((9, D), "float32")
    return lambda ids: (table[ids] + place[: ids.shape[1]]) @ head


@correction("C10")
def test_c10_the_last_step_has_read_the_context():
    ids = np.array([[3, 8, 10, 2, 7]], "int32")
    shuffled, replaced = ids[:, [2, 0, 3, 1, 4]], np.array([[3, 8, 1, 2, 7]], "int32")

    def least_move(model):
        return min(np.abs(array(model(ids)) - array(model(other)))[:, -1].max() for other in (shuffled, replaced))

    return Pair(
        faulty=[lambda: least_move(bag(positions=False)), lambda: least_move(bag(positions=True))],
        right=[lambda: least_move(sharp_gpt2())],
        is_right=lambda change: change > 1e-2,
    )


@pytest.mark.any_backend
@correction("C11")
def test_c11_sub_layers_are_called_as_layers():
    inputs = numbers(B, T, D)

    def without_arguments():
        return [TransformerBlock() for _ in range(2)]

    def call_an_array():
        dense = layers.Dense(D)
        dense.build((None, D))
        return dense.get_weights()[1](inputs)

    def missing_class():
        exec("part = Perceptron()", {})

    def stacked():
        output = inputs
        for _ in range(2):
            output = TransformerBlock(H, D)(output)
        return output

    return Pair(
        faulty=[without_arguments, call_an_array, missing_class],
        right=[stacked],
        is_right=lambda output: tuple(output.shape) == (B, T, D),
        raises=(TypeError, NameError),
        message="missing|not callable|not defined",
    )


# --- residual connections ---------------------------------------------------------------------------------------------


def norm(values, epsilon=1e-5):
    return (values - ops.mean(values, -1, keepdims=True)) / ops.sqrt(ops.var(values, -1, keepdims=True) + epsilon)


class Written(layers.Layer):
    """A block that joins side by side what should be added, and normalises what comes out."""

    def __init__(self):
        super().__init__()
        self.first, self.second = layers.Dense(D), layers.Dense(D)

    def call(self, inputs):
        found = self.first(inputs)
        return norm(ops.concatenate([found, norm(self.second(found))], axis=-1))


@correction("C12")
def test_c12_a_silent_block_passes_its_input_on():
    inputs = numbers(B, T, D)

    def through(block, **options):
        block(inputs, **options)
        block.set_weights([np.zeros_like(weights) for weights in block.get_weights()])
        return array(block(inputs, **options))

    def no_residual():
        block = TransformerBlock(H, D)
        block(inputs)
        block.set_weights([np.zeros_like(weights) for weights in block.get_weights()])
        return array(block.feed_forward(block.feed_forward_norm(inputs)))

    return Pair(
        faulty=[lambda: through(Written()), no_residual],
        right=[
            lambda: through(TransformerBlock(H, D)),
            lambda: through(TransformerBlock(H, D, cross_attention=True), memory=numbers(B, S, D, seed=1)),
        ],
        is_right=lambda outputs: outputs.shape == inputs.shape and np.array_equal(outputs, inputs),
    )


def gradient_ratio(residual, normed, width=16, depth=12):
    """Length of the gradient where the first of twelve feed-forward blocks begins over that where the last begins."""
    rng = np.random.default_rng(4)
    shapes = [(width, 4 * width), (4 * width, width)]
    weights = [[rng.normal(0, shape[0] ** -0.5, shape).astype("float32") for shape in shapes] for _ in range(depth)]
    target = ops.convert_to_tensor(numbers(3, width, seed=5))

    def block(x, wide, narrow):
        wider = ops.matmul(norm(x) if normed else x, wide)
        change = ops.matmul(keras.activations.gelu(wider), narrow)
        return x + change if residual else change

    def loss(x, blocks):
        for pair in blocks:
            x = block(x, *pair)
        return ops.sum(x * target, axis=-1)

    begin = last = ops.convert_to_tensor(numbers(3, width, seed=6))
    for pair in weights[:-1]:
        last = block(last, *pair)
    ends = [(begin, weights), (last, weights[-1:])]
    first, final = (
        np.linalg.norm(array(input_gradient(functools.partial(loss, blocks=blocks), x)), axis=-1) for x, blocks in ends
    )
    return float(np.mean(first / final))


@pytest.mark.slow
def test_c12_trap_a_norm_in_each_block_keeps_the_gradient_alive():
    """So the gradient at the first block does not show that the residual connection is missing."""
    assert gradient_ratio(residual=True, normed=True) > 0.3
    assert gradient_ratio(residual=False, normed=True) > 0.3
    assert gradient_ratio(residual=False, normed=False) < 0.01


# --- attention --------------------------------------------------------------------------------------------------------


def framework_attention():
    """The course's layer, and the framework's with the same weights."""
    ours = transformer.MultiHeadAttention(H, D)
    ours.build((None, None, D))
    sharpened(ours)
    theirs = layers.MultiHeadAttention(H, D // H)
    theirs.build((None, None, D), (None, None, D))
    values = []
    for layer in (ours.query, ours.key, ours.value):
        kernel, bias = layer.get_weights()
        values += [kernel.reshape(D, H, D // H), bias.reshape(H, D // H)]
    kernel, bias = ours.output_projection.get_weights()
    theirs.set_weights([*values, kernel.reshape(H, D // H, D), bias])
    return ours, theirs


@correction("C13")
def test_c13_heads_are_transposed_back_and_merged():
    ours, theirs = framework_attention()
    queries, memory = numbers(B, T, D), numbers(B, S, D, seed=1)
    expected = array(theirs(queries, memory))

    def found():  # [B, H, T, D/H]
        keys, values = ours.keys_and_values(memory)
        return scaled_dot_product_attention(ours.split(ours.query(queries)), keys, values)[0]

    def never_merged():  # one head's width meets the matrix of all
        return array(ops.matmul(found(), ours.output_projection.kernel))

    def tiled():  # the listing joins a list of one tensor, which changes nothing; with a wider matrix [B, H, T, D]
        return array(layers.Dense(D)(ops.concatenate([found()], axis=-1)))

    def not_transposed():
        return array(ours.output_projection(ops.reshape(found(), (B, T, D))))

    assert not_transposed().shape == expected.shape, "trap: the shape alone does not show a missing transposition"
    return Pair(
        faulty=[lambda: transformer.MultiHeadAttention(H), never_merged, tiled, not_transposed],
        right=[lambda: array(ours(queries, memory))],
        is_right=lambda output: output.shape == expected.shape and np.abs(output - expected).max() < 1e-5,
        raises=Exception,
        message=f"missing|{MISFIT}",
    )


def leaks(model, front=2):
    """Largest move of an earlier output when a later one changes, and of any output when padding in front changes."""
    inputs = numbers(B, T, D)
    later, padded = inputs.copy(), inputs.copy()
    later[:, 3] += numbers(B, D, seed=1)  # not a constant: the norm of the block would take that away
    padded[:, :front] += numbers(B, front, D, seed=2)
    present = np.arange(T)[None].repeat(B, axis=0) >= front
    outputs, after_later, after_padded = (array(model(given, present)) for given in (inputs, later, padded))
    return moved(outputs[:, front:3], after_later[:, front:3]), moved(outputs[:, front:], after_padded[:, front:])


@correction("C14")
def test_c14_no_output_sees_the_future_or_padding():
    block, gpt = course_block(), sharp_gpt2()
    causal = array(causal_mask(T))

    def blind(mask_of):
        return lambda inputs, present: block(inputs, attention_mask=mask_of(present[:, None, None, :]))

    class Embedded(gpt2.GPT2):
        """A ``GPT2`` that is given what stands in place of its token embeddings."""

        def embed(self, token_ids, positions):
            given = len(token_ids.shape) == 3
            return (token_ids if given else self.token_embedding(token_ids)) + self.position_embedding(positions)

    whole = Embedded(gpt.config)
    whole.set_weights(gpt.get_weights())
    none, causal_only = blind(lambda present: None), blind(lambda present: causal)
    padding_only, both = blind(lambda present: present), blind(lambda present: present & causal)
    assert leaks(causal_only)[0] < 1e-6 < 1e-2 < leaks(causal_only)[1], "the causal mask hides padding behind alone"
    return Pair(
        faulty=[lambda model=model: leaks(model) for model in (none, causal_only, padding_only, whole_without(whole))],
        right=[lambda: leaks(both), lambda: leaks(lambda inputs, present: whole(inputs, padding_mask=present))],
        is_right=lambda moves: max(moves) < 1e-5,
    )


def whole_without(model):
    """The same model, told that nothing is padding."""
    return lambda inputs, present: model(inputs, padding_mask=np.ones_like(present))


def test_c14_a_later_token_moves_no_earlier_logit():
    """On ids: every logit before the changed token stays, the logit at it moves."""
    gpt, ids = sharp_gpt2(), np.array([[3, 8, 10, 2, 7]], "int32")
    before = array(gpt(ids))
    for step in range(1, 5):
        other = ids.copy()
        other[:, step] = 4
        change = np.abs(array(gpt(other)) - before)[0].max(-1)
        assert change[:step].max() < 1e-5 and change[step] > 1e-3


@correction("C31")
def test_c31_a_block_looks_at_its_memory():
    """Move of the output when the second input changes."""
    inputs, memory, other = numbers(B, T, D), numbers(B, S, D, seed=1), numbers(B, S, D, seed=2)
    alone, crossed = course_block(), course_block(cross_attention=True)
    return Pair(
        faulty=[lambda: change_of(lambda unused: alone(inputs), memory, other)],
        right=[lambda: change_of(lambda seen: crossed(inputs, memory=seen), memory, other)],
        is_right=lambda change: change > 1e-2,
    )


def change_of(function, one, other):
    return moved(function(one), function(other))


@pytest.mark.slow
def test_c31_a_translation_depends_on_its_source():
    given = np.array([[START, 4, 5]], "int32")
    sources = [np.array([[4, letter, 5, END]], "int32") for letter in (4, 6)]
    assert change_of(lambda source: sharp_transformer()((source, given)), *sources) > 1e-2


def test_c31_the_number_of_heads_is_used():
    """The listing's encoder looks without projections: no weights, and the number of heads changes nothing."""
    inputs = numbers(B, T, D)

    def written(num_heads):
        return array(scaled_dot_product_attention(inputs, inputs, inputs)[0]), 0

    def ours(num_heads):
        layer = transformer.MultiHeadAttention(num_heads, D)
        layer.build((None, None, D))
        return array(sharpened(layer)(inputs)), layer.count_params()

    def differs(attention):
        results = [attention(heads) for heads in (1, 2, 3)]
        assert len({count for _, count in results}) == 1, "heads share the width: the number of weights stays"
        return results[0][1], moved(results[0][0], results[1][0]), moved(results[1][0], results[2][0])

    verify(
        Pair(
            faulty=[lambda: differs(written)],
            right=[lambda: differs(ours)],
            is_right=lambda case: case[0] == 4 * (D**2 + D) and min(case[1:]) > 1e-3,
        )
    )


# --- feed-forward network, normalisation, dropout ---------------------------------------------------------------------


class TakesOutput(layers.Layer):
    """Keeps a sub-layer under a name that every Keras layer has already."""

    def __init__(self):
        super().__init__()
        self.output = layers.Dense(D)

    def call(self, inputs):
        return self.output(inputs)


class OwnsNoDropout(layers.Layer):
    def call(self, inputs):
        return self.dropout(inputs)


@correction("C15")
def test_c15_a_nonlinearity_stands_between_two_layers():
    """Outputs of 50 inputs of width 4: their rank without the mean, and their width; 9 were asked for."""
    inputs, width, wide = numbers(50, 4), 9, 16

    def linear(last):
        return lambda: layers.Dense(last, kernel_initializer="normal")(layers.Dense(wide)(inputs))

    def ours():
        part = transformer.FeedForward(wide, width)
        part.build((None, 4))
        return sharpened(part)(inputs)

    def rank(outputs):
        return np.linalg.matrix_rank(outputs - outputs.mean(0), tol=1e-3 * np.linalg.norm(outputs, 2))

    def is_right(outputs):
        outputs = array(outputs)
        return outputs.shape == (50, width) and rank(outputs) > 4

    assert rank(array(linear(width)())) == 4 and rank(array(ours())) == width
    return Pair(
        faulty=[linear(wide), linear(width), lambda: TakesOutput()(inputs), lambda: OwnsNoDropout()(inputs)],
        right=[ours],
        is_right=is_right,
        raises=AttributeError,
        message="no setter|no attribute",
    )


@correction("C16")
def test_c16_epsilon_stands_in_the_root_and_gain_and_bias_are_learned():
    row, ordinary = np.array([[1, -1, 2, -2]], "float32"), numbers(3, 4)

    def written(values):
        values = values.astype("float64")
        return (values - values.mean(-1, keepdims=True)) / (values.std(-1, keepdims=True) + 1e-6)

    def ours():
        layer = TransformerBlock(2, 4, epsilon=1e-6).attention_norm
        layer.build((None, 4))
        return layer

    def without_weights():
        return layers.LayerNormalization(epsilon=1e-6, center=False, scale=False)

    def case(layer):
        return float(array(layer(1e-4 * row))[0, 0]), len(getattr(layer, "weights", []))

    assert abs(case(written)[0] - 0.6285) < 1e-4
    assert np.allclose(written(ordinary), array(ours()(ordinary)), atol=1e-4), "trap: on ordinary rows both agree"
    step = np.array([[1e-9, 0, 0, 0]])  # out of a constant row
    right = (step - step.mean()) / np.sqrt(step.var() + 1e-6)
    assert written(3 + 0 * step + step)[0, 0] / right[0, 0] == pytest.approx(1000, rel=0.01)
    slope = array(input_gradient(lambda x: ours()(x)[:, 0], ops.ones((1, 4))))
    assert slope[0] == pytest.approx([750, -250, -250, -250], rel=1e-3)
    return Pair(
        faulty=[lambda: case(written), lambda: case(without_weights())],
        right=[lambda: case(ours())],
        is_right=lambda case: abs(case[0] - 0.09877) < 1e-4 and case[1] == 2,
    )


def course_dropout(rate):
    return TransformerBlock(H, D, dropout=rate).feed_forward.dropout


@correction("C17")
def test_c17_kept_values_are_scaled_up():
    ones = np.ones((200, 101), "float32")
    chance = np.random.default_rng(0).random(ones.shape)
    return Pair(
        faulty=[lambda: np.where(chance < 0.9, ones, 0)],
        right=[lambda: np.where(chance < 0.9, ones / 0.9, 0), lambda: array(course_dropout(0.1)(ones, training=True))],
        is_right=lambda outputs: abs(outputs.mean() - 1) < 0.02,
    )


class StoresTheRate(layers.Layer):
    """Is told the rate and the mode, and uses neither."""

    def __init__(self, rate):
        super().__init__()
        self.rate, self.part = rate, layers.Dense(D)

    def call(self, inputs, training=False):
        return self.part(inputs)


class AlwaysDrops(StoresTheRate):
    def call(self, inputs, training=False):
        return keras.random.dropout(self.part(inputs), self.rate)


@correction("C32")
def test_c32_dropout_acts_in_training_only():
    inputs, ids = numbers(B, T, D), np.array([[3, 8, 10, 2, 7]], "int32")
    gpt, block = sharpened(course_gpt2(dropout=0.5)), course_block(dropout=0.5)

    def moves(model, inputs):
        """Difference of two calls in training mode, and of two calls in inference mode."""
        return [moved(model(inputs, training=mode), model(inputs, training=mode)) for mode in (True, False)]

    return Pair(
        faulty=[lambda: moves(StoresTheRate(0.5), inputs), lambda: moves(AlwaysDrops(0.5), inputs)],
        right=[lambda: moves(block, inputs), lambda: moves(gpt, ids)],
        is_right=lambda case: case[0] > 1e-3 and case[1] == 0,
    )


# --- names and pictures -----------------------------------------------------------------------------------------------


def model_named_like_its_base():
    """A class ``Model`` over Keras' ``Model``: the last line means Keras' and gets the new one."""
    from keras import Model

    class Model(Model):  # the base is looked up in the class statement, after that the name is the new class
        def __init__(self, vocabulary_size, width):
            super().__init__()
            self.table, self.head = layers.Embedding(vocabulary_size, width), layers.Dense(vocabulary_size)

        def call(self, ids):
            return self.head(self.table(ids))

    ids = keras.Input((None,), dtype="int32")
    return Model(ids, outputs=Model(V, D)(ids))


def model_with_a_name_of_its_own():
    class Scorer(keras.Model):
        def __init__(self, vocabulary_size, width):
            super().__init__()
            self.table, self.head = layers.Embedding(vocabulary_size, width), layers.Dense(vocabulary_size)

        def call(self, ids):
            return self.head(self.table(ids))

    ids = keras.Input((None,), dtype="int32")
    return keras.Model(ids, Scorer(V, D)(ids))


@pytest.mark.any_backend
@correction("C18")
def test_c18_no_class_covers_the_name_that_is_meant():
    for module in (transformer, gpt2):
        classes = [value for value in vars(module).values() if isinstance(value, type)]
        own = [value for value in classes if value.__module__ == module.__name__]
        assert own and all(value.__name__ != base.__name__ for value in own for base in value.__mro__[1:])
        foreign = {value.__name__ for value in classes if value.__module__.startswith("keras")}
        assert not foreign, "the framework's layers are written with their module, keras.layers.Dense"
    return Pair(
        faulty=[model_named_like_its_base],
        right=[model_with_a_name_of_its_own],
        is_right=lambda model: tuple(model.output_shape) == (None, None, V),
        raises=(TypeError, UnboundLocalError),
        message="unexpected keyword|missing|argument",
    )


@pytest.mark.any_backend
@correction("C34")
def test_c34_the_figure_is_drawn_by_the_chapter():
    return pictures_of("09")
