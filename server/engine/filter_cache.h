// Which rows a filter lets pass, for filters that come again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "server/fields/passing.h"

namespace vecino::engine {

// What is kept never goes stale: a segment's rows do not change, nor does what a document's
// metadata was when it was written. The least recently used entries go when there are too many
// bytes. Thread safe; the lock is held for a look-up only.
class FilterCache final : public fields::Evaluations {
 public:
  // Of a segment of vectors: bits by slot, as index::SlotBits.
  using Bits = std::shared_ptr<const std::vector<uint64_t>>;

  explicit FilterCache(size_t max_bytes) : max_bytes_(max_bytes) {}

  // segment: index::Segment::id. filter: Filter::key. Null: not there.
  Bits Find(uint64_t segment, const std::string& filter);
  // Whether it is there; counts as no use.
  bool Contains(uint64_t segment, const std::string& filter) const;
  void Put(uint64_t segment, const std::string& filter, Bits bits);

  // Of a segment of fields.
  Slots FindSlots(uint64_t segment, const std::string& filter) override;
  bool ContainsSlots(uint64_t segment, const std::string& filter) const;
  void PutSlots(uint64_t segment, const std::string& filter, Slots slots) override;

  size_t bytes() const;

 private:
  enum class Kind { kBits, kSlots };
  using Key = std::tuple<Kind, uint64_t, std::string>;
  struct Entry {
    Key key;
    std::shared_ptr<const void> value;
    size_t bytes = 0;
  };

  std::shared_ptr<const void> FindValue(const Key& key);
  bool ContainsKey(const Key& key) const;
  // bytes: of what `value` points to.
  void PutValue(Key key, std::shared_ptr<const void> value, size_t bytes);

  const size_t max_bytes_;
  mutable absl::Mutex mu_;
  std::list<Entry> entries_ ABSL_GUARDED_BY(mu_);  // the latest used first
  absl::flat_hash_map<Key, std::list<Entry>::iterator> places_ ABSL_GUARDED_BY(mu_);
  size_t bytes_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace vecino::engine
