"""Two runs beside each other: every difference is a row, and nothing else."""

from engine.judge.differences import side_by_side
from engine.vocabulary import Constraints, Recommendation, Run, Variant


def run(asked, *variants: Variant, **changes) -> Run:
    choice = Recommendation(winner=variants[0].id if variants else None, ranking=[], reasons=[])
    return Run(
        id="x",
        state="done",
        created=0,
        experiment=asked(**changes),
        variants=list(variants),
        recommendation=choice,
    )


def variant(name: str, size: int) -> Variant:
    return Variant(id=name, technique=name, status="done", size_bytes=size, accuracy=0.9)


def test_a_run_does_not_differ_from_itself(asked):
    one = run(asked, variant("fp16", 1000))
    rows = side_by_side(one, one)
    assert rows and not any(row.differs for row in rows)


def test_every_difference_is_told_once(asked):
    first = run(asked, variant("fp16", 1000), variant("ptq_int8", 500), seed=1)
    second = run(asked, variant("fp16", 2000), seed=2, constraints=Constraints(max_size_mb=1))
    told = {row.what: (row.first, row.second) for row in side_by_side(first, second) if row.differs}
    assert told["seed"] == ("1", "2") and told["limits"][0] == "no limits"
    assert told["fp16: size"] == ("1.00\u00a0kB", "2.00\u00a0kB") and "fp16: accuracy" not in told
    assert told["ptq_int8: status"] == ("done", "not asked for")
    assert "model" not in told and "device" not in told
