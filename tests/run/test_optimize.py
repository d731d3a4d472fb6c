"""The run as a supervisor, with children that are told how to end: what one breaks, the others don't feel."""

import hashlib
import time
from pathlib import Path

import pytest

from engine import ask, events
from engine.errors import BadInput, EdgewiseError
from engine.run import artifacts, measuring, optimize, tasks
from engine.run.elsewhere import Away
from engine.store import calibrations
from engine.techniques import TECHNIQUES
from engine.vocabulary import Artifact, Step, Variant
from engine.wall import sandbox
from engine.wall.sandbox import Failed

LAYERS = [
    {"name": "conv1", "kind": "conv", "shape": [8, 1, 3, 3], "macs": 1000, "is_output": False},
    {"name": "fc", "kind": "dense", "shape": [10, 8], "macs": 80, "is_output": True},
]
FACTS = {
    "framework": "pytorch",
    "layers": LAYERS,
    "parameters": 152,
    "macs": 1080,
    "labelled": True,
    "quantized": False,
    "unprunable": "",
    "untraceable": "",
    "evaluate_images_per_s": 5000.0,
}


class Children:
    """Stands in for the wall: answers each task, or ends as `trouble` says, {(task, technique or variant):
    error}.
    """

    def __init__(self, trouble: dict | None = None, **facts):
        self.found, self.trouble, self.asked = FACTS | facts, trouble or {}, []
        self.limits_s: dict[tuple[str, str], float] = {}

    def __call__(self, module: str, request: dict, limits, watch, log, template=None) -> dict:
        task, technique = request["task"], request.get("technique", "")
        self.asked.append((task, technique))
        self.limits_s[task, technique] = limits.seconds
        for name in (
            technique,
            *request.get("artifacts", {}),
            *request.get("paths", {}),
            Path(request.get("path", "")).parent.name,
        ):
            if (task, name) in self.trouble:
                # what a technique finished before it died stays
                if technique in TECHNIQUES:
                    self.make(request, TECHNIQUES[technique].variants[:1], watch)
                raise self.trouble[task, name]
        if task == "technique":
            known = {t.id: t.variants for t in TECHNIQUES.values()}
            self.make(request, known.get(technique, (technique,)), watch)
            return {}
        return getattr(self, task)(request)

    def make(self, request: dict, variants: tuple[str, ...], watch) -> None:
        for name in variants:
            path = Path(request["folder"], "artifacts", name, "model.onnx")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(name.encode())
            artifact = Artifact(
                path=f"artifacts/{name}/model.onnx",
                format="onnx",
                bytes=len(name),
                sha256=hashlib.sha256(name.encode()).hexdigest(),
            )
            made = Variant(
                id=name,
                technique=name.split("@")[0],
                status="done",
                artifacts=[artifact],
                size_bytes=len(name),
                validation_accuracy=0.9,
                steps=[Step(what="make", why="A test wants it.")],
            )
            watch.on_message({"kind": "variant_made", "variant": self.told(made.model_dump(mode="json"))})

    def told(self, variant: dict) -> dict:
        return variant

    def prepare_data(self, request: dict) -> dict:
        return tasks.answer(request, lambda message: None)

    def facts(self, request: dict) -> dict:
        return self.found

    def sensitivity(self, request: dict) -> dict:
        return {"rows": []}

    def accuracy(self, request: dict) -> dict:
        return {
            name: {
                "parameters": 152,
                "nonzero_parameters": 152,
                "macs": 1080,
                "zero_share": 0.0,
                "accuracy": {"accuracy": 0.9, "accuracy_drop_pp": 0.0},
                "compressed_bytes": 5,
            }
            for name in request["artifacts"]
        }

    def timing(self, request: dict) -> dict:
        return {
            name: {
                "runtime": "onnxruntime",
                "runtime_version": "1",
                "threads": 1,
                "interleaved": True,
                "throughput_per_s": 1000.0,
                "latency_ms": {"p50": 1.0, "p95": 1.0, "p99": 1.0},
            }
            for name in request["paths"]
        }

    def memory(self, request: dict) -> dict:
        return {"peak_memory_bytes": 30_000_000}


@pytest.fixture
def supervise(workspace, asked, monkeypatch):
    """Runs an experiment with these children; returns the variants by id and the events."""

    def run(children: Children, elsewhere=None, **changes):
        monkeypatch.setattr(sandbox, "run", children)
        run_id, told = workspace.create(asked(**changes)), []
        experiment = workspace.experiment(run_id)
        made = optimize.optimize(experiment, workspace, run_id, told.append, elsewhere=elsewhere)
        run.id = run_id
        return {v.id: v for v in made}, told

    return run


def ended(told: list) -> dict[str, events.LineChanged]:
    return {e.technique: e for e in told if isinstance(e, events.LineChanged) and e.status != "working"}


def test_all_is_well(supervise, workspace):
    found, told = supervise(Children())
    assert set(found) == {"baseline", *(v for t in TECHNIQUES.values() for v in t.variants)}
    assert all(
        v.status == "done" and v.host.interleaved and v.host.peak_memory_bytes == 30_000_000
        for v in found.values()
    )
    assert {e.status for e in ended(told).values()} == {"done"}
    assert workspace.run(supervise.id).recommendation.winner in found


class WithSpare(Children):
    """Its techniques make their spare variants too."""

    def make(self, request: dict, variants: tuple[str, ...], watch) -> None:
        technique = TECHNIQUES.get(request.get("technique", ""))
        super().make(request, variants + (technique.spare if technique else ()), watch)


def test_a_spare_variant_is_one_of_the_run_where_it_is_made(supervise):
    found, _ = supervise(WithSpare(), techniques=["ptq_int8"])
    assert set(found) == {"baseline", "ptq_int8", "ptq_int8@mixed"}
    assert found["ptq_int8@mixed"].status == "done" and found["ptq_int8@mixed"].accuracy == 0.9


def test_variants_that_do_not_fit_into_memory_together_are_timed_in_lots_beside_the_baseline(
    supervise, monkeypatch
):
    monkeypatch.setattr(measuring, "needed_bytes", lambda model: 0)
    children = Children()
    found, told = supervise(children)
    assert children.asked.count(("timing", "")) == 1 + len(TECHNIQUES) + len(found) - 1
    assert all(
        v.status == "done" and v.host.interleaved and v.host.peak_memory_bytes == 30_000_000
        for v in found.values()
    )
    assert (
        sum("timed in lots, each with baseline: 1.000 ms" in getattr(e, "text", "") for e in told)
        == len(found) - 2
    )


def test_what_the_data_set_has_too_little_of_is_said_at_the_start(supervise, monkeypatch):
    monkeypatch.setattr(ask, "TO_CALIBRATE", 10_000)
    told = supervise(Children(), techniques=["ptq_int8", "fp16"])[1]
    said = [(e.technique, e.text) for e in told if isinstance(e, events.Logged)]
    assert len(said) == 1 and said[0][0] == "baseline"
    assert "fewer than 10000: INT8 after training may lose accuracy" in said[0][1]


def test_sensitivity_is_asked_for_once_and_only_where_needed(supervise):
    children = Children()
    supervise(children)
    assert children.asked.count(("sensitivity", "")) == 1
    children = Children()
    supervise(children, techniques=["fp16", "ptq_int8"])
    assert ("sensitivity", "") not in children.asked


class Machines:
    """Stand in for other machines: what is made there, or why it is not, by technique."""

    def __init__(self, children: Children, trouble: dict):
        self.children, self.trouble, self.made, self.closed = children, trouble, [], False

    def make(self, request, limits, begun) -> None:
        if request.technique in self.trouble:
            raise self.trouble[request.technique]
        watch = begun("tcp://10.0.0.2:4000")
        if request.technique == "prune_structured":
            time.sleep(0.2)  # what takes its networks waits all the same
        self.children.make(request.sent(), TECHNIQUES[request.technique].variants, watch)
        self.made.append(request.technique)

    def close(self) -> None:
        self.closed = True


def test_what_is_made_elsewhere_is_measured_here_and_what_is_not_is_made_here(supervise):
    children, gone = Children(), Away("No scheduler answered: it is made on this machine.")
    lost, wrong = Failed("its worker was lost twice"), BadInput("No image.")
    machines = Machines(children, {"fp16": lost, "ptq_int4": gone, "distill": wrong})
    found, told = supervise(children, machines)
    here = [name for task, name in children.asked if task == "technique"]
    assert here == ["baseline", "ptq_int4"] and machines.closed
    assert machines.made.index("hybrid") > machines.made.index("prune_structured")
    assert found["fp16"].reason == "its worker was lost twice" and found["distill@0.5"].reason == "No image."
    assert {v.id for v in found.values() if v.status == "failed"} == {"fp16", *TECHNIQUES["distill"].variants}
    assert all(v.host.interleaved and v.accuracy == 0.9 for v in found.values() if v.status == "done")
    texts = [e.text for e in told if isinstance(e, events.Logged)]
    assert str(gone) in texts and "made on tcp://10.0.0.2:4000" in texts
    assert [ended(told)[name].status for name in ("fp16", "ptq_int4", "hybrid")] == ["failed", "done", "done"]


def test_a_technique_that_dies_keeps_what_it_finished_and_harms_no_other(supervise):
    reason = "its process was killed (signal 9, SIGKILL)"
    found, told = supervise(Children(trouble={("technique", "prune_structured"): Failed(reason)}))
    first, *rest = TECHNIQUES["prune_structured"].variants
    assert found[first].status == "done" and found[first].accuracy == 0.9
    assert {found[v].reason for v in rest} == {reason} and {found[v].status for v in rest} == {"failed"}
    assert all(v.status == "done" for v in found.values() if v.technique != "prune_structured")
    assert ended(told)["hybrid"].status == "done"


def test_a_file_that_no_runtime_survives_fails_alone(supervise):
    found, _ = supervise(
        Children(trouble={("accuracy", "ptq_int4"): Failed("its process was killed (signal 11, SIGSEGV)")})
    )
    assert (
        found["ptq_int4"].status == "failed"
        and "could not be measured: its process was killed" in found["ptq_int4"].reason
    )
    assert found["ptq_int4@mixed"].status == "done"


def test_without_a_baseline_there_is_no_run(supervise):
    with pytest.raises(EdgewiseError, match="The model could not be exported: an operator is missing"):
        supervise(Children(trouble={("technique", "baseline"): Failed("an operator is missing")}))


@pytest.mark.parametrize("task", ["prepare_data", "facts"])
def test_a_wrong_data_set_ends_the_run_with_its_sentence(supervise, task):
    children = Children(
        trouble={(task, ""): BadInput("The model takes images of 28x28x1 and the data set has 32x32x3.")}
    )
    with pytest.raises(BadInput, match="The model takes images"):
        supervise(children)


def test_what_does_not_apply_is_skipped_before_any_time_is_spent(supervise):
    children = Children(unprunable="its layers can't be followed")
    found, told = supervise(children)
    for name in ("prune_structured", "hybrid", "distill"):
        assert {found[v].status for v in TECHNIQUES[name].variants} == {"skipped"}
        assert ended(told)[name].reason == "its layers can't be followed"
        assert ("technique", name) not in children.asked
    assert found["ptq_int8"].status == "done"


def test_a_quantized_model_or_one_without_layers_is_left_alone(supervise):
    found, _ = supervise(Children(quantized=True))
    assert {v.status for v in found.values() if v.id != "baseline"} == {"skipped"} and found[
        "fp16"
    ].reason == "the model is quantized already"
    found, _ = supervise(Children(layers=[]))
    assert "no convolution or dense layer" in found["ptq_int8"].reason


@pytest.mark.parametrize(
    "facts", [{"parameters": 129_000_000}, {"layers": 120 * LAYERS[:1] + LAYERS[1:]}], ids=["large", "deep"]
)
def test_a_large_or_deep_network_counts_as_hanging_later(supervise, facts):
    small, other = Children(), Children(**facts)
    for children in (small, other):
        supervise(children, techniques=["ptq_int4"])
    for child in (("technique", "ptq_int4"), ("sensitivity", "")):
        assert other.limits_s[child] > 2 * small.limits_s[child] > 200


def test_lost_sensitivity_or_timing_or_memory_does_not_lose_the_run(supervise, workspace):
    found, _ = supervise(
        Children(trouble={("sensitivity", ""): Failed("it crashed")}), techniques=["ptq_int4"]
    )
    assert found["ptq_int4"].status == "done"
    found, _ = supervise(Children(trouble={("memory", "fp16"): Failed("it crashed")}), techniques=["fp16"])
    assert (
        found["fp16"].host.peak_memory_bytes is None
        and found["baseline"].host.peak_memory_bytes == 30_000_000
    )
    assert workspace.run(supervise.id).recommendation


def test_sensitivity_that_failed_is_remembered_with_its_reason_and_asked_for_once(supervise, workspace):
    children = Children(trouble={("sensitivity", ""): Failed("it crashed")})
    found, told = supervise(children)
    assert children.asked.count(("sensitivity", "")) == 1
    line = ended(told)["sensitivity"]
    assert (line.status, line.reason) == ("failed", "it crashed")
    optimize.optimize(workspace.experiment(supervise.id), workspace, supervise.id, lambda event: None)
    assert children.asked.count(("sensitivity", "")) == 1
    assert {v.status for v in found.values()} == {"done"}


def test_sensitivity_that_nothing_can_use_is_told_as_skipped(supervise):
    _, told = supervise(Children(quantized=True))
    assert ended(told)["sensitivity"].status == "skipped"


@pytest.mark.parametrize("error", [Failed("it crashed"), BadInput("No image is left.")])
def test_timing_that_is_lost_does_not_lose_the_run(supervise, workspace, error):
    """The first timing of each variant stands; only the last one, of all together, is lost."""
    children = Children()

    def timing(request: dict) -> dict:
        if len(request["paths"]) > 2:
            raise error
        return Children.timing(children, request)

    children.timing = timing
    found, told = supervise(children, techniques=["fp16", "dynamic_int8"])
    assert {v.status for v in found.values()} == {"done"}
    assert all(
        not v.host.interleaved and v.host.latency_ms.p50 == 1.0 and v.host.peak_memory_bytes == 30_000_000
        for v in found.values()
    )
    assert ended(told)["timing"].status == "failed" and ended(told)["timing"].reason == str(error)
    assert workspace.run(supervise.id).recommendation


def test_nothing_is_weighed_while_something_is_timed_or_trained(supervise):
    class Watched(Children):
        at_work, together = [], []

        def __call__(self, module, request, *rest):
            task = request["task"]
            if task == "technique" and request["seconds"]:
                task = "training"
            self.at_work.append(task)
            if "memory" in self.at_work and {"timing", "training"} & set(self.at_work):
                self.together.append(tuple(self.at_work))
            time.sleep(0.3 if task in ("memory", "training") else 0)
            try:
                return super().__call__(module, request, *rest)
            finally:
                self.at_work.remove(task)

    children = Watched()
    found, _ = supervise(children, techniques=["fp16", "dynamic_int8", "qat_int8"])
    assert children.together == []
    assert all(v.host.peak_memory_bytes == 30_000_000 for v in found.values() if v.status == "done")


def test_a_lot_that_is_lost_does_not_lose_the_others(supervise, monkeypatch):
    monkeypatch.setattr(measuring, "needed_bytes", lambda model: 0)
    children = Children()
    techniques, timed = ["fp16", "dynamic_int8"], []

    def timing(request: dict) -> dict:
        if (lot := list(request["paths"])) == ["baseline", "dynamic_int8"] and lot in timed:
            raise Failed("it crashed")  # the first time was its provisional timing
        timed.append(lot)
        return Children.timing(children, request)

    children.timing = timing
    found, told = supervise(children, techniques=techniques)
    assert [found[name].host.interleaved for name in ("baseline", "fp16", "dynamic_int8")] == [
        True,
        True,
        False,
    ]
    assert ended(told)["timing"].reason == "it crashed"


def test_a_system_that_tells_no_peak_memory_does_not_lose_the_run(supervise, workspace):
    found, _ = supervise(
        Children(trouble={("memory", "fp16"): BadInput("This system does not tell.")}), techniques=["fp16"]
    )
    assert found["fp16"].host.peak_memory_bytes is None and found["fp16"].host.interleaved
    assert workspace.run(supervise.id).recommendation


def test_peak_memory_is_none_where_the_system_tells_none(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(artifacts.Path, "read_text", lambda path: "Name:\tpython\nVmRSS:\t 1 kB\n")
        assert artifacts.peak_bytes() is None
    assert artifacts.peak_bytes() > 1_000_000


def test_a_network_that_one_runtime_can_not_have_is_made_for_the_other(supervise, workspace):
    children, runtimes = Children(), []
    make = children.make

    def make_onnx_only(request: dict, variants, watch) -> None:
        runtimes.append(request["runtime"])
        if request["runtime"] == "litert":
            raise Failed("the converter can't follow it")
        make(request, variants, watch)

    children.make = make_onnx_only
    found, told = supervise(children, techniques=["fp16"], runtime="litert")
    assert runtimes == ["litert", "onnxruntime", "onnxruntime"] and found["fp16"].status == "done"
    run = workspace.run(supervise.id)
    assert run.experiment.runtime == "onnxruntime" and ended(told)["baseline"].status == "done"
    says = (
        "can't be written as TFLite, for LiteRT, because the converter can't follow it: this run's files are"
    )
    assert says in run.experiment.runtime_note and run.experiment.runtime_note in found["baseline"].notes


def test_finished_variants_are_not_made_again(supervise, workspace, monkeypatch):
    children = Children(trouble={("technique", "ptq_int4"): KeyboardInterrupt()})
    with pytest.raises(KeyboardInterrupt):
        supervise(children, techniques=["ptq_int8", "fp16", "ptq_int4"])
    again = Children()
    monkeypatch.setattr(sandbox, "run", again)
    run_id = workspace.runs()[0]["id"]
    optimize.optimize(workspace.experiment(run_id), workspace, run_id, lambda event: None)
    assert [asked for asked in again.asked if asked[0] in ("technique", "facts")] == [
        ("technique", "ptq_int4")
    ]
    assert {v.status for v in workspace.variants(run_id)} == {"done"}


def test_the_budget_is_split_by_weight_over_what_trains(supervise):
    _, told = supervise(Children(), time_budget_s=1000)
    seconds = next(e.seconds for e in told if isinstance(e, events.PlanMade))
    trains = [t for t in TECHNIQUES.values() if t.trains]
    spent = sum(seconds[t.id] - 6 - 2 * len(t.variants) for t in trains)
    assert spent == pytest.approx(0.7 * 1000)
    hybrid = TECHNIQUES["hybrid"]
    assert seconds["hybrid"] - 6 - 2 * len(hybrid.variants) == pytest.approx(
        700 * hybrid.weight / sum(t.weight for t in trains)
    )


def test_only_preparing_data_may_use_the_network(workspace, asked, monkeypatch):
    allowed = {}
    children = Children()

    def watched(module, request, limits, watch, log, template=None):
        allowed.setdefault(request["task"], set()).add(limits.network)
        return children(module, request, limits, watch, log)

    monkeypatch.setattr(sandbox, "run", watched)
    run_id = workspace.create(asked(techniques=["fp16"]))
    optimize.optimize(workspace.experiment(run_id), workspace, run_id, lambda event: None)
    assert allowed.pop("prepare_data") == {True} and all(v == {False} for v in allowed.values())


class WithProfiles(Children):
    """Answers with a profile that the estimator can't read."""

    def accuracy(self, request: dict) -> dict:
        found = super().accuracy(request)
        return {name: {**figures, "profile": {"layers": "none of them"}} for name, figures in found.items()}


def test_an_error_in_the_estimator_costs_the_estimate_and_not_the_run(supervise):
    found, told = supervise(WithProfiles(), techniques=["ptq_int8"])
    assert {v.status for v in found.values()} == {"done"} and not any(v.estimates for v in found.values())
    said = [e.text for e in told if isinstance(e, events.Logged) and "error in the estimator" in e.text]
    assert len(said) == len(found)


class Liars(Children):
    """A technique's child that tells of its variants what is not so."""

    def __init__(self, lie: dict):
        super().__init__()
        self.lie = lie

    def told(self, variant: dict) -> dict:
        return variant | self.lie if variant["id"] == "fp16" else variant


def elsewhere(path: str, size: int = 4, **more) -> dict:
    return {"artifacts": [{"path": path, "format": "onnx", "bytes": size, "sha256": "0" * 64, **more}]}


@pytest.mark.parametrize(
    "lie",
    [
        {"id": "baseline"},
        {"id": "../../fp16"},
        {"id": 7},
        {"status": "queued"},
        {"steps": "many"},
        {"notes": ["x" * 6_000_000]},
        elsewhere("/etc/hostname"),
        elsewhere("artifacts/fp16/../../experiment.json"),
        elsewhere("artifacts/baseline/model.onnx", 8),
        elsewhere("artifacts/fp16/model.onnx", 5),
        elsewhere("artifacts/fp16/none.onnx"),
        elsewhere("artifacts/fp16/model.onnx", decoded_path="experiment.json"),
    ],
)
def test_a_child_that_tells_of_what_is_not_its_own_fails_alone(supervise, workspace, lie):
    found, _ = supervise(Liars(lie), techniques=["fp16", "dynamic_int8"])
    assert found["fp16"].status == "failed" and "its process told of" in found["fp16"].reason
    assert found["dynamic_int8"].status == found["baseline"].status == "done"
    assert found["baseline"].artifacts[0].path == "artifacts/baseline/model.onnx"


def test_what_a_child_may_not_decide_is_not_taken_from_it(supervise):
    lie = {"technique": "baseline", "parameters": 1, "accuracy": 1.0, "admissible": "yes", "size_bytes": 1}
    found, _ = supervise(Liars(lie), techniques=["fp16"])
    made = found["fp16"]
    assert (made.technique, made.parameters, made.accuracy, made.size_bytes) == ("fp16", 152, 0.9, 4)


def test_a_file_that_is_exchanged_after_it_was_told_of_is_not_used(supervise, workspace):
    children = Children()
    make = children.make

    def make_and_exchange(request: dict, variants, watch) -> None:
        make(request, variants, watch)
        if variants == ("fp16",):
            path = Path(request["folder"], "artifacts", "fp16", "model.onnx")
            path.unlink()
            path.symlink_to(Path(request["folder"], "experiment.json"))

    children.make = make_and_exchange
    found, _ = supervise(children, techniques=["fp16"])
    assert found["fp16"].status == "failed" and "not its own" in found["fp16"].reason


@pytest.mark.parametrize("answer", [{}, {"fp16": 7}, {"fp16": {"accuracy": {"accuracy": "much"}}}])
def test_an_answer_that_is_none_fails_alone(supervise, answer):
    children = Children()

    def accuracy(request: dict) -> dict:
        right = Children.accuracy(children, request)
        if "fp16" not in request["artifacts"]:
            return right
        return {name: right["fp16"] | given if given != 7 else 7 for name, given in answer.items()}

    children.accuracy = accuracy
    found, _ = supervise(children, techniques=["fp16", "dynamic_int8"])
    assert found["fp16"].status == "failed" and "could not be measured" in found["fp16"].reason
    assert found["dynamic_int8"].status == "done"


def test_a_child_can_not_speak_for_another_line(supervise):
    children = Children()
    make = children.make

    def make_and_say(request: dict, variants, watch) -> None:
        watch.on_message({"kind": "log", "technique": "baseline", "text": f"of {request['technique']}"})
        make(request, variants, watch)

    children.make = make_and_say
    _, told = supervise(children, techniques=["fp16"])
    said = [(e.technique, e.text) for e in told if isinstance(e, events.Logged)]
    assert said == [("baseline", "of baseline"), ("fp16", "of fp16")]


def test_an_interrupted_write_of_a_variant_is_done_again(supervise, workspace):
    supervise(Children(), techniques=["fp16"])
    folder = workspace.folder(supervise.id) / "variants"
    (folder / "fp16.json").write_text('{"id": "fp')
    optimize.optimize(workspace.experiment(supervise.id), workspace, supervise.id, lambda event: None)
    assert {v.id: v.status for v in workspace.variants(supervise.id)} == {"baseline": "done", "fp16": "done"}


def test_the_workspace_s_calibrations_are_read_once_a_run(supervise, monkeypatch):
    asked = []
    monkeypatch.setattr(calibrations, "calibration_of", lambda device, workspace: asked.append(device))
    supervise(Children(), techniques=["fp16", "dynamic_int8"])
    assert sorted(asked) == sorted(set(asked)) and asked


def test_a_calibration_that_can_not_be_read_is_none(workspace):
    folder = workspace.home / "calibration" / "raspberry_pi_4"
    folder.mkdir(parents=True)
    (folder / "a.json").write_text("{")
    (folder / "b.json").write_text('{"device": "raspberry_pi_4", "rows": "of another version"}')
    assert calibrations.calibrations_in(workspace) == {}
