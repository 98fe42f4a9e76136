// Weights of one linear layer, packed for this CPU, and the products of activations with them. By
// oneDNN, of which nothing shows outside the .cc.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "encoder/precision.h"

namespace vecino::encoder {

// Whether this CPU multiplies such numbers itself: bf16 by AVX-512 BF16 or AMX, int8 by VNNI or
// AMX. Where it does not, the same rounded numbers are multiplied as floats: results differ by
// rounding of sums only.
bool IsNative(Precision precision);

// Immutable; Multiply is safe from any thread, with a scratch for each.
class PackedMatrix {
 public:
  // Rows that one product takes; others are padded to the next of these or cut (NextRows).
  static constexpr int kRows[] = {128, 64, 48, 32, 24, 16, 12, 8, 4};
  static constexpr int kMostRows = 128;

  // How many of `left` ≥ 1 rows the next product computes; more than `left` when it is padded.
  static int NextRows(int left);

  // weight: out × in floats, row-major, of which each row is scaled alone for kInt8. native: see
  // IsNative; false forces floats, for tests. RESOURCE_EXHAUSTED, INTERNAL (oneDNN refuses).
  static absl::StatusOr<std::unique_ptr<const PackedMatrix>> Pack(const float* weight, int out,
                                                                  int in, Precision precision,
                                                                  bool native);
  ~PackedMatrix();
  PackedMatrix(const PackedMatrix&) = delete;
  PackedMatrix& operator=(const PackedMatrix&) = delete;

  int out() const { return out_; }
  int in() const { return in_; }
  // Bytes of one activation: 4 (float), 2 (bfloat16), 1 (uint8). Not native: 4, floats that hold
  // such numbers.
  size_t activation_bytes() const { return activation_bytes_; }
  int64_t bytes() const;

  // For kInt8: W ≈ column_scale[o] · q, and the sums over each output's q; empty otherwise.
  const std::vector<float>& column_scales() const { return column_scales_; }
  const std::vector<float>& column_sums() const { return column_sums_; }

  // products[r][o] = Σ_i activations[r][i] · w[o][i], of the numbers as they are packed, for `rows`
  // of kRows. For one thread at a time; grows as needed.
  struct Scratch {
    std::vector<std::byte> bytes;
  };
  absl::Status Multiply(const void* activations, int rows, float* products, Scratch* scratch) const;

 private:
  struct Impl;
  PackedMatrix();

  int out_ = 0, in_ = 0;
  size_t activation_bytes_ = 4;
  std::vector<float> column_scales_, column_sums_;
  std::unique_ptr<Impl> impl_;
};

}  // namespace vecino::encoder
