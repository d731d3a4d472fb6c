"""The one door to torchvision: its CUDA build imports beside a CPU build of torch only after two
declarations.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

_declared = []  # a torch Library undoes its declarations when it is collected


def import_torchvision() -> ModuleType:
    """Returns torchvision, ready for use; call this before anything that imports it, onnx2torch included.

    Only the detection operators (nms, roi_align) and torchvision.io's decoders stay unusable; classifiers
    need neither.
    """
    try:
        with _without_compiler():
            import torchvision
    except RuntimeError:  # "operator torchvision::nms does not exist": the compiled half could not be loaded
        import torch

        if not _declared:
            library = torch.library.Library("torchvision", "DEF")
            for name in ("nms", "qnms"):
                library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            _declared.append(library)
        with _without_compiler():
            import torchvision
    return torchvision


@contextmanager
def _without_compiler() -> Iterator[None]:
    """Spares torch's compiler, which one detection operator asks a question at import: four fifths of the
    time that torchvision takes to import, and no classifier needs it.
    """
    names = ("torch._dynamo", "torch._dynamo.utils")
    if any(name in sys.modules for name in (*names, "torchvision")):
        yield
        return
    package, utils = (ModuleType(name) for name in names)
    package.__path__ = []
    utils.__dict__["is_compile_supported"] = lambda device_type: False
    stood_in = dict(zip(names, (package, utils), strict=True))
    sys.modules.update(stood_in)
    try:
        yield
    finally:
        for name, module in stood_in.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]
