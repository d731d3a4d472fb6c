#!/bin/bash
# Makes model.hef of model_float.onnx for a Hailo-8L, on a PC (x86-64, Ubuntu): bash build_hef.sh [FOLDER]
# FOLDER: pictures of yours by which it finds its ranges, better than the golden ones.
# The compiler is Hailo's Dataflow Compiler, version 3 for this chip: https://hailo.ai/developer-zone
set -eu
cd "$(dirname "$0")"
if ! command -v hailo > /dev/null; then
    echo "hailo is not on this system: install Hailo's Dataflow Compiler 3 and activate its environment" >&2
    exit 1
fi
chip=hailo8l
rm -f model.hef
python3 calibration.py hailo "$@"
hailo parser onnx model_float.onnx --net-name model --hw-arch $chip -y
hailo optimize model.har --hw-arch $chip --calib-set-path calibration.npy --output-har-path model_optimized.har
hailo compiler model_optimized.har --hw-arch $chip --output-dir .
if [ ! -e model.hef ]; then
    echo "the compiler made no model.hef: what it printed says why" >&2
    exit 1
fi
echo "model.hef is made: copy this folder to the Raspberry Pi, where the scripts use it; verify.py first"
