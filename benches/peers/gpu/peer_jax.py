"""JAX on a GPU: the whole cohort by vmap, a chunk of the epoch as one jitted scan."""

import jax
import jax.numpy as jnp

from work import LEARNING_RATE, Clock, contestant


def initial(key, widths):
    layers = []
    for inputs, outputs in zip(widths, widths[1:]):
        key, a, b = jax.random.split(key, 3)
        bound = inputs**-0.5
        layers.append((jax.random.uniform(a, (inputs, outputs), minval=-bound, maxval=bound),
                       jax.random.uniform(b, (outputs,), minval=-bound, maxval=bound)))
    return layers


def outputs(layers, x):
    for w, b in layers[:-1]:
        x = jax.nn.relu(x @ w + b)
    w, b = layers[-1]
    return x @ w + b


def vmap(work, x, y, precision, device, steps):
    jax.config.update("jax_platforms", device)
    names = {"highest": "highest", "high": "tensorfloat32", "medium": "bfloat16"}
    jax.config.update("jax_default_matmul_precision", names[precision])
    x, y = jnp.asarray(x), jnp.asarray(y)

    def loss(layers, rows):
        log = jax.nn.log_softmax(outputs(layers, x[rows]))
        return -jnp.take_along_axis(log, y[rows][:, None], 1).mean()

    def step(state, rows):
        layers, m, v, t = state
        value, gradients = jax.value_and_grad(loss)(layers, rows)
        t = t + 1
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, gradients)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, gradients)
        rate = LEARNING_RATE * jnp.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        layers = jax.tree.map(lambda w, m, v: w - rate * m / (jnp.sqrt(v) + 1e-8), layers, m, v)
        return (layers, m, v, t), value

    def order(key):
        need = steps * work.batch
        orders = [jax.random.permutation(k, work.rows) for k in jax.random.split(key, -(-need // work.rows))]
        return jnp.concatenate(orders)[:need].reshape(steps, work.batch)

    cohort = jax.jit(jax.vmap(lambda state, rows: jax.lax.scan(step, state, rows)))
    layers = jax.vmap(lambda key: initial(key, work.widths))(jax.random.split(jax.random.key(0), work.models))
    zeros = jax.tree.map(jnp.zeros_like, layers)
    state = (layers, zeros, zeros, jnp.zeros(work.models))
    # Orders are made before the clock starts, as everywhere here.
    orders = lambda seed: jax.lax.map(jax.jit(order), jax.random.split(jax.random.key(seed), work.models))
    once, again = jax.block_until_ready((orders(1), orders(2)))
    state, first = jax.block_until_ready(cohort(state, once))
    clock = Clock()
    _, values = jax.block_until_ready(cohort(state, again))
    return work.models, clock.lap(), float(first[:, 0].mean()), float(values[:, -1].mean())


contestant({"vmap": vmap})
