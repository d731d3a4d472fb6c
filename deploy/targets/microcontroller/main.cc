// Classifies one picture with TensorFlow Lite Micro, and says whether the answer is the one that was measured.
//
// Add model_data.cc and this file to a project that TensorFlow Lite Micro is built into
// (https://github.com/tensorflow/tflite-micro); put your camera's picture in the place of kGoldenInput.

#include <cstdint>

#include "golden.h"
#include "model_data.h"
#include "tensorflow/lite/micro/micro_interpreter.h"
#include "tensorflow/lite/micro/micro_log.h"
#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"
#include "tensorflow/lite/schema/schema_generated.h"

namespace {

// Computed from the file and not measured: activations, records, multipliers and scratch, with a tenth to spare.
// Once it runs, take what arena_used_bytes() says.
constexpr int kArenaBytes = ARENA_BYTES;
alignas(16) uint8_t arena[kArenaBytes];

}  // namespace

int main() {
  const tflite::Model* model = tflite::GetModel(kModelData);
  if (model->version() != TFLITE_SCHEMA_VERSION) {
    MicroPrintf("The model is of schema %d, and this library reads %d.", static_cast<int>(model->version()),
                TFLITE_SCHEMA_VERSION);
    return 1;
  }

  static tflite::MicroMutableOpResolver<OPERATOR_COUNT> resolver;
ADD_OPERATORS
  static tflite::MicroInterpreter interpreter(model, resolver, arena, kArenaBytes);
  if (interpreter.AllocateTensors() != kTfLiteOk) {
    MicroPrintf("The arena of %d bytes is too small.", kArenaBytes);
    return 1;
  }
  MicroPrintf("%d of %d bytes of the arena are used.", static_cast<int>(interpreter.arena_used_bytes()),
              kArenaBytes);

  TfLiteTensor* input = interpreter.input(0);
  for (int i = 0; i < kGoldenInputBytes; ++i) {
    input->data.int8[i] = kGoldenInput[i];
  }
  if (interpreter.Invoke() != kTfLiteOk) {
    MicroPrintf("The model could not be run.");
    return 1;
  }
  const TfLiteTensor* output = interpreter.output(0);
  int best = 0;
  for (int i = 1; i < kClasses; ++i) {
    if (output->data.int8[i] > output->data.int8[best]) {
      best = i;
    }
  }
  MicroPrintf("class %d, measured where the package was made: %d", best, kGoldenClass);
  return best == kGoldenClass ? 0 : 1;
}
