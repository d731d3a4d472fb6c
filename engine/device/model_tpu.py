"""A file that the Edge TPU's compiler made, in LiteRT with the Edge TPU's delegate; as in model.py. Not run
on an Edge TPU where this package was made.
"""

from __future__ import annotations

import importlib
from typing import Any

from model import LiteRT


class EdgeTPU(LiteRT):
    """A compiled TFLite file on the Edge TPU; what it does not map runs on the processor."""

    id = "edgetpu"
    DELEGATE = "libedgetpu.so.1"

    def _opened(self, batch: int) -> Any:
        # delegate and runtime must be of one package
        package = importlib.import_module(self.interpreter.__module__)
        try:
            delegate = package.load_delegate(self.DELEGATE)
        except (OSError, ValueError) as error:
            raise ImportError(
                "no Edge TPU answers (%s): is it plugged in, and libedgetpu1-std installed?" % error
            ) from None
        interpreter = self.interpreter(model_path=self.path, experimental_delegates=[delegate])
        interpreter.allocate_tensors()
        return interpreter

    def _batched(self) -> Any:
        """Returns False: a compiled file is for single images."""
        return False
