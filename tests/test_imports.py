"""Who may import whom: rooms only from those below, no circles, frameworks only where they belong, none in
the web process. An import inside a function counts as one at the top of the file.
"""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
OURS = ("app", "server", "pages", "deploy", "engine", "estimator", "models")
FRAMEWORKS = {
    *("torch", "torchvision", "torch_pruning", "tensorflow", "keras", "tf_keras", "onnx", "onnxruntime"),
    *(
        "onnxscript",
        "onnx2torch",
        "ai_edge_litert",
        "ai_edge_quantizer",
        "litert_torch",
        "tflite_runtime",
        "cv2",
    ),
    *("sklearn", "scipy", "h5py", "distributed", "dask"),
}

GROUND = ("estimator", "models", "engine.errors", "engine.device")
WORDS = (
    *("engine.errors", "engine.host", "engine.messages", "engine.vocabulary", "engine.events"),
    *(
        "engine.frameworks",
        "engine.runtimes",
        "engine.memory",
        "engine.watch",
        "estimator.types",
        "estimator.devices",
    ),
)
DATA = (*WORDS, "engine.store", "engine.device", "models", "engine.datasets")
FILES = (*DATA, "engine.wall", "engine.formats")
WORK = (
    *(*FILES, "estimator", "engine.backends", "engine.techniques"),
    *("engine.judge.measure", "engine.judge.limits", "engine.judge.estimates"),
)
FRONT = (
    *(*WORDS, "engine.version", "engine.wall", "engine.store", "engine.datasets", "engine.judge"),
    "engine.techniques",
    *("engine.ask", "engine.visitors", "engine.run", "engine.starter", "estimator", "models", "deploy"),
    # of the formats what knows no file's inside: the registry, and the question that goes behind the wall
    *("engine.formats.inspect", "engine.formats"),
    # the library, as anyone would use it
    *("engine.face", "engine.__init__"),
)
# room -> what it may import beside itself, both by the beginning of a module's name; the longest room counts
MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "estimator": (),
    "models": (),
    "models.train": ("models", "engine.device", "engine.datasets", "engine.store.files", "engine.errors"),
    "models.twin": ("models", "engine.device", "engine.datasets"),
    "engine.errors": (),
    "engine.device": (),
    "engine.host": (),
    "engine.messages": ("engine.errors",),
    "engine.frameworks": (),
    "engine.vocabulary": ("engine.errors", "estimator.types", "estimator.capability"),
    "engine.events": ("engine.errors", "engine.vocabulary", "engine.messages"),
    "engine.runtimes": (
        "engine.errors",
        "engine.host",
        "engine.frameworks",
        "engine.vocabulary",
        "estimator.devices",
    ),
    "engine.memory": ("engine.errors", "engine.vocabulary", "engine.frameworks"),
    "engine.wall": WORDS,
    "engine.store": (*WORDS, "estimator"),
    "engine.watch": ("engine.errors",),
    "engine.visitors": ("engine.errors", "engine.host", "engine.store", "engine.watch"),
    "engine.datasets": DATA,
    "engine.formats": FILES,
    "engine.backends": (*FILES, "estimator.profile", "estimator.types"),
    "engine.judge": (*DATA, "estimator"),
    "engine.techniques": WORK,
    "engine.ask": (*DATA, "estimator", "engine.techniques", "engine.formats", "engine.judge", "engine.wall"),
    "engine.run": (*WORK, "engine.judge", "engine.ask", "engine.visitors", "engine.version"),
    "engine.run.worker": (*WORK, "engine.run", "engine.cluster"),
    "engine.cluster": (*WORK, "engine.run", "engine.version"),
    "engine.starter": (*WORK, "engine.judge", "engine.ask", "engine.visitors", "engine.run", "models.train"),
    "engine.version": (),
    "deploy": (
        *(*WORDS, "engine.version", "engine.store", "engine.wall", "engine.device", "engine.datasets"),
        *("engine.techniques", "engine.run", "engine.backends", "engine.judge", "estimator", "models"),
    ),
    # runs on the device, where nothing else of ours is
    "deploy.station": (),
    # the text of a package's recipe.py, which nothing here imports
    "deploy.recipe_template": ("engine.__init__", "engine.errors"),
    "engine": FRONT,
    "engine.face": FRONT,
    "engine.client": ("engine.errors", "engine.vocabulary", "engine.events"),
    "engine.cli": (
        *("engine.cli_options", "engine.cli_results", "engine.cli_server", "engine.cli_batch"),
        *("engine.mcp", "engine.cluster", *FRONT),
    ),
    "engine.batch": FRONT,
    "engine.cli_batch": ("engine.batch", "engine.cli_options", *FRONT),
    "engine.cli_options": FRONT,
    "engine.cli_results": ("engine.cli_options", "engine.cli_server", *FRONT),
    "engine.cli_server": ("engine.client", *FRONT),
    "engine.__main__": ("engine.cli",),
    "engine.mcp": FRONT,
    "engine.api": FRONT,
    "engine.http": ("engine.api", *FRONT),
    "pages": FRONT,
    "app": ("pages", *FRONT),
    "server": ("app", "engine.http", *FRONT),
}
FRONTS = (
    "app",
    "server",
    "pages",
    "engine.__main__",
    "engine.cli",
    "engine.batch",
    "engine.cli_batch",
    "engine.cli_options",
    "engine.cli_results",
    "engine.cli_server",
    "engine.client",
    "engine.mcp",
    "engine.api",
    "engine.http",
    "engine.face",
    "engine.__init__",
)
# behind the wall, in a child, or in a command of its own
WITH_FRAMEWORKS = (
    *("engine.backends", "engine.formats", "estimator.profile", "estimator.fitting"),
    *("engine.device.model", "engine.device.model_opencv", "engine.device.realtime"),
    "deploy.station.source",  # OpenCV, for a camera
    *("engine.device.model_qnn", "deploy.targets.qualcomm.build_qnn"),  # where a package runs or is built for
    *("models", "engine.starter.training"),
    "engine.cluster",  # where EDGEWISE_SCHEDULER is set, or a worker is started
    "engine.datasets.corruptions",  # SciPy's filters, in a child
    "engine.datasets.presets",  # scikit-learn's digits and torchvision's downloads, fetched in a child
)
# a package is one folder
FLAT_SCRIPTS = {path.stem for path in (ROOT / "engine" / "device").glob("[a-z]*.py")}


@cache
def sources() -> dict[str, ast.Module]:
    """Returns every module of ours by its name, a package as `package.__init__`."""
    found = [p for p in ROOT.rglob("*.py") if p.relative_to(ROOT).parts[0].removesuffix(".py") in OURS]
    return {
        ".".join(p.relative_to(ROOT).with_suffix("").parts): ast.parse(p.read_text(encoding="utf-8"))
        for p in found
    }


@cache
def modules(name: str) -> frozenset[str]:
    """Returns the modules that one of ours imports anywhere, `from a import b` as `a.b` if that is one."""
    found = set()
    for node in ast.walk(sources()[name]):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{name}: a relative import; name the module in full"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                found.add(full if full in sources() or f"{full}.__init__" in sources() else node.module)
    return frozenset(
        f"{found_name}.__init__" if f"{found_name}.__init__" in sources() else found_name
        for found_name in found
    )


def ours(name: str) -> list[str]:
    return [module for module in modules(name) if module.split(".")[0] in OURS]


def is_in(name: str, rooms) -> bool:
    return any(name == room or name.startswith(room + ".") for room in rooms)


def room_of(name: str) -> str:
    return max((room for room in MAY_IMPORT if is_in(name, [room])), key=len)


def circles(arrows: dict[str, set[str]]) -> list[list[str]]:
    """Returns the groups of names that reach each other (Tarjan's strongly connected components)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for other in arrows.get(name, ()):
            if other not in index:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], index[other])
        if low[name] == index[name]:
            group = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            if len(group) > 1:
                found.append(sorted(group))

    for name in arrows:
        if name not in index:
            visit(name)
    return found


def test_there_is_something_to_check():
    assert len(sources()) > 100
    assert "engine.store.workspace" in modules("engine.run.jobs")
    assert "torch" in modules("engine.backends.torch.framework")
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]


def test_a_room_imports_only_from_those_below():
    wrong = [
        f"{name} imports {other}"
        for name in sources()
        for other in ours(name)
        if not is_in(other, (room_of(name), *MAY_IMPORT[room_of(name)]))
    ]
    assert wrong == []


def test_no_files_form_a_circle():
    assert circles({name: set(ours(name)) & set(sources()) for name in sources()}) == []


def test_no_rooms_form_a_circle():
    arrows: dict[str, set[str]] = {room: set() for room in MAY_IMPORT}
    for name in sources():
        arrows[room_of(name)] |= {room_of(other) for other in ours(name)} - {room_of(name)}
    assert circles(arrows) == []


def test_frameworks_stay_in_their_rooms():
    wrong = [
        f"{name} imports {other}"
        for name in sources()
        if not is_in(name, WITH_FRAMEWORKS)
        for other in modules(name)
        if other.split(".")[0] in FRAMEWORKS
    ]
    assert wrong == []


def test_runtimes_are_imported_where_they_are_used():
    """On a device only one of them is installed, so none may be needed to import the file."""
    top = [
        node
        for node in sources()["engine.device.model"].body
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    assert not {alias.name.split(".")[0] for node in top for alias in node.names} & FRAMEWORKS


def test_a_package_imports_nothing_of_ours():
    makers = {"tensorrt", "rknnlite", "hailo_platform", "onnxruntime_qnn"}
    runtimes = {"onnxruntime", "ai_edge_litert", "tflite_runtime", *makers}
    allowed = {"numpy", "PIL", "cv2", *runtimes, *FLAT_SCRIPTS}
    for name in sources():
        if name.startswith("engine.device."):
            found = {other.split(".")[0] for other in modules(name) if not other.startswith("engine.device.")}
            assert found <= allowed | set(sys.stdlib_module_names), name


def web_modules() -> list[str]:
    """Returns all that the web process imports at once or later, in a callback: what the fronts name, and
    what that names.
    """
    waiting = [name for name in sources() if is_in(name, FRONTS)]
    seen: set[str] = set()
    while waiting:
        for other in ours(waiting.pop()):
            if other in sources() and other not in seen and not is_in(other, BEHIND_THE_WALL):
                seen.add(other)
                waiting.append(other)
    return sorted(name.removesuffix(".__init__") for name in seen)


# named by what the web process imports, but only ever reached in a child
BEHIND_THE_WALL = (
    *("engine.backends.torch", "engine.backends.keras", "engine.backends.onnx", "engine.backends.tflite"),
    *("engine.formats.torch", "engine.formats.onnx", "engine.formats.keras", "engine.formats.tflite"),
    *("engine.formats.behind_wall", "engine.formats.detect", "engine.device.model", "estimator.profile"),
    *("estimator.fitting", "models.pytorch", "models.keras", "models.train", "models.twin", "models.recipes"),
    "engine.starter.training",
    "engine.cluster",  # only where a cluster is asked for
)


@pytest.mark.parametrize("also", [[], ["server"]])
def test_the_web_process_imports_no_framework(also):
    names = web_modules() + also
    expected = {"engine.run.jobs", "engine.store.workspace", "engine.techniques", "engine.formats.inspect"}
    assert expected | {"deploy.package"} <= set(names)
    code = (
        f"import importlib, sys\nfor name in {names!r}: importlib.import_module(name)\n"
        f"print(sorted({{m.split('.')[0] for m in sys.modules}} & {FRAMEWORKS!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip().splitlines()[-1:] == ["[]"], done.stdout + done.stderr
