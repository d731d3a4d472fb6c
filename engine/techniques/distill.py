"""Distillation: a slimmer network of the same family learns from the uploaded model's softened answers.

Hinton et al., "Distilling the Knowledge in a Neural Network" (arXiv 1503.02531). The same student without the
teacher stands beside it, so that what the teacher gave can be seen.
"""

from engine.backends.protocol import Facts
from engine.techniques import prune_structured
from engine.techniques.technique import Technique
from engine.techniques.workbench import Workbench

WIDTH = 0.5
TEMPERATURE, MIX = 4.0, 0.7
LEARNING_RATE = 3e-3  # the student starts from random weights
SHARE = 0.5


def run(bench: Workbench) -> None:
    """Makes the student with the teacher and the same student without."""
    for variant, teacher in ((f"distill@{WIDTH}", True), (f"distill@{WIDTH},alone", False)):
        with bench.variant(variant) as making:
            seed = bench.job.seed  # the same first weights for both, so that only the teacher differs
            making.step(
                "slim",
                "A network of the same family, its layers half as wide, with fresh weights.",
                width=WIDTH,
                seed=seed,
            )
            student = bench.backend.slim(bench.network(), WIDTH, seed, bench.job.channel_multiple)
            if teacher:
                trained = making.train(
                    student,
                    SHARE,
                    "Learns the labels and the teacher's softened answers.",
                    LEARNING_RATE,
                    teacher=bench.network(),
                    temperature=TEMPERATURE,
                    mix=MIX,
                )
            else:
                trained = making.train(
                    student, SHARE, "Learns the labels alone, for as many seconds.", LEARNING_RATE
                )
                making.note("Made for comparison: the same student trained without the teacher.")
            making.export(trained.network)


def why_not(facts: Facts) -> str:
    """The student is made by the channel remover, so channels must be followed."""
    return prune_structured.why_not(facts)


TECHNIQUE = Technique(
    id="distill",
    title="Distillation",
    precision="float32",
    trains=True,
    weight=2,
    needs=(),
    text="Trains a slimmer network of the same family to answer like yours.",
    variants=(f"distill@{WIDTH}", f"distill@{WIDTH},alone"),
    why_not=why_not,
    run=run,
    settings={
        str(WIDTH): f"{WIDTH:.0%} of the width, taught by your model",
        f"{WIDTH},alone": f"{WIDTH:.0%} of the width, trained on labels alone",
    },
)
