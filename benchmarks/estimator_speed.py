"""How long one prediction takes: `python -m benchmarks.estimator_speed`."""

import time
from collections.abc import Callable

from benchmarks import record
from estimator.devices import all_devices
from estimator.predict import estimate
from estimator.types import Layer, Profile

LAYERS, CANDIDATES = 100, 1000
COLUMNS = ["what", "first, ms", "median, ms", "99 % quantile, ms"]


def network(channels: int) -> Profile:
    """A made-up network of separable convolutions, read from no file."""
    layers = []
    for i in range(LAYERS):
        inner = 1 if i % 2 == 0 else channels
        kernel, elements = (3, 3) if inner == 1 else (1, 1), channels * 28 * 28
        macs = elements * inner * kernel[0] * kernel[1]
        layers.append(
            Layer(
                name=f"layer{i}",
                op="Conv",
                kind="depthwise" if inner == 1 else "conv",
                kernel=kernel,
                stride=(1, 1),
                output_shape=(1, channels, 28, 28),
                macs=macs,
                parameters=macs // 784,
                weight_bytes=4 * macs // 784,
                input_elements=elements,
                output_elements=elements,
            )
        )
    return Profile(
        format="onnx",
        precision="float32",
        layers=tuple(layers),
        parameters=sum(la.parameters for la in layers),
        macs=sum(la.macs for la in layers),
        weight_bytes=sum(la.weight_bytes for la in layers),
        input_elements=LAYERS * channels * 784,
        output_elements=LAYERS * channels * 784,
        peak_activation_bytes=8 * channels * 784,
        size_bytes=1,
    )


def times_ms(predict: Callable[[str], object]) -> list[float]:
    """Of one call a device, 20 times over, in the order of the calls."""
    found = []
    for device in list(all_devices()) * 20:
        start = time.perf_counter()
        predict(device)
        found.append(1000 * (time.perf_counter() - start))
    return found


def main() -> None:
    """Writes benchmarks/results/estimator_speed.*."""
    whole, rows = network(64), []
    for what, by_layer in ((f"a network of {LAYERS} layers", False), ("the same, by layer", True)):
        taken = times_ms(lambda device, by_layer=by_layer: estimate(whole, device, by_layer=by_layer))
        ordered = sorted(taken)
        middle, late = ordered[len(ordered) // 2], ordered[int(0.99 * len(ordered))]
        rows.append([what, round(taken[0], 2), round(middle, 3), round(late, 3)])
    candidates = [network(channels) for channels in range(8, 8 + CANDIDATES)]
    start = time.perf_counter()
    for candidate in candidates:
        estimate(candidate, "raspberry_pi_4")
    seconds = time.perf_counter() - start
    slowest = max(row[2] for row in rows)
    record.write(
        "estimator_speed",
        "Estimator: time of a prediction",
        COLUMNS,
        [
            *rows,
            [f"{CANDIDATES} candidates of {LAYERS} layers, one device", None, round(1000 * seconds), None],
        ],
        [
            {"target": "a prediction ≤ 5 ms", "figure": f"{slowest} ms by layer", "met": slowest <= 5},
            {"target": "1,000 candidates ≤ 1 s", "figure": f"{seconds:.2f} s", "met": seconds <= 1},
        ],
    )


if __name__ == "__main__":
    main()
