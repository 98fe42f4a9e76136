// The rows that a drain or a merge builds from.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "server/index/tail.h"
#include "server/index/view.h"

namespace vecino::index {

// Held by whoever builds; handed back to ShardIndex::Prepare, Publish or Abandon, which take it.
// Destroying it abandons it. While it lives, no other of the same sort (tails, segments) can be had
// from the same index, but by FreezeBehind, which shares its hold: the sort is free again when all
// that share it are gone.
//
// Invariants:
//  F1. The sources are immutable but for their tombstones, so reading them needs no lock.
//  F2. ForEachLive leaves out exactly the rows that were dead when the rows were frozen. Those that
//  die
//      later are told apart by the same bits when the segment is published, and only there.
//
// Move only. Not thread safe.
class FrozenRows {
 public:
  FrozenRows(FrozenRows&&) = default;
  FrozenRows& operator=(FrozenRows&&) = default;  // abandons what it held

  // Rows that ForEachLive goes over.
  int64_t live() const { return live_; }
  int64_t dead() const { return dead_; }

  // Calls `fn` with each row that was live when frozen, in ascending order of labels, until it
  // returns an error, which is passed on. vector: `dimension` floats, valid while this object is.
  absl::Status ForEachLive(
      absl::FunctionRef<absl::Status(uint64_t label, const float* vector)> fn) const;

  // One tail or one segment, with its tombstones as they were when it was frozen.
  struct Source {
    std::shared_ptr<Tail> tail;  // or else:
    SegmentRows segment;
    std::vector<uint64_t> dead;

    bool IsLive(int64_t slot) const { return (dead[slot / 64] >> (slot % 64) & 1) == 0; }

    int64_t size() const { return tail != nullptr ? tail->size() : segment.segment->size(); }
    const Tombstones& tombstones() const {
      return tail != nullptr ? tail->tombstones() : *segment.dead;
    }
    uint64_t label(int64_t slot) const;
    const float* vector(int64_t slot) const;
  };

  // Neighbours in the view, in order of labels. For builders that copy codes.
  const std::vector<Source>& sources() const { return sources_; }

 private:
  friend class ShardIndex;

  // The index' note that rows of a sort are out, taken back when the last holder goes.
  struct Hold {
    explicit Hold(std::shared_ptr<std::atomic<bool>> noted) : out(std::move(noted)) {}
    Hold(const Hold&) = delete;
    ~Hold() { out->store(false, std::memory_order_release); }
    const std::shared_ptr<std::atomic<bool>> out;
  };
  explicit FrozenRows(std::shared_ptr<const Hold> hold) : hold_(std::move(hold)) {}
  void AddSource(Source source);

  std::vector<Source> sources_;
  int64_t live_ = 0;
  int64_t dead_ = 0;
  std::shared_ptr<const Hold> hold_;  // null once moved from
};

}  // namespace vecino::index
