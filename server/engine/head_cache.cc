#include "server/engine/head_cache.h"

#include <utility>

#include "absl/hash/hash.h"

namespace vecino::engine {
namespace {

// Of an entry besides its id: in the map at a load of 7/16 to 7/8, and in the queue.
constexpr size_t kEntryBytes = 168;

}  // namespace

HeadCache::HeadCache(size_t max_bytes) : max_stripe_bytes_(max_bytes / kStripes) {}

size_t HeadCache::BytesOf(const Head& head) {
  constexpr size_t kInside = 15;  // what std::string holds in itself
  return kEntryBytes + (head.id.capacity() > kInside ? head.id.capacity() + 1 : 0);
}

HeadCache::Stripe& HeadCache::StripeOf(const Key& key) const {
  return stripes_[absl::HashOf(key.sequence, key.shard) % kStripes];
}

bool HeadCache::Find(const Key& key, storage::Document* document) const {
  const Stripe& stripe = StripeOf(key);
  absl::MutexLock lock(&stripe.mu);
  const auto found = stripe.heads.find(key);
  if (found == stripe.heads.end()) return false;
  const Head& head = found->second;
  head.used = true;
  document->id = head.id;
  document->sequence = key.sequence;
  document->create_time_us = head.create_time_us;
  document->update_time_us = head.update_time_us;
  document->expire_time_us = head.expire_time_us;
  document->uid = key.collection;
  return true;
}

void HeadCache::Put(const Key& key, const storage::Document& document) {
  Head head = {.id = document.id,
               .create_time_us = document.create_time_us,
               .update_time_us = document.update_time_us,
               .expire_time_us = document.expire_time_us};
  const size_t size = BytesOf(head);
  if (size > max_stripe_bytes_) return;
  Stripe& stripe = StripeOf(key);
  absl::MutexLock lock(&stripe.mu);
  if (!stripe.heads.try_emplace(key, std::move(head)).second) return;
  stripe.clock.push_back(key);
  const size_t before = stripe.bytes;
  stripe.bytes += size;
  while (stripe.bytes > max_stripe_bytes_) {
    const Key next = stripe.clock.front();
    stripe.clock.pop_front();
    const auto found = stripe.heads.find(next);
    if (std::exchange(found->second.used, false)) {
      stripe.clock.push_back(next);
    } else {
      stripe.bytes -= BytesOf(found->second);
      stripe.heads.erase(found);
    }
  }
  bytes_.fetch_add(stripe.bytes - before, std::memory_order_relaxed);
}

}  // namespace vecino::engine
