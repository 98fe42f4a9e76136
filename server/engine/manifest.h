// What a shard notes for its next start.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace vecino::engine {

// docs/index.md tells how it is used and why losing it loses nothing.
struct Manifest {
  // Sequence numbers up to here are read from the stored vectors, those after it from the change
  // log.
  uint64_t drained_through = 0;
  // Live rows up to there when this was written: how much memory to set aside.
  uint64_t rows = 0;
};

// Byte 0: format version, 1. Bytes 1-8: drained_through; 9-16: rows; both little-endian.
std::string EncodeManifest(const Manifest& manifest);

// DATA_LOSS when `bytes` is not a whole manifest of a known version.
absl::StatusOr<Manifest> DecodeManifest(std::string_view bytes);

}  // namespace vecino::engine
