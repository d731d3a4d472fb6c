"""MB is 10**6 bytes, kB 10**3 and GB 10**9, wherever a size is shown, limited or kept."""

import ast
import re

import pytest

from engine.judge.limits import LIMITS
from engine.vocabulary import Artifact, Constraints, Variant
from pages.parts import wording
from tests.test_imports import ROOT

ROOMS = ("engine", "estimator", "deploy", "pages", "models")
# what is counted in powers of two because others count so
BINARY = {
    ("engine/device/machine.py", "1024"): "the kernel tells memory in KiB",
    ("engine/run/artifacts.py", "1024"): "the kernel tells memory in KiB",
    ("deploy/targets/microcontroller/__init__.py", "1024"): "arenas are given in whole KiB",
    ("engine/wall/processes.py", "1024"): "the kernel tells memory in KiB",
    ("engine/store/uploads.py", "2 ** 20"): "Streamlit's upload field counts in MiB",
    ("pages/parts/devices.py", "1024"): "memory chips are sold in powers of two",
    ("estimator/inventory.py", "MiB"): "memory chips are sold in powers of two",
}
FACTORS = {
    "1024",
    "1024 ** 2",
    "1024 ** 3",
    "2 ** 10",
    "2 ** 20",
    "2 ** 30",
    "1 << 20",
    "1048576",
    "1073741824",
}


def powers_of_two(tree: ast.AST):
    """Yields the factors that turn bytes into KiB or MiB and back, and the words for them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Mult, ast.Div, ast.FloorDiv)):
            yield from FACTORS & {ast.unparse(side).strip("()") for side in (node.left, node.right)}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from re.findall(r"\b[KMG]iB\b", node.value)


def test_no_size_is_counted_in_powers_of_two():
    found = set()
    for room in ROOMS:
        for path in (ROOT / room).rglob("*.py"):
            for factor in powers_of_two(ast.parse(path.read_text())):
                found.add((path.relative_to(ROOT).as_posix(), factor))
    assert found == set(BINARY)


@pytest.mark.parametrize(
    "text", ["a / 2**20", "a // 1024", "5 * 1024", "a * (1 << 20)", "a / 1024**2", "'3 MiB'"]
)
def test_one_that_is_would_be_found(text):
    assert list(powers_of_two(ast.parse(text)))


def test_the_pages_and_the_limit_say_the_same_of_a_size():
    variant = Variant(
        id="fp16",
        technique="fp16",
        status="done",
        seed=0,
        size_bytes=1_500_000,
        artifacts=[Artifact(path="model.onnx", format="onnx", bytes=1_500_000, sha256="0" * 64)],
    )
    assert wording.size(1_500_000).replace(wording.NBSP, " ") == "1.50 MB"
    assert LIMITS["max_size_mb"].value(variant, "raspberry_pi_4", False) == 1.5
    assert LIMITS["max_size_mb"].miss(1.5, Constraints(max_size_mb=1.5).max_size_mb) == 0
    assert [wording.size(n).replace(wording.NBSP, " ") for n in (999, 1_000, 1e6, 1e9)] == [
        "999 B",
        "1.00 kB",
        "1.00 MB",
        "1.00 GB",
    ]
