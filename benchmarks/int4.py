"""INT4 without training: depthwise and plain networks, PyTorch to ONNX and to TFLite, Keras; pure and mixed.

The drops are paired, on the 1,000 lossless CIFAR-10 test images, with their 95 % intervals. Nothing is drawn
by chance, so one seed is all there is; but on a busy machine the sensitivity looks at fewer layers within its
time, and `@mixed` may then begin with others. Needs EDGEWISE_DATA (cifar10.npz) and, for ResNet-20,
EDGEWISE_UPLOADS (akamaster's resnet20). No Keras twin of MobileNetV2 is shipped; the medium network stands
for Keras.
"""

import argparse
import os

from benchmarks import record
from benchmarks.engine_run import BUILD, RESNET20, resnet20, run
from engine.formats.inspect import inspect_model

os.environ.setdefault(
    "OMP_WAIT_POLICY", "PASSIVE"
)  # as in a run's children: threads that spin starve each other

HOME = BUILD / "home-int4"  # a workspace of its own, so that benchmarks do not queue behind each other
CASES = {
    "MobileNetV2, ONNX": ("cifar10/pytorch/mobilenet_v2", "onnxruntime"),
    "MobileNetV2, TFLite": ("cifar10/pytorch/mobilenet_v2", "litert"),
    "ResNet-20, ONNX": (RESNET20, "onnxruntime"),
    "medium, ONNX": ("cifar10/pytorch/medium", "onnxruntime"),
    "medium of Keras, TFLite": ("cifar10/keras/medium", "litert"),
}
VARIANTS = ("baseline", "ptq_int8", "ptq_int8@mixed", "ptq_int4", "ptq_int4@mixed")
COLUMNS = [
    "network",
    "variant",
    "accuracy %",
    "drop pp",
    "from",
    "to",
    "p",
    "validation drop pp",
    "bytes",
    "times smaller",
    "made in s",
]
TOLERANCE_PP = 0.5  # of a run without a limit


def measured(case: str, seconds: int) -> list[dict]:
    """Runs the engine on one network and returns its variants' figures, the baseline first."""
    name, runtime = CASES[case]
    model = resnet20(HOME) if name == RESNET20 else inspect_model(name)
    found = run(
        model, "cifar10", "raspberry_pi_4", ["ptq_int8", "ptq_int4"], seconds, home=HOME, runtime=runtime
    )
    variants = {variant.id: variant for variant in found.variants}
    base = variants["baseline"]
    return [figures(case, variants[name], base) for name in VARIANTS if name in variants]


def figures(case: str, variant, base) -> dict:
    """Returns what a table row says of a variant, by column."""
    if variant.status != "done":
        return {"network": case, "variant": variant.id, "accuracy %": f"{variant.status}: {variant.reason}"}
    values = [
        round(100 * variant.accuracy, 2),
        round(variant.accuracy_drop_pp, 2),
        round(variant.accuracy_drop_low_pp, 2),
        round(variant.accuracy_drop_high_pp, 2),
        round(variant.p_value, 3),
        round(100 * (base.validation_accuracy - variant.validation_accuracy), 2),
        variant.size_bytes,
        round(base.size_bytes / variant.size_bytes, 2),
        variant.seconds,
    ]
    return dict(zip(COLUMNS, [case, variant.id, *values], strict=True))


def at_most(rows: list[dict], case: str, variant: str, most_pp: float, smaller: float = 0.0) -> dict:
    """Returns one target: a drop of at most `most_pp` at `smaller` times fewer bytes."""
    size = f" at {smaller} times smaller or more" if smaller else ""
    row = next((r for r in rows if (r["network"], r["variant"]) == (case, variant)), {})
    target = f"{case}, {variant}: {most_pp} pp or less{size}"
    if "drop pp" not in row:
        return {"target": target, "figure": row.get("accuracy %", "not run"), "met": False}
    return {
        "target": target,
        "figure": f"{row['drop pp']:.2f} pp ({row['from']:.2f} to {row['to']:.2f}) at {row['times smaller']}"
        " times",
        "met": row["drop pp"] <= most_pp and row["times smaller"] >= smaller,
    }


def main() -> None:
    """Runs the cases and writes results/int4.*"""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="time budget of each run")
    parser.add_argument("--cases", default=";".join(CASES), help="names of cases, apart by semicolons")
    arguments = parser.parse_args()
    rows = [row for case in arguments.cases.split(";") for row in measured(case, arguments.seconds)]
    mixed = [row for row in rows if row["variant"].endswith("@mixed") and "drop pp" in row]
    worst = max((row["validation drop pp"] for row in mixed), default=0.0)
    targets = [
        at_most(rows, "MobileNetV2, ONNX", "ptq_int4", 2.0),
        at_most(rows, "MobileNetV2, TFLite", "ptq_int4", 2.0),
        at_most(rows, "MobileNetV2, ONNX", "ptq_int4@mixed", 0.5, 5.5),
        at_most(rows, "MobileNetV2, TFLite", "ptq_int4@mixed", 0.5, 5.5),
        at_most(rows, "ResNet-20, ONNX", "ptq_int4", 0.5),
        {
            "target": f"mixed variants lose {TOLERANCE_PP} pp of the validation images or less",
            "figure": f"{worst:.2f} pp at worst, of {len(mixed)}",
            "met": bool(mixed) and worst <= TOLERANCE_PP,
        },
    ]
    table = [[row.get(column) for column in COLUMNS] for row in rows]
    title = "INT4 without training, 1,000 lossless CIFAR-10 test images"
    print(record.write("int4", title, COLUMNS, table, targets, time_budget_s=arguments.seconds).read_text())


if __name__ == "__main__":
    main()
