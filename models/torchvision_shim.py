"""The one door to torchvision: its CUDA build imports beside a CPU build of torch only after two
declarations.
"""

from types import ModuleType

_declared = []  # a torch Library undoes its declarations when it is collected


def import_torchvision() -> ModuleType:
    """Returns torchvision, ready for use; call this before anything that imports it, onnx2torch included.

    Only the detection operators (nms, roi_align) and torchvision.io's decoders stay unusable; classifiers
    need neither.
    """
    try:
        import torchvision
    except RuntimeError:  # "operator torchvision::nms does not exist": the compiled half could not be loaded
        import torch

        if not _declared:
            library = torch.library.Library("torchvision", "DEF")
            for name in ("nms", "qnms"):
                library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            _declared.append(library)
        import torchvision
    return torchvision
