// Measures the recall of some of the callers' searches, out of their way.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <limits>
#include <memory>
#include <stop_token>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "server/engine/filter_cache.h"
#include "server/engine/recall_measure.h"
#include "server/engine/recall_options.h"
#include "server/engine/recall_window.h"
#include "server/metrics.h"

namespace vecino::engine {

// A search of a caller that is to be made again.
struct RecallTask {
  AnsweredSearch search;
  std::vector<PinnedShard> shards;
  std::shared_ptr<const fields::Filter> filter;  // null: none
  double target = 0;
  absl::Time time;
  std::shared_ptr<RecallBook> book;  // of the collection
  std::vector<bool> all_codes;       // of each shard: SearchReport::all_codes
  bool extra = false;                // see RecallSampler
};

// One thread of the lowest priority, which gives way to searches (index/give_way.h), takes no more
// than a quarter of a processor, and makes no more than samples_per_second passes over the rows.
// What it does not come to is forgotten, oldest first.
//
// It is in a hurry from the start on, and from any search of a kind whose breadth is not settled
// (BreadthControl), until kCalm passes in a row were of others. Then more searches are taken; those
// beyond sample_every are *extra*: they correct breadths and count for no estimate, so that
// estimates stay those of a uniform sample. A pass also measures the extra ones that wait for the
// same rows under the same filter. Of chunked collections, where that saves nothing, there are
// none.
//
// Thread safety: all methods are safe from any thread.
class RecallSampler {
 public:
  static constexpr int kCalm = 64;
  static constexpr size_t kMostAtOnce = 16;  // searches of one pass

  // What probes one stored document, where one is wanted and the machine has time; returns whether
  // it did. Called on the thread of the sampler.
  using Probe = std::function<bool(absl::FunctionRef<absl::Status()> checkpoint)>;

  // cache: for filters. All outlive it. No thread is started when nothing is to be measured.
  RecallSampler(const RecallOptions& options, FilterCache* cache, Metrics* metrics);
  ~RecallSampler() { Stop(); }

  // Before the first search.
  void Start(Probe probe);

  // Whether the search that the calling thread is about to make is to be measured: one in
  // sample_every, or in a hurry more, at random. A thread-local count and a compare: about 1 ns,
  // when it is not.
  bool Take() {
    if (options_.sample_every <= 0) return false;
    int64_t& left = SearchesLeft();
    // A count beyond what is drawn here is of another sampler or rate, or was never drawn.
    const int64_t every = in_a_hurry() ? hurried_every_ : options_.sample_every;
    if (--left > 0 && left < 2 * every) return false;
    return Draw(every, &left);
  }
  // Hands over a search that was taken. Does not block on measuring, and frees nothing large.
  void Offer(std::unique_ptr<RecallTask> task);

  // Ends the thread, in the middle of a measurement if need be, and forgets what waits. Idempotent.
  void Stop();

  const RecallOptions& options() const { return options_; }
  bool in_a_hurry() const { return hurried_.load(std::memory_order_relaxed); }

 private:
  static int64_t& SearchesLeft() {
    static thread_local int64_t left = kNotDrawn;
    return left;
  }
  static constexpr int64_t kNotDrawn = std::numeric_limits<int64_t>::max();
  // Draws how many searches to go, where that is due; whether this search is the one.
  static bool Draw(int64_t every, int64_t* left);

  void Loop();
  // The first that waits and, in a hurry, the extra ones that look for the same rows under the same
  // filter. One waits at least.
  std::vector<std::unique_ptr<RecallTask>> TakeTasks() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // All in one pass. tasks: not empty; their searches are taken out. Whether the breadths of all of
  // them are settled, as far as anything is learned.
  bool Measure(absl::Span<const std::unique_ptr<RecallTask>> tasks,
               absl::FunctionRef<absl::Status()> checkpoint);
  // After a pass.
  void PlanNext(bool settled, size_t searches, absl::Duration took);
  // Takes out what is too old, as what was dropped before, to be freed without the lock.
  std::vector<std::unique_ptr<RecallTask>> TakeDropped() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const RecallOptions options_;
  const int hurried_every_;  // one search in so many is taken in a hurry
  std::atomic<bool> hurried_;
  // Of the thread alone: passes since one was not settled; searches of the next pass at most, and
  // what one of them is expected to take.
  int calm_ = 0;
  size_t most_at_once_ = 1;
  absl::Duration each_takes_;
  FilterCache* const cache_;
  Counter &live_, &extra_, &stored_;                                  // measured
  Counter &dropped_queue_, &dropped_extra_, &dropped_age_, &failed_;  // not measured
  Probe probe_;
  absl::Mutex mu_;
  absl::CondVar changed_;
  std::deque<std::unique_ptr<RecallTask>> queue_ ABSL_GUARDED_BY(mu_);   // that count
  std::deque<std::unique_ptr<RecallTask>> extras_ ABSL_GUARDED_BY(mu_);  // in no order
  std::vector<std::unique_ptr<RecallTask>> dropped_ ABSL_GUARDED_BY(mu_);
  std::stop_source stop_;
  std::thread thread_;
};

}  // namespace vecino::engine
