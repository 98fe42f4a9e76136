// In which numbers a model's linear layers are computed.
#pragma once

#include <string_view>

namespace vecino::encoder {

// docs/encoder.md has the quality of each. Everything else (attention, norms, pooling) is fp32.
enum class Precision {
  kFp32,
  kBf16,  // weights and activations rounded to bfloat16, sums in fp32
  kInt8,  // weights by output channel to 8 bits, activations by token to 8 bits from their least
          // to their greatest value, sums exact
};

inline constexpr Precision kPrecisions[] = {Precision::kFp32, Precision::kBf16, Precision::kInt8};

inline std::string_view PrecisionName(Precision precision) {
  constexpr std::string_view kNames[] = {"fp32", "bf16", "int8"};
  return kNames[static_cast<int>(precision)];
}

}  // namespace vecino::encoder
