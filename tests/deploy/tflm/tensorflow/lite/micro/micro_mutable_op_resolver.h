#pragma once
namespace tflite {
template <unsigned int most>
class MicroMutableOpResolver {
 public:
  int AddConv2D() { return Add(); }
  int AddDepthwiseConv2D() { return Add(); }
  int AddFullyConnected() { return Add(); }
  int AddMaxPool2D() { return Add(); }
  int AddAveragePool2D() { return Add(); }
  int AddMean() { return Add(); }
  int AddReshape() { return Add(); }
  int AddSoftmax() { return Add(); }
  int AddTranspose() { return Add(); }
  int added() const { return count_; }

 private:
  int Add() { return ++count_ > static_cast<int>(most); }
  int count_ = 0;
};
}  // namespace tflite
