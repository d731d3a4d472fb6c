"""Who may import whom: the rooms only from those below, frameworks only where they belong, none in the web
process.
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
    "torch",
    "torchvision",
    "torch_pruning",
    "tensorflow",
    "keras",
    "tf_keras",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "onnx2torch",
    "ai_edge_litert",
    "ai_edge_quantizer",
    "tflite_runtime",
    "cv2",
    "sklearn",
    "scipy",
    "h5py",
}
FRONTS = (
    "app.py",
    "server.py",
    "pages/",
    "engine/__main__.py",
    "engine/cli.py",
    "engine/http.py",
    "engine/face.py",
)

# which files of ours a file may import, by the beginning of its module's name; the longest matching room
# counts
MAY_IMPORT = {
    "estimator": ("estimator",),
    "models": ("models", "engine.device"),
    **dict.fromkeys(("models/train.py", "models/twin.py"), ("models", "engine.device", "engine.datasets")),
    "engine": ("engine", "estimator", "models", "engine.device"),
    "deploy": (
        "deploy",
        "engine.device",
        "estimator",
        "engine.errors",
        "engine.vocabulary",
        "engine.store",
        "engine.memory",
        "engine.wall",
    ),
    "engine/device": (),
    **dict.fromkeys(FRONTS, OURS),
}
# behind the wall, in a child, or in a command of its own
WITH_FRAMEWORKS = (
    "engine/backends/",
    "engine/formats/",
    "estimator/profile/",
    "estimator/fitting/",
    "models/",
    "engine/starter/training.py",
    "engine/device/",
    "engine/datasets/presets.py",
)  # scikit-learn's digits and torchvision's downloads, fetched in a child
FLAT_SCRIPTS = {
    "infer",
    "image",
    "model",
    "preprocessing",
    "decoder",
    "benchmark",
}  # inside a package they lie in one folder


@cache
def sources() -> dict[str, ast.Module]:
    found = [p for p in ROOT.rglob("*.py") if p.relative_to(ROOT).parts[0].removesuffix(".py") in OURS]
    return {str(p.relative_to(ROOT)): ast.parse(p.read_text()) for p in found}


def modules(path: str) -> set[str]:
    """Returns the modules that a file imports anywhere, `from a import b` as `a.b` where that is a module or
    package of ours.
    """
    found = set()
    for node in ast.walk(sources()[path]):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: a relative import; name the module in full"
            found |= {
                f"{node.module}.{n.name}" if is_module(f"{node.module}.{n.name}") else node.module
                for n in node.names
            }
    return found


def is_module(name: str) -> bool:
    path = ROOT / name.replace(".", "/")
    return path.with_suffix(".py").exists() or path.is_dir()


def is_in(name: str, rooms) -> bool:
    return any(name == room or name.startswith(room + ".") for room in rooms)


def room_of(path: str) -> tuple[str, ...]:
    return MAY_IMPORT[
        max((room for room in MAY_IMPORT if path == room or path.startswith(room.rstrip("/") + "/")), key=len)
    ]


def test_there_is_something_to_check():
    assert len(sources()) > 60
    assert "engine.store.workspace" in modules("engine/run/jobs.py") and "torch" in modules(
        "engine/backends/torch/framework.py"
    )


def test_a_room_imports_only_from_those_below():
    wrong = [
        f"{path} imports {name}"
        for path in sources()
        for name in modules(path)
        if name.split(".")[0] in OURS
        and not is_in(name, room_of(path))
        and not (path.startswith("engine/device/") and name in FLAT_SCRIPTS)
    ]
    assert wrong == []


def test_the_fronts_keep_away_from_backends_and_runtimes():
    wrong = [
        f"{path} imports {name}"
        for path in sources()
        if path.startswith(FRONTS)
        for name in modules(path)
        if is_in(name, ("engine.backends", "engine.device"))
    ]
    assert wrong == []


def test_frameworks_stay_in_their_rooms():
    wrong = [
        f"{path} imports {name}"
        for path in sources()
        if not path.startswith(WITH_FRAMEWORKS)
        for name in modules(path)
        if name.split(".")[0] in FRAMEWORKS
    ]
    assert wrong == []


def test_techniques_and_the_supervisor_name_no_framework():
    for path in sources():
        if path.startswith("engine/techniques/") or path == "engine/run/optimize.py":
            names = {n.split(".")[0] for n in modules(path)}
            assert not names & FRAMEWORKS, path


def test_a_package_imports_nothing_of_ours():
    allowed = {
        "numpy",
        "PIL",
        "onnxruntime",
        "ai_edge_litert",
        "tflite_runtime",
        *FLAT_SCRIPTS,
        *sys.stdlib_module_names,
    }
    for path in sources():
        if path.startswith("engine/device/"):
            assert {n.split(".")[0] for n in modules(path)} <= allowed, path


def web_modules() -> list[str]:
    """Returns all that the web process imports at once or later, in a callback: what the fronts name, and
    what that names.
    """
    waiting = [p for p in sources() if p.startswith(FRONTS)]
    seen: set[str] = set()
    while waiting:
        path = waiting.pop()
        for name in modules(path):
            for file in (name.replace(".", "/") + ".py", name.replace(".", "/") + "/__init__.py"):
                if file in sources() and file not in seen and not file.startswith(BEHIND_THE_WALL):
                    seen.add(file)
                    waiting.append(file)
    return sorted(p.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for p in seen)


# named by what the web process imports, but only ever reached in a child
BEHIND_THE_WALL = (
    "engine/backends/",
    "engine/formats/torch/",
    "engine/formats/onnx/",
    "engine/formats/keras/",
    "engine/formats/tflite/",
    "engine/formats/behind_wall.py",
    "engine/formats/detect.py",
    "estimator/profile/",
    "estimator/fitting/",
    "models/pytorch.py",
    "models/keras.py",
    "models/train.py",
    "models/twin.py",
    "models/recipes.py",
)


@pytest.mark.parametrize("also", [[], ["server"]])
def test_the_web_process_imports_no_framework(also):
    names = web_modules() + also
    assert {
        "engine.run.jobs",
        "engine.store.workspace",
        "engine.techniques",
        "engine.formats.inspect",
        "deploy.package",
    } <= set(names)
    code = (
        f"import importlib, sys\nfor name in {names!r}: importlib.import_module(name)\n"
        f"print(sorted({{m.split('.')[0] for m in sys.modules}} & {FRAMEWORKS!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip().splitlines()[-1:] == ["[]"], done.stdout + done.stderr
