"""PyTorch: weights alone, whole modules, and programs."""

from engine.formats.format import Format, Kind
from engine.formats.torch.recognise import recognise

FORMAT = Format(
    "torch",
    "PyTorch weights or module, safetensors",
    {
        "safetensors": Kind(
            "safetensors",
            "pytorch",
            "engine.formats.torch.safetensors:check",
            "engine.formats.torch.open:openings",
        ),
        "state_dict": Kind(
            "PyTorch weights",
            "pytorch",
            "engine.formats.torch.check:check",
            "engine.formats.torch.open:openings",
        ),
        "torch_module": Kind(
            "PyTorch module",
            "pytorch",
            "engine.formats.torch.modules:check",
            "engine.formats.torch.open:openings",
        ),
        "torchscript": Kind(
            "TorchScript",
            "pytorch",
            "engine.formats.torch.script:check",
            "engine.formats.torch.open:openings",
        ),
    },
    recognise,
)
