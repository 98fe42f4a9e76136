// Labels of a segment's rows: four bytes each where their range allows.
#pragma once

#include <cstddef>
#include <cstdint>

namespace vecino::index {

// Not owned; by slot. Either 64-bit labels, or 32-bit offsets from `base`.
struct Labels {
  const uint64_t* wide = nullptr;
  const uint32_t* narrow = nullptr;  // used unless null
  uint64_t base = 0;

  uint64_t operator[](size_t slot) const {
    return narrow != nullptr ? base + narrow[slot] : wide[slot];
  }
  void Prefetch(size_t slot) const {
    __builtin_prefetch(narrow != nullptr ? static_cast<const void*>(narrow + slot) : wide + slot);
  }
  int64_t bytes_each() const { return narrow != nullptr ? 4 : 8; }
};

}  // namespace vecino::index
