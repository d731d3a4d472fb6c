"""Ranges of activations: what every tensor of a float TFLite file takes on over calibration images, seen in
LiteRT.
"""

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from engine.backends.tflite.file import FLOAT, TFLite

BINS = 2048
PERCENTILE = 0.9999
BATCH = 20
LEVELS = 128  # of one side of an 8-bit range, which the entropy rule looks for


def ranges(file: TFLite, inputs: np.ndarray, rule: str, threads: int) -> dict[int, tuple[float, float]]:
    """Returns (low, high) by tensor for every activation. inputs: preprocessed float32 images [n, h, w, c].

    `minmax` takes the extremes; `percentile` clips to 99.99 % of the values on each side; `entropy` clips
    where the 8-bit distribution stays closest to the float one (Kullback-Leibler divergence, as TensorRT
    does).
    """
    ends = (o.outputs for o in file.graph.operators)
    made = sorted({int(i) for indices in (file.graph.inputs, *ends) for i in indices})
    wanted = [i for i in made if file.tensor(i).type == FLOAT and not file.is_constant(i)]
    runner = _Runner(file.bytes(compact=False), wanted, inputs, threads)
    found: dict[int, tuple[float, float]] = {}
    for values in runner:
        for index, array in values.items():
            low, high = float(array.min()), float(array.max())
            before = found.get(index, (low, high))
            found[index] = (min(low, before[0]), max(high, before[1]))
    if rule == "minmax":
        return found
    counts = {index: np.zeros(BINS, np.int64) for index in found}
    for values in runner:
        for index, array in values.items():
            if _has_bins(*found[index]):
                counts[index] += np.histogram(array, BINS, found[index])[0]
    clip = _percentile if rule == "percentile" else _entropy
    return {
        index: clip(counts[index], *limits) if _has_bins(*limits) else limits
        for index, limits in found.items()
    }


def _has_bins(low: float, high: float) -> bool:
    """Tells whether float32 can tell the bins of a range apart; a tensor that hardly changes has nothing to
    clip.
    """
    return high - low > max(1e-30, 4 * BINS * np.finfo(np.float32).eps * max(abs(low), abs(high)))


class _Runner:
    """Runs the images through the file and yields the values of the wanted tensors, batch by batch."""

    def __init__(self, data: bytes, wanted: list[int], inputs: np.ndarray, threads: int):
        self.inputs, self.wanted = inputs, wanted
        # the default delegate would fuse operators and hide the tensors between them
        self.interpreter = Interpreter(
            model_content=data,
            num_threads=threads,
            experimental_preserve_all_tensors=True,
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )
        self.input = self.interpreter.get_input_details()[0]["index"]
        self.batch = self._largest_batch()

    def _largest_batch(self) -> int:
        for size in (min(BATCH, len(self.inputs)), 1):
            try:
                self.interpreter.resize_tensor_input(self.input, (size, *self.inputs.shape[1:]))
                self.interpreter.allocate_tensors()
                return size
            except (RuntimeError, ValueError):
                continue  # a graph that is made for single images
        raise RuntimeError("the exported file can't be run for calibration")

    def __iter__(self):
        for start in range(0, len(self.inputs) - self.batch + 1, self.batch):
            self.interpreter.set_tensor(
                self.input, np.ascontiguousarray(self.inputs[start : start + self.batch], np.float32)
            )
            self.interpreter.invoke()
            yield {index: self.interpreter.get_tensor(index) for index in self.wanted}


def _percentile(counts: np.ndarray, low: float, high: float) -> tuple[float, float]:
    edges, share = np.linspace(low, high, BINS + 1), np.cumsum(counts) / counts.sum()
    first, last = int(np.searchsorted(share, 1 - PERCENTILE)), int(np.searchsorted(share, PERCENTILE))
    return float(edges[first]), float(edges[min(last, BINS - 1) + 1])


def _entropy(counts: np.ndarray, low: float, high: float) -> tuple[float, float]:
    """Looks for the threshold on absolute values; a bin's values count where its middle lies."""
    middles = np.linspace(low, high, 2 * BINS + 1)[1::2]
    reach = max(abs(low), abs(high))
    folded = np.histogram(np.abs(middles), BINS, (0, reach), weights=counts)[0]
    best, least = BINS, np.inf
    for kept in range(LEVELS, BINS + 1, 32):
        divergence = _divergence(folded, kept)
        if divergence < least:
            best, least = kept, divergence
    threshold = reach * best / BINS
    return max(low, -threshold), min(high, threshold)


def _divergence(counts: np.ndarray, kept: int) -> float:
    """Returns the divergence of the first `kept` bins, what lies beyond clipped into the last, from 128
    levels of them.
    """
    p = counts[:kept].astype(np.float64)
    level = (np.arange(kept) * LEVELS) // kept
    sums, filled = np.bincount(level, p, LEVELS), np.bincount(level, p > 0, LEVELS)
    q = np.where(p > 0, (sums / np.maximum(filled, 1))[level], 0.0)
    p[-1] += counts[kept:].sum()
    p, q = p / max(p.sum(), 1), q / max(q.sum(), 1e-12)
    at = p > 0
    return float(np.sum(p[at] * np.log(p[at] / np.maximum(q[at], 1e-12))))
