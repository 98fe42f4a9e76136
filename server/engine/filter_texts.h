// Filters that were read, by their text, for texts that come again.
#pragma once

#include <cstddef>
#include <list>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "server/fields/filter.h"

namespace vecino::engine {

// What a text means depends on nothing else, so what is kept never goes stale. The least recently
// used go. Thread safe; the lock is held for a look-up only.
class FilterTexts {
 public:
  using Filter = std::shared_ptr<const fields::Filter>;

  // A filter takes up to 40 times its text in memory.
  static constexpr size_t kMost = 1024;
  static constexpr size_t kMostBytes = 1024;               // of a text; longer ones are not kept
  static constexpr size_t kMostOfAll = size_t{256} << 10;  // bytes of texts

  // As fields::Filter::Parse; what it refuses is not kept.
  absl::StatusOr<Filter> Read(std::string_view text);
  // Null: not kept.
  Filter Find(std::string_view text);

 private:
  using Entry = std::pair<const std::string, Filter>;

  absl::Mutex mu_;
  std::list<Entry> entries_ ABSL_GUARDED_BY(mu_);  // the latest used first
  // Keys are the entries' texts.
  absl::flat_hash_map<std::string_view, std::list<Entry>::iterator> places_ ABSL_GUARDED_BY(mu_);
  size_t bytes_ ABSL_GUARDED_BY(mu_) = 0;  // of texts
};

}  // namespace vecino::engine
