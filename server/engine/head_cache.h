// Ids and times of documents that were found lately, in memory.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "storage/document.h"

namespace vecino::engine {

// What a search needs of a document when it returns neither text nor metadata nor vector. A version
// never changes, so an entry is right for ever; whether the version is still live is for the index
// to say. Reading ten of them from the store took a third of a search's time.
//
// Bounded: when it is full, entries go that were not looked up since their turn came last (CLOCK).
// Thread safety: all methods are safe from any thread; Find blocks for no longer than a look-up,
// Put for a millisecond at most.
class HeadCache {
 public:
  // max_bytes: 0 keeps nothing.
  explicit HeadCache(size_t max_bytes);
  HeadCache(const HeadCache&) = delete;
  HeadCache& operator=(const HeadCache&) = delete;

  // Names a version. collection: its uid, which is never used again.
  struct Key {
    uint32_t collection = 0;
    uint32_t shard = 0;
    uint64_t sequence = 0;

    friend bool operator==(const Key&, const Key&) = default;
    template <typename H>
    friend H AbslHashValue(H h, const Key& key) {
      return H::combine(std::move(h), key.collection, key.shard, key.sequence);
    }
  };

  // Sets id, uid, sequence and times; false when it is not here.
  bool Find(const Key& key, storage::Document* document) const;
  // Keeps id and times. Does nothing when they are here.
  void Put(const Key& key, const storage::Document& document);

  // An estimate of the memory it takes.
  size_t bytes() const { return bytes_.load(std::memory_order_relaxed); }

 private:
  struct Head {
    std::string id;
    int64_t create_time_us = 0;
    int64_t update_time_us = 0;
    int64_t expire_time_us = 0;
    mutable bool used = false;  // since its turn came last
  };
  static constexpr size_t kStripes = 64;
  struct Stripe {
    mutable absl::Mutex mu;
    absl::flat_hash_map<Key, Head> heads ABSL_GUARDED_BY(mu);
    std::deque<Key> clock ABSL_GUARDED_BY(mu);  // the next whose turn it is in front
    size_t bytes ABSL_GUARDED_BY(mu) = 0;
  };

  static size_t BytesOf(const Head& head);
  Stripe& StripeOf(const Key& key) const;

  const size_t max_stripe_bytes_;
  std::atomic<size_t> bytes_{0};
  mutable std::array<Stripe, kStripes> stripes_;
};

}  // namespace vecino::engine
