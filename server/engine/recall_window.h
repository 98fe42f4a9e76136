// Recall of the latest searches that were measured, as a window.
#pragma once

#include <array>
#include <cstddef>
#include <deque>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/engine/recall_estimate.h"
#include "server/engine/recall_interval.h"
#include "server/engine/recall_options.h"
#include "server/index/search_kinds.h"

namespace vecino::engine {

// One search that was measured.
struct RecallSample {
  absl::Time time;         // of the search
  int k = 0;               // rows it asked for
  double share = 1;        // of the rows, that it might find
  double recall = 0;       // the share of the true best k that it found
  double target = 0;       // that it was asked for
  bool by_breadth = true;  // whether a breadth had a part in it, which may be corrected
  bool extra = false;      // beyond a uniform sample (RecallSampler)
};

// Not thread safe.
class RecallWindow {
 public:
  explicit RecallWindow(const RecallWindowLimits& limits) : limits_(limits) {}

  void Add(const RecallSample& sample);
  // Of what is not too old at `now`. Source and kind are left as they are by default.
  RecallEstimate Estimate(absl::Time now) const;
  void Clear() { samples_.clear(); }

 private:
  struct Sample {
    absl::Time time;
    float recall = 0, target = 0;
  };
  RecallWindowLimits limits_;
  std::deque<Sample> samples_;  // in order of coming
};

// The windows of one collection or one shard. Thread safe; the lock is held for a pass over a
// window at most.
class RecallBook {
 public:
  explicit RecallBook(const RecallWindowLimits& limits)
      : limits_(limits), live_(limits), stored_(limits) {}

  // source: kLive or kStoredDocuments.
  void Add(RecallSource source, const RecallSample& sample);
  RecallEstimate Estimate(RecallSource source, absl::Time now) const;
  RecallStats Stats(absl::Time now) const;
  // Forgets all, since what was measured is no more.
  void Clear();

  // Vectors that callers searched for, as they were compared; the last ones are kept.
  void AddQuery(std::vector<float> vector);
  // The latest of them, `most` at most, one behind the other.
  std::vector<float> RecentQueries(size_t most) const;

 private:
  const RecallWindowLimits limits_;
  mutable absl::Mutex mu_;
  RecallWindow live_ ABSL_GUARDED_BY(mu_), stored_ ABSL_GUARDED_BY(mu_);
  std::deque<std::vector<float>> queries_ ABSL_GUARDED_BY(mu_);  // the latest last
  // Made when the first sample of the kind comes.
  std::array<std::unique_ptr<RecallWindow>, index::kSearchKinds> kinds_ ABSL_GUARDED_BY(mu_);
};

}  // namespace vecino::engine
