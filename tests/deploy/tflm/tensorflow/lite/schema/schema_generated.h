// Stubs of TensorFlow Lite Micro's public API, as far as a package's main.cc uses it.
#pragma once
#include <cstddef>
#include <cstdint>
#define TFLITE_SCHEMA_VERSION 3
namespace tflite {
struct Model {
  int version() const { return TFLITE_SCHEMA_VERSION; }
  const unsigned char* bytes;
};
inline const Model* GetModel(const void* data) {
  static Model model;
  model.bytes = static_cast<const unsigned char*>(data);
  return &model;
}
}  // namespace tflite
