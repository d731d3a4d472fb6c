"""Makes model.rknn of model_float.onnx for the NPU of an RK3588, with Rockchip's RKNN-Toolkit2 on a PC
(x86-64):

    python3 -m venv .rknn
    .rknn/bin/pip install rknn-toolkit2 "setuptools<81" pillow
    .rknn/bin/python build_rknn.py [int8|fp16] [FOLDER]

int8 finds its ranges by the golden pictures, or better by those of a FOLDER of yours.
"""

import os
import sys

import numpy as np
from calibration import for_rknn, inputs
from classifier import HERE, golden

BOARD = "rk3588"
TRIED = 8  # golden pictures


def main() -> None:
    """Builds the file and says how many golden pictures the toolkit's simulator answers as was measured."""
    from rknn.api import RKNN

    precision = sys.argv[1] if len(sys.argv) > 1 else "PRECISION"
    if precision not in ("int8", "fp16"):
        sys.exit(f"no precision is called {precision}: int8 or fp16")
    os.chdir(HERE)  # the list of pictures names them from here
    tool = RKNN()
    done("configured", tool.config(target_platform=BOARD))
    done("read", tool.load_onnx(model="model_float.onnx"))
    is_int8 = precision == "int8"
    pictures = for_rknn(inputs(*sys.argv[2:3])) if is_int8 else None
    done("built", tool.build(do_quantization=is_int8, dataset=pictures))
    done("written", tool.export_rknn("part.rknn"))
    with open("model.rknn.precision", "w") as note:
        note.write(f"{'int8' if is_int8 else 'float16'} {version()}\n")
    os.replace("part.rknn", "model.rknn")
    done("simulated", tool.init_runtime())
    scores, values = golden("scores"), inputs()[:TRIED]
    ours = [tool.inference(inputs=[x[None]], data_format=["nchw"])[0].argmax() for x in values]
    same = int((np.array(ours) == scores[: len(values)].argmax(1)).sum())
    print(f"model.rknn is made; in the simulator {same} of {len(values)} golden pictures get their answer")
    print("copy this folder to the board, where the scripts use it; verify.py first")


def done(what: str, code: int) -> None:
    """Ends where a step of the toolkit failed; it has said why."""
    if code != 0:
        sys.exit(f"model.rknn could not be {what}")


def version() -> str:
    """Returns the toolkit's version."""
    from importlib.metadata import version as found

    return found("rknn-toolkit2")


if __name__ == "__main__":
    main()
