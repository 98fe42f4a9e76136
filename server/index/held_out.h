// Rows that no training looks at, so that there are some to measure it with.
#pragma once

#include <cstdint>

namespace vecino::index {

// One label in sixteen, the same ones for ever: centroids and codebooks of no generation know these
// rows, the old one's as little as the new one's, so that both are measured alike. Fibonacci
// hashing: of labels in any even steps, a sixteenth.
inline bool IsHeldOut(uint64_t label) { return (label * 0x9E3779B97F4A7C15u) >> 60 == 0; }

// Of fewer rows none is held out: what training would lose costs more than what measuring gains.
inline constexpr int64_t kHoldOutRows = 4'096;

}  // namespace vecino::index
