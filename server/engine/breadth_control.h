// Corrects the breadth that calibration chooses by what is measured of callers' searches.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "server/engine/recall_interval.h"
#include "server/engine/recall_window.h"
#include "server/index/search_kinds.h"

namespace vecino::engine {

// For each kind of search of one shard a factor on the breadth (index::Corrections). It starts at 1
// and is judged by the searches that were measured since it was set:
//  * wider, by kWiden: the upper end of their interval is under the target (from
//    kEnoughRecallSamples on); by more, up to kWidenMost, where even the upper end misses so many
//    times what the target may miss, as misses fall about as 1 / breadth;
//  * wider, by kWidenLittle: their mean is under the target (from kManySamples on), which may be
//    chance: of what finds a tenth more than is to be found, a mean of so many is in one of six
//    judgements, and kWiden would cost a fifth for it;
//  * narrower, by kNarrow: the lower end is above the target by more than a quarter of what is
//    missing to 1 (calibration aims for a tenth, under a filter a fifth), from kManySamples on of
//    which none is extra: those may stand for few of the searches of their kind. Not where nothing
//    was missed: such searches may compare all rows, and tell nothing of a breadth.
// Between the two nothing happens, so it comes to rest. It is judged after every
// kEnoughRecallSamples searches. Thread safe.
class BreadthControl {
 public:
  static constexpr double kWiden = 1.25, kWidenMost = 2, kWidenLittle = 1.1, kNarrow = 0.9;
  static constexpr int64_t kManySamples = 400;

  const index::Corrections& corrections() const { return corrections_; }

  // Rises whenever a factor changes.
  uint64_t epoch() const { return epoch_.load(std::memory_order_acquire); }

  // A search that was made at `epoch`; of an older one it does not count. What was changed, for
  // people.
  std::optional<std::string> Add(const RecallSample& sample, uint64_t epoch);

  // Whether so many searches of this kind were measured since its factor was set that it is judged
  // by their mean: more of them tell little.
  bool IsSettled(int k, double share) const;

  // All factors are 1 again: there is another calibration.
  void Reset();

 private:
  struct Kind {
    RecallSums sums, uniform;  // of all, and of those that are not extra
    double targets = 0;        // sum, of all
  };

  index::Corrections corrections_;
  std::atomic<uint64_t> epoch_{0};
  mutable absl::Mutex mu_;
  std::array<Kind, index::kSearchKinds> kinds_ ABSL_GUARDED_BY(mu_);
};

}  // namespace vecino::engine
