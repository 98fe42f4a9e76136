// Runs BERT encoders on CPU without LibTorch: packed weights, no padding, norms and activations in
// one pass over each token. docs/encoder.md tells how.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "encoder/bert_kernels.h"
#include "encoder/bert_weights.h"
#include "encoder/executor.h"
#include "encoder/precision.h"

namespace vecino::encoder {

struct FusedOptions {
  int max_tokens = 0;  // longest row
  Precision precision = Precision::kFp32;
  // For tests: null and true mean the best that this CPU runs.
  const BertKernels* kernels = nullptr;
  bool native = true;  // see IsNative in packed_matrix.h
};

// Packs the weights, which takes as many bytes as they have in that precision; embeddings stay
// fp32. The executors' vectors do not depend on what else is in a batch: fp32 and bf16 but for the
// rounding of sums, int8, where it is native, not at all. INVALID_ARGUMENT: sizes that do not fit
// together. RESOURCE_EXHAUSTED, INTERNAL. Blocks for some 100 ms.
absl::StatusOr<std::unique_ptr<ExecutorFactory>> MakeFusedModel(const BertWeights& weights,
                                                                const FusedOptions& options);

// What MakeFusedModel would use, for the log: "int8, AVX-512 kernels".
std::string DescribeFused(Precision precision);

}  // namespace vecino::encoder
