// Vectors of texts that were embedded lately.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"

namespace vecino::encoder {

// Those used longest ago make room. Thread safety: all methods are safe from any thread; each holds
// a lock for copying a vector.
class VectorCache {
 public:
  struct Entry {
    std::vector<float> vector;
    int token_count = 0;
    bool truncated = false;
  };

  // bytes: that keys and vectors may take, about; 0: nothing is kept.
  explicit VectorCache(size_t bytes) : capacity_(bytes) {}

  // model: the caller's number for it. text: with its prompt.
  std::optional<Entry> Find(int model, std::string_view text);
  void Add(int model, std::string_view text, Entry entry);

  int64_t hits() const;
  int64_t misses() const;
  size_t bytes() const;

 private:
  using Item = std::pair<std::string, Entry>;
  using Items = std::list<Item>;

  static std::string Key(int model, std::string_view text);
  static size_t BytesOf(const Item& item);

  const size_t capacity_;
  mutable absl::Mutex mu_;
  Items items_ ABSL_GUARDED_BY(mu_);  // used last first
  // Keys are views into items_.
  absl::flat_hash_map<std::string_view, Items::iterator> by_key_ ABSL_GUARDED_BY(mu_);
  size_t bytes_ ABSL_GUARDED_BY(mu_) = 0;
  int64_t hits_ ABSL_GUARDED_BY(mu_) = 0, misses_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace vecino::encoder
