"""The frameworks that networks come in: all that the rest of the house must know of one without importing it.

A new framework is one folder in backends/ and one entry here.
"""

from dataclasses import dataclass
from importlib.util import find_spec


@dataclass(frozen=True)
class Export:
    """How a framework writes float graphs of one deployable format.

    Attributes:
        writer: `module:function`: (folded network, Preprocessing, cache folder) → the format's graph.
        packages: The distributions whose versions a result then depends on, beside the framework's own.
        needs: The module that must be installed for it beside them, or "", and how to install it.
    """

    writer: str
    packages: tuple[str, ...]
    needs: str = ""
    install: str = ""

    def is_installed(self) -> bool:
        """Tells whether it can be used here; imports nothing."""
        return not self.needs or find_spec(self.needs) is not None


@dataclass(frozen=True)
class FrameworkEntry:
    """One framework.

    Attributes:
        id, title: Its name in files and for people.
        packages: The distributions whose versions a result depends on.
        base_bytes: What a process takes that has imported it and trains the smallest network.
        networks: `module:class` of what works on its networks (`engine.backends.protocol.Framework`).
        exports: By deployable format, the usual one first.
        untrained: The id of the entry that works on files of this framework that can't be trained, or "".
        made_here: Whether our own networks (models/) come in it, so that examples and starter models do.
    """

    id: str
    title: str
    packages: tuple[str, ...]
    base_bytes: int
    networks: str
    exports: dict[str, Export]
    untrained: str = ""
    made_here: bool = False

    @property
    def formats(self) -> tuple[str, ...]:
        """The deployable formats that it can be exported to, the usual one first."""
        return tuple(self.exports)


FRAMEWORKS: dict[str, FrameworkEntry] = {
    entry.id: entry
    for entry in (
        FrameworkEntry(
            id="pytorch",
            title="PyTorch",
            packages=("torch", "numpy"),
            base_bytes=1_300_000_000,
            networks="engine.backends.torch.framework:PyTorch",
            exports={
                "onnx": Export("engine.backends.torch.export:export", ("onnx", "onnxruntime")),
                "tflite": Export(
                    "engine.backends.torch.export_tflite:export",
                    ("litert-torch", "ai-edge-litert"),
                    needs="litert_torch",
                    install="pip install -r requirements/litert.txt",
                ),
            },
            untrained="onnx",
            made_here=True,
        ),
        FrameworkEntry(
            id="keras",
            title="Keras",
            packages=("tensorflow-cpu", "keras", "numpy"),
            base_bytes=1_800_000_000,
            networks="engine.backends.keras.framework:Keras",
            exports={"tflite": Export("engine.backends.keras.export:export", ("ai-edge-litert",))},
            made_here=True,
        ),
        FrameworkEntry(
            id="onnx",
            title="ONNX",
            packages=("numpy",),
            base_bytes=1_300_000_000,
            networks="engine.backends.onnx.framework:PlainONNX",
            exports={"onnx": Export("engine.backends.onnx.framework:export", ("onnx", "onnxruntime"))},
        ),
    )
}

MADE_HERE = {entry.id: entry.title for entry in FRAMEWORKS.values() if entry.made_here}
