"""JAX as few use it and as it is fastest on a CPU: a whole epoch is one jitted scan over batches."""

import os
import sys

THREADS = int(sys.argv[3])
if THREADS == 1:
    # Before the import: XLA reads both when it starts.
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

import jax
import jax.numpy as jnp

from networks import LEARNING_RATE
from work import Clock, contestant

jax.config.update("jax_default_prng_impl", "rbg")


def initial(key, widths):
    layers = []
    for inputs, outputs in zip(widths, widths[1:]):
        key, a, b = jax.random.split(key, 3)
        bound = inputs**-0.5
        layers.append((jax.random.uniform(a, (inputs, outputs), minval=-bound, maxval=bound),
                       jax.random.uniform(b, (outputs,), minval=-bound, maxval=bound)))
    return layers


def outputs(layers, x, key, dropout):
    for w, b in layers[:-1]:
        x = jax.nn.relu(x @ w + b)
        if dropout:
            key, mine = jax.random.split(key)
            x = jnp.where(jax.random.bernoulli(mine, 1 - dropout, x.shape), x / (1 - dropout), 0)
    w, b = layers[-1]
    return x @ w + b


def train(work, how, x, y, x_test, y_test):
    x, y = jnp.asarray(x), jnp.asarray(y)
    layers = initial(jax.random.key(how.seed), (x.shape[1], *work.hidden, int(y.max()) + 1))
    zeros = jax.tree.map(jnp.zeros_like, layers)
    steps = len(x) // work.batch

    def loss(layers, x, y, key):
        log = jax.nn.log_softmax(outputs(layers, x, key, work.dropout))
        return -jnp.take_along_axis(log, y[:, None], 1).mean()

    def step(state, batch):
        layers, m, v, t = state
        rows, key = batch
        gradients = jax.grad(loss)(layers, x[rows], y[rows], key)
        t = t + 1
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, gradients)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, gradients)
        rate = LEARNING_RATE * jnp.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        layers = jax.tree.map(lambda w, m, v: w - rate * m / (jnp.sqrt(v) + 1e-8), layers, m, v)
        return (layers, m, v, t), None

    @jax.jit
    def epoch(state, key):
        a, b = jax.random.split(key)
        # Whole batches: the last rows of a shuffled epoch are left out, fewer than one batch.
        rows = jax.random.permutation(a, len(x))[: steps * work.batch].reshape(steps, work.batch)
        return jax.lax.scan(step, state, (rows, jax.random.split(b, steps)))[0]

    state = (layers, zeros, zeros, jnp.float32(0))
    clock = Clock()
    for number in range(work.epochs):
        state = jax.block_until_ready(epoch(state, jax.random.key(1000 * how.seed + number)))
        yield clock.lap() * len(x) / (steps * work.batch)
    yield (outputs(state[0], jnp.asarray(x_test), None, 0.0).argmax(1) == y_test).mean()


contestant(train)
