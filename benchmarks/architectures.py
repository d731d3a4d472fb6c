"""Which techniques work on which architectures: torchvision's networks with random weights and a small input.

Accuracy means nothing here (the weights are random); what counts is whether each variant is made, runs in its
runtime and is what it claims to be. A cell holds the size ratio to the baseline, or why there is none.
"""

import argparse
import json

from benchmarks import record
from benchmarks.engine_run import BUILD, random_network, run, uploaded
from engine.formats.inspect import inspect_model
from engine.techniques import TECHNIQUES

HOME = (
    BUILD / "home-architectures"
)  # a workspace of its own, so that benchmarks do not queue behind each other

SIZE = 32
PREPROCESSING = {
    "height": SIZE,
    "width": SIZE,
    "color": "rgb",
    "layout": "NCHW",
    "mean": [0.0, 0.0, 0.0],
    "std": [1.0, 1.0, 1.0],
}
NETWORKS = (
    "mobilenet_v2",
    "mobilenet_v3_small",
    "resnet18",
    "squeezenet1_1",
    "shufflenet_v2_x1_0",
    "efficientnet_b0",
    "densenet121",
    "vgg11",
)


def made(name: str):
    """Returns the upload of a network with seeded random weights, as a whole module written by torch.save."""
    return uploaded(random_network(name), PREPROCESSING).model_copy(update={"input_shape": (SIZE, SIZE, 3)})


def cells(variants: list, technique: str) -> str:
    """Returns one table cell for a technique: how many variants were made, or the reason why not."""
    mine = [v for v in variants if v.technique == technique]
    done = [v for v in mine if v.status == "done"]
    if not done:
        return f"{mine[0].status}: {mine[0].reason}"
    base = next(v for v in variants if v.id == "baseline")
    text = f"{len(done)}/{len(mine)} done, {max(base.size_bytes / v.size_bytes for v in done):.1f}x"
    bad = [v for v in mine if v.status != "done"]
    return text + (f" ({bad[0].id} {bad[0].status}: {bad[0].reason})" if bad else "")


def main() -> None:
    """Runs every technique on every network, writes results/architectures.*; finished networks are kept in
    build/.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=20, help="time budget of each run")
    parser.add_argument("--networks", default=",".join(("digits", *NETWORKS)))
    arguments = parser.parse_args()
    names, rows, states = arguments.networks.split(","), [], {}
    for name in names:
        kept = BUILD / f"architectures-{name}.json"
        if not kept.exists():
            model, data = (
                (inspect_model("digits/pytorch/small"), "digits")
                if name == "digits"
                else (made(name), "cifar10")
            )
            result = run(model, data, "raspberry_pi_4", list(TECHNIQUES), arguments.seconds, home=HOME)
            kept.write_text(
                json.dumps(
                    {
                        "row": [
                            name,
                            *(cells(result.variants, t) for t in TECHNIQUES),
                            round(result.seconds),
                        ],
                        "states": {v.id: v.status for v in result.variants},
                    }
                )
            )
        found = json.loads(kept.read_text())
        rows.append(found["row"])
        states[name] = found["states"]
        print(rows[-1], flush=True)
    failed = [
        f"{name} {variant}"
        for name, found in states.items()
        for variant, status in found.items()
        if status == "failed"
    ]
    left_out = [name for name in ("digits", *NETWORKS) if name not in names]
    figure = (", ".join(failed) or "no failure") + (f"; not run: {', '.join(left_out)}" if left_out else "")
    targets = [
        {
            "target": "every variant is made or skipped with a stated cause",
            "figure": figure,
            "met": not failed and not left_out,
        }
    ]
    record.write(
        "architectures",
        "Techniques by architecture (PyTorch, random weights, 32x32)",
        ["network", *TECHNIQUES, "run s"],
        rows,
        targets,
        time_budget_s=arguments.seconds,
        states=states,
    )


if __name__ == "__main__":
    main()
