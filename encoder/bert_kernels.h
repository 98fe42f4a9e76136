// What a BERT does to its numbers between matrix products, for several kinds of CPU.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace vecino::encoder {

// Scale and zero of one token's 8-bit activations: x ≈ scale · (q − zero).
struct ByteRow {
  float scale = 1, zero = 0;
};

// All levels give the same results but for rounding. Thread safety: constant data; functions write
// only what they are given, block on nothing and do not fail. n: 1 or more, any number.
struct BertKernels {
  std::string_view name;  // "AVX-512", "AVX2", "portable"

  // out[i] = in[i] + bias[i].
  void (*add_bias)(const float* in, const float* bias, size_t n, float* out);
  // The same of sums of products with 8-bit activations: in[i] → row.scale · column_scale[i] ·
  // (in[i] − row.zero · column_sum[i]).
  void (*add_bias_int8)(const float* in, ByteRow row, const float* column_scale,
                        const float* column_sum, const float* bias, size_t n, float* out);
  // x/2 · (1 + erf(x/√2)), in place; the error is below 1e-6 (Abramowitz and Stegun 7.1.26).
  void (*gelu)(float* x, size_t n);
  // x = norm(x + add) · weight + bias, where norm takes the mean off and divides by
  // √(variance + eps).
  void (*add_norm)(float* x, const float* add, const float* weight, const float* bias, float eps,
                   size_t n);
  // To bfloat16, to the nearest, ties to even; as 16 bits, and as floats that hold it.
  void (*to_bf16)(const float* x, size_t n, uint16_t* out);
  void (*round_bf16)(const float* x, size_t n, float* out);
  // To 8 bits between the least (or 0) and the greatest (or 0) of the row.
  ByteRow (*to_bytes)(const float* x, size_t n, uint8_t* out);
  ByteRow (*round_bytes)(const float* x, size_t n, float* out);  // floats that hold them
  // Attention of one sequence. qkv: length rows of 3 · heads · head_size floats (all heads'
  // queries, then keys, then values; queries are scaled already). context: length rows of heads ·
  // head_size floats. scratch: AttentionScratch floats. bias: null, or what is added to the score
  // of the query and the key at positions q and k: of head h, bias[h · bias_stride + k − q].
  void (*attention)(const float* qkv, size_t length, size_t heads, size_t head_size,
                    const float* bias, size_t bias_stride, float* scratch, float* context);
};

size_t AttentionScratch(size_t length, size_t head_size);

// Those that this CPU runs, the best first; never empty.
const std::vector<const BertKernels*>& SupportedBertKernels();

}  // namespace vecino::encoder
