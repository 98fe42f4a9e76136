// Runs TorchScript models with LibTorch. Nothing of torch shows outside the .cc.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "encoder/bert_weights.h"
#include "encoder/executor.h"
#include "encoder/precision.h"

namespace vecino::encoder {

struct TorchOptions {
  int dimension = 0;           // floats in a vector; 1 of a cross-encoder
  int max_tokens = 0;          // longest row
  int vocab_size = 0;          // ids are below it
  int32_t pad_id = 0;          // fills rows up to the width of the batch
  std::string device = "cpu";  // "cpu", or "cuda" where LibTorch has it
  // kBf16: linears and attention in bfloat16, the rest in fp32. Not kInt8.
  Precision precision = Precision::kFp32;
  bool pairs = false;  // a cross-encoder
};

// OK when models can run on `device`. INVALID_ARGUMENT: neither "cpu" nor "cuda".
// FAILED_PRECONDITION: "cuda" with a LibTorch that is built without it or finds no device. Does not
// throw.
absl::Status CheckDevice(const std::string& device);

// Loads a TorchScript module `forward(ids int64 [B, L], lengths int64 [B]) -> float32 [B,
// dimension]`, or of a cross-encoder `forward(ids, lengths, seconds int64 [B]) -> float32 [B, 1]`,
// from the bytes of its file. Sets torch to one thread for the whole process. Blocks.
// DATA_LOSS: not a TorchScript file. INVALID_ARGUMENT: an option is out of range.
// FAILED_PRECONDITION: kBf16 of a module that is frozen, as exports were before there was more than
// fp32. Errors of CheckDevice.
absl::StatusOr<std::unique_ptr<ExecutorFactory>> LoadTorchModel(const std::string& module_bytes,
                                                                const TorchOptions& options);

// The weights of a module that encoder/export/export.py made of a BERT, or of a cross-encoder.
// Blocks.
// DATA_LOSS: not a TorchScript file. FAILED_PRECONDITION: another module, or one exported before
// weights were kept by name. RESOURCE_EXHAUSTED.
absl::StatusOr<BertWeights> ReadBertWeights(const std::string& module_bytes);

}  // namespace vecino::encoder
