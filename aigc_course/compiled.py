"""One way to compile a function, and one way to differentiate by an input, on all three Keras backends.

Everything that knows TensorFlow, JAX or PyTorch by name stands here and in ``runtime``.
"""

import functools

import keras


def compiled(function, *models, xla=False):
    """Return ``function``, compiled where the backend can, reading the current weights of ``models`` at every call.

    Args:
        function: takes and returns tensors; draws no random numbers and changes no weights. Static shapes.
        models: every Keras model, layer or variable that ``function`` uses.
        xla: on TensorFlow, compile with XLA too: slower to begin, faster in long loops; every shape is compiled anew.

    On JAX a compiled function that closes over a model's variables would keep the values of its first call for ever: a
    sampler compiled so goes on showing the untrained model. Here the variables go in as arguments.
    """
    match keras.backend.backend():
        case "tensorflow":
            return _tensorflow(function, xla)
        case "jax":
            return _jax(function, models)
        case "torch":
            return _torch(function)
    raise ValueError(f"No compiler for the backend {keras.backend.backend()!r}.")


def _tensorflow(function, xla):
    import tensorflow as tf

    tf.get_logger().addFilter(_wanted)
    # AutoGraph rewrites Python loops, of which there are none here, and reads the sources again to do it.
    options = {"autograph": False, "reduce_retracing": not xla, "jit_compile": xla or None}
    return functools.wraps(function)(tf.function(function, **options))


def _wanted(record):
    """False for TensorFlow's remark that functions of one name were traced several times: so many models were built."""
    return "triggered tf.function retracing" not in record.getMessage()


def _jax(function, models):
    import jax

    def variables():
        return [v for m in models for v in ([m] if isinstance(m, keras.Variable) else m.variables)]

    @jax.jit
    def stateless(values, *args):
        with keras.StatelessScope(state_mapping=list(zip(variables(), values, strict=True))):
            return function(*args)

    @functools.wraps(function)
    def call(*args):
        return stateless([v.value for v in variables()], *args)

    return call


def _torch(function):
    import torch

    @functools.wraps(function)
    def call(*args):
        with torch.no_grad():
            return function(*args)

    return call


class CompiledFunctions:
    """Functions of one model, each compiled with XLA when it is first needed."""

    def __init__(self, model):
        self.model, self.made = model, {}

    def get(self, name, function):
        """``function``, or what was compiled under that name."""
        if name not in self.made:
            self.made[name] = compiled(function, self.model, xla=True)
        return self.made[name]


def get_row(table, at):  # [N, ...], [] -> [...]
    """``table[at]`` where ``at`` is a tensor."""
    if keras.backend.backend() == "torch":
        return table[at]
    start = (at, *[0] * (len(table.shape) - 1))
    return keras.ops.squeeze(keras.ops.slice(table, start, (1, *table.shape[1:])), 0)


def put_row(table, at, row):  # [N, ...], [], [...] -> [N, ...]
    """``table`` with ``row`` at index ``at``, for loops inside ``compiled``.

    XLA keeps the table of a loop in its place if nothing reads the old one any more. PyTorch runs the loop as it stands
    and would copy the table at every step: there the table itself is changed.
    """
    if keras.backend.backend() == "torch":
        table[at] = row
        return table
    start = (at, *[0] * (len(table.shape) - 1))
    return keras.ops.slice_update(table, start, keras.ops.expand_dims(row, 0))


def input_gradient(function, inputs):
    """Gradient of ``sum(function(inputs))`` by ``inputs``, itself differentiable by the weights.

    Args:
        function: maps a tensor ``[B, ...]`` to one number for each row, ``[B]`` or ``[B, 1]``.
        inputs: tensor ``[B, ...]``.

    Returns:
        Tensor of the shape of ``inputs``: row b holds the gradient of output b, since rows do not mix.
    """
    match keras.backend.backend():
        case "tensorflow":
            import tensorflow as tf

            with tf.GradientTape() as tape:
                tape.watch(inputs)
                total = keras.ops.sum(function(inputs))
            return tape.gradient(total, inputs)
        case "jax":
            import jax

            return jax.grad(lambda x: keras.ops.sum(function(x)))(inputs)
        case "torch":
            import torch

            with torch.enable_grad():
                if not inputs.requires_grad:
                    inputs = inputs.detach().requires_grad_(True)
                total = keras.ops.sum(function(inputs))
                return torch.autograd.grad(total, inputs, create_graph=True)[0]
    raise ValueError(f"No input gradient for the backend {keras.backend.backend()!r}.")
