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

// What a filter lets pass of a segment of vectors, and how often that was wanted.
class PassingRows {
 public:
  using Words = std::vector<uint64_t>;
  // Copying codes costs what they save of so many searches (a hundredth of a million rows: .5 ms,
  // .05 to .1 ms).
  static constexpr int kOften = 8;
  // Codes that had no room for long are made again after twice as many searches each time.
  static constexpr int kMostOften = 4096;
  // Of smaller segments all codes are scanned.
  static constexpr int64_t kMinRows = 4096;

  // bits: by slot, of all slots of `segment`. most_bytes: that codes may take.
  PassingRows(const index::Segment& segment, Words bits, size_t most_bytes);

  const Words& words() const { return words_; }  // as index::SlotBits
  int64_t passing() const { return passing_; }
  // Whether codes of these rows by themselves (index::PassingCodes) are worth their memory.
  bool codable() const { return codable_; }
  // Whether the next Use says so.
  bool IsDue() const { return codable_ && uses_.load() + 1 >= wait_.load(); }
  // A search that found no codes; whether it is to make them. Thread safe.
  bool Use() const;

 private:
  const Words words_;
  int64_t passing_ = 0;
  bool codable_ = false;
  mutable std::atomic<int> uses_{0}, wait_{kOften};
};

// What is kept never goes stale: a segment's rows do not change, nor does what a document's
// metadata was when it was written. The least recently used entries go when there are too many
// bytes; codes of rows, which are much larger, have room of their own. Thread safe; the lock is
// held for a look-up only.
class FilterCache final : public fields::Evaluations {
 public:
  using Rows = std::shared_ptr<const PassingRows>;

  using Codes = std::shared_ptr<const index::PassingCodes>;

  explicit FilterCache(size_t max_bytes, size_t max_code_bytes = 0)
      : others_(max_bytes), codes_(max_code_bytes) {}

  // segment: index::Segment::id. filter: Filter::key. Null: not there.
  Rows Find(uint64_t segment, const std::string& filter);
  // The same; counts as no use.
  Rows Peek(uint64_t segment, const std::string& filter) const;
  void Put(uint64_t segment, const std::string& filter, Rows rows);

  // Of the rows of a segment of AUTO's lists that pass.
  Codes FindCodes(uint64_t segment, const std::string& filter);
  void PutCodes(uint64_t segment, const std::string& filter, Codes codes);
  // Of one segment: more would drive out too much else.
  size_t most_code_bytes() const { return codes_.max_bytes() / 4; }

  // Of a segment of fields.
  Slots FindSlots(uint64_t segment, const std::string& filter) override;
  bool ContainsSlots(uint64_t segment, const std::string& filter) const;
  void PutSlots(uint64_t segment, const std::string& filter, Slots slots) override;

  size_t bytes() const { return others_.bytes() + codes_.bytes(); }

 private:
  enum class Kind { kRows, kSlots };
  using Key = std::tuple<Kind, uint64_t, std::string>;
  class Lru {
   public:
    explicit Lru(size_t max_bytes) : max_bytes_(max_bytes) {}

    std::shared_ptr<const void> Find(const Key& key);
    std::shared_ptr<const void> Peek(const Key& key) const;  // counts as no use
    // bytes: of what `value` points to. What is there already stays.
    void Put(Key key, std::shared_ptr<const void> value, size_t bytes);
    size_t max_bytes() const { return max_bytes_; }
    size_t bytes() const;

   private:
    struct Entry {
      Key key;
      std::shared_ptr<const void> value;
      size_t bytes = 0;
    };

    const size_t max_bytes_;
    mutable absl::Mutex mu_;
    std::list<Entry> entries_ ABSL_GUARDED_BY(mu_);  // the latest used first
    absl::flat_hash_map<Key, std::list<Entry>::iterator> places_ ABSL_GUARDED_BY(mu_);
    size_t bytes_ ABSL_GUARDED_BY(mu_) = 0;
  };

  Lru others_;
  Lru codes_;  // by Kind::kRows: they are of the same rows
};

}  // namespace vecino::engine
