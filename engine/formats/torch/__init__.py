"""PyTorch: weights alone, whole modules, and programs."""

from engine.formats.format import Format, Kind
from engine.formats.torch.recognise import recognise

OPENINGS = "engine.formats.torch.open:openings"
FORMAT = Format(
    "torch",
    "PyTorch weights or module, safetensors",
    {
        "safetensors": Kind(
            "safetensors",
            "pytorch",
            "engine.formats.torch.safetensors:check",
            OPENINGS,
            "engine.formats.torch.open:open_weights",
        ),
        "state_dict": Kind(
            "PyTorch weights",
            "pytorch",
            "engine.formats.torch.check:check",
            OPENINGS,
            "engine.formats.torch.open:open_weights",
        ),
        "torch_module": Kind(
            "PyTorch module",
            "pytorch",
            "engine.formats.torch.modules:check",
            OPENINGS,
            "engine.formats.torch.open:open_module",
        ),
        "torchscript": Kind(
            "TorchScript",
            "pytorch",
            "engine.formats.torch.script:check",
            "engine.formats.torch.open_script:openings",
            "engine.formats.torch.open_script:open_script",
        ),
    },
    recognise,
)
