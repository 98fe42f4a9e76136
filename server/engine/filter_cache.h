// Which rows a filter lets pass, for filters that come again.
#pragma once

#include <atomic>
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
#include "server/index/passing_codes.h"

namespace vecino::engine {

// What a filter lets pass of a segment of vectors.
struct PassingRows {
  // Making codes costs what they save of so many searches (a hundredth of a million rows: .5 ms,
  // .05 to .1 ms).
  static constexpr int kOften = 8;
  // Of smaller segments all codes are scanned.
  static constexpr int64_t kMinRows = 4096;
  using Words = std::vector<uint64_t>;

  // bits: by slot, of all slots of `segment`. most_bytes: that codes may take.
  PassingRows(const index::Segment& segment, Words bits, size_t most_bytes);
  // The same with codes.
  PassingRows(const PassingRows& rows, std::shared_ptr<const index::PassingCodes> made)
      : words(rows.words), codes(std::move(made)) {}

  std::shared_ptr<const Words> words;                // never null; as index::SlotBits
  std::shared_ptr<const index::PassingCodes> codes;  // null: none, or none yet
  // Searches until codes are worth making; less than that: they were made, or never will be.
  mutable std::atomic<int> uses_left{0};
};

// What is kept never goes stale: a segment's rows do not change, nor does what a document's
// metadata was when it was written. The least recently used entries go when there are too many
// bytes. Thread safe; the lock is held for a look-up only.
class FilterCache final : public fields::Evaluations {
 public:
  using Rows = std::shared_ptr<const PassingRows>;

  explicit FilterCache(size_t max_bytes) : max_bytes_(max_bytes) {}

  // segment: index::Segment::id. filter: Filter::key. Null: not there.
  Rows Find(uint64_t segment, const std::string& filter);
  // The same; counts as no use.
  Rows Peek(uint64_t segment, const std::string& filter) const;
  // In the place of what is there.
  void Put(uint64_t segment, const std::string& filter, Rows rows);

  // Of a segment of fields.
  Slots FindSlots(uint64_t segment, const std::string& filter) override;
  bool ContainsSlots(uint64_t segment, const std::string& filter) const;
  void PutSlots(uint64_t segment, const std::string& filter, Slots slots) override;

  // Of codes; more would drive out too much else.
  size_t most_code_bytes() const { return max_bytes_ / 4; }
  size_t bytes() const;

 private:
  enum class Kind { kRows, kSlots };
  using Key = std::tuple<Kind, uint64_t, std::string>;
  struct Entry {
    Key key;
    std::shared_ptr<const void> value;
    size_t bytes = 0;
  };

  std::shared_ptr<const void> FindValue(const Key& key);
  std::shared_ptr<const void> PeekValue(const Key& key) const;
  // bytes: of what `value` points to.
  void PutValue(Key key, std::shared_ptr<const void> value, size_t bytes);

  const size_t max_bytes_;
  mutable absl::Mutex mu_;
  std::list<Entry> entries_ ABSL_GUARDED_BY(mu_);  // the latest used first
  absl::flat_hash_map<Key, std::list<Entry>::iterator> places_ ABSL_GUARDED_BY(mu_);
  size_t bytes_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace vecino::engine
