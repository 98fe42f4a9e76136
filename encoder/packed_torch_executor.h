// Runs BERT encoders by LibTorch's operators without padding: for CUDA what fused_executor.h is for
// the CPU. docs/encoder.md, "CUDA", tells how.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "encoder/bert_weights.h"
#include "encoder/executor.h"
#include "encoder/precision.h"

namespace vecino::encoder {

struct PackedTorchOptions {
  int max_tokens = 0;                      // longest row
  Precision precision = Precision::kFp32;  // not kInt8
  // "cuda"; or "cpu", where attention goes text by text: slow, so that tests run everywhere.
  std::string device = "cuda";
};

// Copies the weights to the device. A text's vector depends on its batch by the rounding of sums
// alone. The executors wait for the device on their thread, each on a stream of its own. Blocks for
// some 100 ms.
// INVALID_ARGUMENT: sizes that do not fit together; kInt8. FAILED_PRECONDITION, where TorchScript
// is to be taken: on CUDA relative biases, heads whose size is no multiple of 8 or above 256, a
// LibTorch before 2.4, whose attention over texts of many lengths is another. Errors of CheckDevice
// (torch_executor.h). INTERNAL: what the device says.
absl::StatusOr<std::unique_ptr<ExecutorFactory>> MakePackedTorchModel(
    const BertWeights& weights, const PackedTorchOptions& options);

}  // namespace vecino::encoder
