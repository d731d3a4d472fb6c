#!/bin/bash
# Builds model.engine from model_float.onnx with this Jetson's own TensorRT, in some minutes:
#   bash build_engine.sh [fp32|fp16|int8]
# An engine runs only on the kind of board and the version of TensorRT that it was built with.
set -eu
cd "$(dirname "$0")"
precision=${1:-PRECISION}
trtexec=$(command -v trtexec || echo /usr/src/tensorrt/bin/trtexec)
if [ ! -x "$trtexec" ]; then
    echo "trtexec is not on this system: it comes with JetPack (sudo apt install tensorrt)" >&2
    exit 1
fi
options=(--onnx=model_float.onnx --saveEngine=model.engine.part)
case $precision in
    fp32) name=float32 ;;
    fp16)
        name=float16
        options+=(--fp16)
        ;;
    int8)
        name=int8
        if [ ! -e calibration.cache ]; then
            echo "this package has no calibration.cache: INT8 takes a variant whose activations are 8-bit" >&2
            exit 1
        fi
        # what has no range in the cache runs in FP16
        options+=(--int8 --fp16 --calib=calibration.cache)
        ;;
    *)
        echo "no precision is called $precision: fp32, fp16 or int8" >&2
        exit 1
        ;;
esac
"$trtexec" "${options[@]}"
echo "$name" > model.engine.precision
mv model.engine.part model.engine
echo "model.engine is built: infer.py, verify.py and the others use it from now on; verify.py first"
