// How far a stream of numbered items has come in one shard, kept with what the items wrote.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace vecino::storage {

// A plain value.
struct Mark {
  static constexpr size_t kMaxTokenBytes = 128;
  static constexpr size_t kMaxFailures = 2048;

  // An item that was answered with an error: nothing was written for it.
  struct Failure {
    uint64_t item = 0;
    int code = 0;  // of absl::StatusCode, 1 to 16
    friend bool operator==(const Failure&, const Failure&) = default;
  };

  std::string token;         // names the stream, 1 to kMaxTokenBytes bytes
  uint64_t through = 0;      // this shard's items up to this number are done or in `failures`
  uint64_t all_through = 0;  // all shards' items up to this number are
  int64_t time_us = 0;       // when it was made, microseconds since the Unix epoch
  // Ascending by item, kMaxFailures at most: the last ones up to `through`.
  std::vector<Failure> failures;
};

// The mark without its token, which is in the key. INVALID_ARGUMENT, DATA_LOSS. Pure functions.
absl::Status CheckMark(const Mark& mark);
std::string EncodeMark(const Mark& mark);
absl::StatusOr<Mark> DecodeMark(std::string_view bytes);

// Key in the family meta.
std::string MarkKey(uint32_t uid, uint16_t shard, std::string_view token);

}  // namespace vecino::storage
