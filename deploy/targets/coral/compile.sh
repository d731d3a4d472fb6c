#!/bin/bash
# Makes model_edgetpu.tflite of model.tflite, on a PC (x86-64, Debian or Ubuntu): bash compile.sh
# The compiler is Google's: https://coral.ai/docs/edgetpu/compiler/ says how it is installed.
set -eu
cd "$(dirname "$0")"
if ! command -v edgetpu_compiler > /dev/null; then
    echo "edgetpu_compiler is not on this system: see https://coral.ai/docs/edgetpu/compiler/" >&2
    exit 1
fi
# -s lists each operator with the unit that it was mapped to; operators.csv says what is expected
edgetpu_compiler -s -o . model.tflite
echo "model_edgetpu.tflite is made: copy this folder to the device, where the scripts use it; verify.py first"
