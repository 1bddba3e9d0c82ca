"""Times the cases of tapegrad's benchmarks by PyTorch or JAX, and prints one JSON line for each case.

    python_peers.py (torch | jax) THREADS NUMBERS CASE...

NUMBERS is the file that `tapegrad-peers --numbers` writes, the cases come by the names that `tapegrad-peers --list`
prints; one that the library does not have is left out.
"""

import gc
import json
import math
import os
import statistics
import sys
import time

TURN = 2e-3  # seconds: what is shorter is repeated until it has taken as long
ALL_TURNS = 1.0  # seconds for a way to do a case, about
LONG = 50e-3  # seconds: what takes as long leaves nothing in a cache and needs no warming up
TURNS = range(5, 200)

LEARNING_RATE = 1e-3
OPERAND = (512, 1000)
CLASSIFIER = (100, 2, 3)
PERCEPTRON = (64, 784, 128, 10)


def normal(*shape):
    return np.fromfile(NUMBERS, dtype="<f4", count=math.prod(shape)).reshape(shape)


def weight(outputs, inputs):
    return normal(outputs, inputs) / np.float32(inputs**0.5)


def targets(rows, classes):
    return np.arange(rows) * 7919 % classes


def median_seconds(repeat):
    """The median time of one repeat, measured as the Rust program measures."""
    first = timed(repeat, 1)
    first = min(first, timed(repeat, 1)) if first > LONG else min(timed(repeat, 3), timed(repeat, 10))
    seconds, start = [], time.perf_counter()
    for turn in range(TURNS.stop):
        if turn >= TURNS.start and time.perf_counter() - start > ALL_TURNS:
            break
        if first < LONG:
            timed(repeat, 1)
        seconds.append(timed(repeat, math.ceil(TURN / first)))
    return statistics.median(seconds)


def digest(outcome):
    """What tells whether libraries computed the same, as the Rust program has it."""
    outcome = outcome[-1] if isinstance(outcome, tuple) else outcome
    outcome = np.asarray(outcome, dtype=np.float64).ravel()
    return [float(np.linalg.norm(outcome)), float(outcome @ normal(outcome.size).astype(np.float64))]


def timed(repeat, count):
    start = time.perf_counter()
    for _ in range(count):
        repeat()
    return (time.perf_counter() - start) / count


class Torch:
    """PyTorch, a fresh graph each time. Each method yields the ways to do the case."""

    name = "PyTorch"

    def __init__(self, threads):
        import torch

        self.torch = torch
        self.F = torch.nn.functional
        self.version = torch.__version__.split("+")[0]
        torch.set_num_threads(threads)

    def leaf(self, values):
        return self.torch.from_numpy(values).requires_grad_()

    def cross_entropy(self, rows, classes):
        x, t = self.leaf(normal(rows, classes)), self.torch.from_numpy(targets(rows, classes))

        def repeat():
            self.F.cross_entropy(x, t).backward()
            gradient, x.grad = x.grad, None
            return gradient

        yield repeat

    def forward(self, compute, *shape):
        x = self.torch.from_numpy(normal(*shape))

        def repeat():
            with self.torch.inference_mode():
                return compute(x)

        yield repeat

    def cross_entropy_forward(self, rows, classes):
        t = self.torch.from_numpy(targets(rows, classes))
        return self.forward(lambda x: self.F.cross_entropy(x, t), rows, classes)

    def softmax_forward(self, rows, classes):
        return self.forward(lambda x: self.F.softmax(x, 1), rows, classes)

    def log_softmax_forward(self, rows, classes):
        return self.forward(lambda x: self.F.log_softmax(x, 1), rows, classes)

    def gather(self, rows, classes):
        x, index = self.leaf(normal(rows, classes)), self.torch.from_numpy(targets(rows, classes))[:, None]

        def repeat():
            x.gather(1, index).sum().backward()
            gradient, x.grad = x.grad, None
            return gradient

        yield repeat

    def operation(self, name):
        x, F = self.leaf(np.abs(normal(*OPERAND)) + np.float32(0.1)), self.F
        compute = {
            "exp": lambda: x.exp(),
            "log": lambda: x.log(),
            "sqrt": lambda: x.sqrt(),
            "tanh": lambda: x.tanh(),
            "sigmoid": lambda: x.sigmoid(),
            "softplus": lambda: F.softplus(x),
            "gelu": lambda: F.gelu(x),
            "relu": lambda: x.relu(),
            "clamp": lambda: x.clamp(0.3, 0.8),
            "square": lambda: x.square(),
            "broadcast": lambda: x * x[:1],
            "sum_of_rows": lambda: x.sum(1),
            "sum_of_columns": lambda: x.sum(0),
            "max_of_rows": lambda: x.amax(1),
            "logsumexp_of_rows": lambda: x.logsumexp(1),
            "softmax_of_rows": lambda: x.softmax(1),
            "softmax_of_columns": lambda: x.softmax(0),
            "log_softmax_of_columns": lambda: x.log_softmax(0),
            "transpose": lambda: x.T + 1,
            "cat": lambda: self.torch.cat([x, x], 1),
            "narrow": lambda: x.narrow(1, 100, 800),
            "binary_cross_entropy": lambda: F.binary_cross_entropy_with_logits(x, x.detach()),
        }[name]
        arriving = self.torch.from_numpy(normal(*compute().shape))

        def repeat():
            compute().backward(arriving)
            gradient, x.grad = x.grad, None
            return gradient

        yield repeat

    def step(self, x, t, parameters, logits):
        """Gradient descent by hand, which is faster than `torch.nn` with `torch.optim`."""

        def repeat():
            loss = self.F.cross_entropy(logits(x, *parameters), t)
            loss.backward()
            with self.torch.no_grad():
                for parameter in parameters:
                    parameter.sub_(parameter.grad, alpha=LEARNING_RATE)
                    parameter.grad = None
            return loss.item()

        yield repeat

    def linear_classifier_step(self):
        objects, features, classes = CLASSIFIER
        x, t = (self.torch.from_numpy(a) for a in (normal(objects, features), targets(objects, classes)))
        return self.step(x, t, [self.leaf(normal(classes, features)), self.leaf(normal(classes))], self.F.linear)

    def perceptron_step(self):
        objects, inputs, hidden, classes = PERCEPTRON
        x, t = (self.torch.from_numpy(a) for a in (normal(objects, inputs), targets(objects, classes)))
        values = weight(hidden, inputs), normal(hidden), weight(classes, hidden), normal(classes)
        parameters = [self.leaf(value) for value in values]

        def logits(x, weight1, bias1, weight2, bias2):
            return self.F.linear(self.F.relu(self.F.linear(x, weight1, bias1)), weight2, bias2)

        return self.step(x, t, parameters, logits)

    def matmul(self, n, k, m):
        b = self.torch.from_numpy(normal(k, m))
        return self.forward(lambda a: a @ b, n, k)


class Jax:
    """JAX, compiled. Where it has a large result, also into a buffer that was given up for it."""

    name = "JAX"

    def __init__(self, threads):
        import jax
        import optax

        self.jax, self.optax, self.version = jax, optax, jax.__version__

    def loss(self, x, t):
        return self.optax.softmax_cross_entropy_with_integer_labels(x, t).mean()

    def arrays(self, *values):
        return [self.jax.numpy.asarray(value) for value in values]

    def compiled(self, function, *arguments):
        """The function of these arguments, with a fresh result and with one in the last result's place."""
        compiled = self.jax.jit(function)
        yield lambda: self.jax.block_until_ready(compiled(*arguments))

        reusing = self.jax.jit(lambda last, *rest: function(*rest), donate_argnums=0, keep_unused=True)
        last = self.jax.block_until_ready(compiled(*arguments))

        def repeat():
            nonlocal last
            last = self.jax.block_until_ready(reusing(last, *arguments))
            return last

        yield repeat

    def cross_entropy(self, rows, classes):
        return self.compiled(
            self.jax.value_and_grad(self.loss), *self.arrays(normal(rows, classes), targets(rows, classes))
        )

    def cross_entropy_forward(self, rows, classes):
        return self.compiled(self.loss, *self.arrays(normal(rows, classes), targets(rows, classes)))

    def softmax_forward(self, rows, classes):
        return self.compiled(self.jax.nn.softmax, *self.arrays(normal(rows, classes)))

    def log_softmax_forward(self, rows, classes):
        return self.compiled(self.jax.nn.log_softmax, *self.arrays(normal(rows, classes)))

    def gather(self, rows, classes):
        def total(x, index):
            return self.jax.numpy.take_along_axis(x, index, 1).sum()

        index = targets(rows, classes)[:, None]
        return self.compiled(self.jax.value_and_grad(total), *self.arrays(normal(rows, classes), index))

    def step(self, x, t, parameters, logits):
        def descend(parameters, x, t):
            def loss(parameters):
                return self.loss(logits(x, *parameters), t)

            value, gradients = self.jax.value_and_grad(loss)(parameters)
            return [p - LEARNING_RATE * g for p, g in zip(parameters, gradients)], value

        for donated in ((), (0,)):
            compiled = self.jax.jit(descend, donate_argnums=donated)
            current = [self.jax.numpy.array(parameter) for parameter in parameters]

            def repeat():
                nonlocal current
                current, loss = self.jax.block_until_ready(compiled(current, x, t))
                return float(loss)

            yield repeat

    def linear_classifier_step(self):
        objects, features, classes = CLASSIFIER
        x, t = self.arrays(normal(objects, features), targets(objects, classes))
        parameters = self.arrays(normal(classes, features), normal(classes))
        return self.step(x, t, parameters, lambda x, weight, bias: x @ weight.T + bias)

    def perceptron_step(self):
        objects, inputs, hidden, classes = PERCEPTRON
        x, t = self.arrays(normal(objects, inputs), targets(objects, classes))
        values = weight(hidden, inputs), normal(hidden), weight(classes, hidden), normal(classes)
        parameters = self.arrays(*values)

        def logits(x, weight1, bias1, weight2, bias2):
            return self.jax.nn.relu(x @ weight1.T + bias1) @ weight2.T + bias2

        return self.step(x, t, parameters, logits)

    def matmul(self, n, k, m):
        return self.compiled(self.jax.numpy.matmul, *self.arrays(normal(n, k), normal(k, m)))


def main(library, threads, *cases):
    library = {"torch": Torch, "jax": Jax}[library](threads)
    gc.disable()
    for case in cases:
        *words, last = case.split(" ")
        arguments = [int(size) for size in last.split("x")] if last[0].isdigit() else []
        if words == ["operation"]:
            arguments = [last]
        method = getattr(library, "_".join(words if arguments else [*words, last]), None)
        if method is None:
            continue
        for way, repeat in enumerate(method(*arguments)):
            # The digest comes first: it is of parameters that no step has changed.
            result = {"digest": digest(repeat()), "ms": 1e3 * median_seconds(repeat)}
            about = {"case": case, "library": library.name, "version": library.version, "threads": threads}
            print(json.dumps(about | {"way": way} | result), flush=True)
        gc.collect()


if __name__ == "__main__":
    threads = int(sys.argv[2])
    # Both libraries start one thread for each core that they may run on; JAX has no other switch. This must
    # come before they are loaded.
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    import numpy as np

    NUMBERS = sys.argv[3]
    main(sys.argv[1], threads, *sys.argv[4:])
