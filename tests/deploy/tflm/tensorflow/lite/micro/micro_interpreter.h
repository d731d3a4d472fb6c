#pragma once
#include <cstddef>
#include <cstdint>

#include "tensorflow/lite/schema/schema_generated.h"
enum TfLiteStatus { kTfLiteOk, kTfLiteError };
struct TfLiteTensor {
  union {
    int8_t* int8;
  } data;
};
namespace tflite {
class MicroInterpreter {
 public:
  template <typename Resolver>
  MicroInterpreter(const Model* model, const Resolver& resolver, uint8_t* arena, size_t size)
      : model_(model), operators_(resolver.added()), size_(size) {
    input_.data.int8 = reinterpret_cast<int8_t*>(arena);
    output_.data.int8 = scores_;
  }
  TfLiteStatus AllocateTensors() { return operators_ && size_ % 1024 == 0 ? kTfLiteOk : kTfLiteError; }
  size_t arena_used_bytes() const { return size_ / 2; }
  TfLiteTensor* input(size_t) { return &input_; }
  TfLiteTensor* output(size_t) { return &output_; }
  TfLiteStatus Invoke() {
    for (int i = 0; i < 10; ++i) scores_[i] = static_cast<int8_t>(i == STUB_ANSWER ? 100 : i);
    return model_->bytes[4] == 'T' && model_->bytes[5] == 'F' ? kTfLiteOk : kTfLiteError;
  }

 private:
  const Model* model_;
  int operators_;
  size_t size_;
  TfLiteTensor input_, output_;
  int8_t scores_[10];
};
}  // namespace tflite
