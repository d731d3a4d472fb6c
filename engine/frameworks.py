"""The frameworks that networks come in: all that the rest of the house must know of one without importing it.

A new framework is one folder in backends/ and one entry here.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class FrameworkEntry:
    """One framework.

    Attributes:
        id, title: Its name in files and for people.
        packages: The distributions whose versions a result depends on.
        base_bytes: What a process takes that has imported it and trains the smallest network.
        networks: `module:class` of what works on its networks (`engine.backends.protocol.Framework`).
        exports: By deployable format, the usual one first, `module:function` of what writes a float graph:
            (folded network, Preprocessing, cache folder) → the format's graph.
        untrained: The id of the entry that works on files of this framework that can't be trained, or "".
        made_here: Whether our own networks (models/) come in it, so that examples and starter models do.
    """

    id: str
    title: str
    packages: tuple[str, ...]
    base_bytes: int
    networks: str
    exports: dict[str, str]
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
            packages=("torch", "onnx", "onnxruntime", "numpy"),
            base_bytes=1_300_000_000,
            networks="engine.backends.torch.framework:PyTorch",
            exports={"onnx": "engine.backends.torch.export:export"},
            untrained="onnx",
            made_here=True,
        ),
        FrameworkEntry(
            id="keras",
            title="Keras",
            packages=("tensorflow-cpu", "keras", "ai-edge-litert", "numpy"),
            base_bytes=1_800_000_000,
            networks="engine.backends.keras.framework:Keras",
            exports={"tflite": "engine.backends.keras.export:export"},
            made_here=True,
        ),
        FrameworkEntry(
            id="onnx",
            title="ONNX",
            packages=("onnx", "onnxruntime", "numpy"),
            base_bytes=1_300_000_000,
            networks="engine.backends.onnx.framework:PlainONNX",
            exports={"onnx": "engine.backends.onnx.framework:export"},
        ),
    )
}

MADE_HERE = {entry.id: entry.title for entry in FRAMEWORKS.values() if entry.made_here}
