// The streams of one collection that can be taken up again, by the tokens their callers gave them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"

namespace vecino::engine {

// Knows which tokens there are, which are in use, and which goes when there are too many: the one
// that was used longest ago. Thread safety: all methods are safe from any thread; none blocks.
class IngestTokens {
 public:
  static constexpr size_t kMaxTokens = 64;

  // A token found in the store, used last at `time_us`. For loading; once for each shard that has
  // it. More than kMaxTokens are kept all the same.
  void Add(std::string_view token, int64_t time_us);

  // Takes a token. ABORTED while another has it, RESOURCE_EXHAUSTED when kMaxTokens are taken.
  // *forget: another token that the caller must have the store forget, and that is gone from here;
  // empty: none.
  absl::Status Open(std::string_view token, int64_t now_us, std::string* forget);
  // Gives it back. keep: it can be taken up.
  void Close(std::string_view token, bool keep, int64_t now_us);

 private:
  struct Use {
    int64_t time_us = 0;
    bool open = false;
  };
  absl::Mutex mu_;
  absl::flat_hash_map<std::string, Use> tokens_ ABSL_GUARDED_BY(mu_);
};

}  // namespace vecino::engine
