#include "server/engine/recall_sampler.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <random>
#include <utility>

#include "absl/time/clock.h"
#include "server/engine/low_priority.h"

namespace vecino::engine {
namespace {

// Of one processor, that measuring may take.
constexpr double kMostOfAProcessor = 0.25;

// Dropped searches that wait to be freed, beyond which new ones are not taken.
constexpr size_t kMostDropped = 64;

Counter& Measured(Metrics* metrics, const char* source) {
  return metrics->counter("vecino_recall_samples_total",
                          "Searches that were made again exactly, to measure recall.",
                          {{"source", source}});
}

Counter& Dropped(Metrics* metrics, const char* reason) {
  return metrics->counter("vecino_recall_samples_dropped_total",
                          "Searches that were to be measured and were not.", {{"reason", reason}});
}

std::minstd_rand& Random() {
  static thread_local std::minstd_rand random(std::random_device{}());
  return random;
}

// Labels that are compared to see whether two searches look for the same; a lock is held.
constexpr size_t kMostExpired = 64;

// Whether one pass over the rows finds what is true for both.
bool LookForTheSame(const RecallTask& a, const RecallTask& b) {
  return a.book == b.book && a.filter == b.filter &&
         std::equal(a.shards.begin(), a.shards.end(), b.shards.begin(), b.shards.end(),
                    [](const PinnedShard& one, const PinnedShard& other) {
                      return one.shard == other.shard && one.pinned.view == other.pinned.view &&
                             one.pinned.applied == other.pinned.applied &&
                             one.pinned.expired.size() <= kMostExpired &&
                             one.pinned.expired == other.pinned.expired;
                    });
}

}  // namespace

RecallSampler::RecallSampler(const RecallOptions& options, FilterCache* cache, Metrics* metrics)
    : options_(options),
      hurried_every_(std::max(options.sample_every / std::max(options.hurry, 1), 1)),
      hurried_(options.hurry > 1 && options.sample_every > 0),
      cache_(cache),
      live_(Measured(metrics, "live")),
      extra_(Measured(metrics, "live_extra")),
      stored_(Measured(metrics, "stored_documents")),
      dropped_queue_(Dropped(metrics, "queue_full")),
      dropped_extra_(Dropped(metrics, "extra")),
      dropped_age_(Dropped(metrics, "too_old")),
      failed_(Dropped(metrics, "failed")) {}

void RecallSampler::Start(Probe probe) {
  if (options_.sample_every <= 0) return;
  probe_ = std::move(probe);
  thread_ = std::thread([this] { Loop(); });
}

bool RecallSampler::Draw(int64_t every, int64_t* left) {
  std::minstd_rand& random = Random();
  // From 1 to twice the mean less 1, so that traffic that repeats itself is sampled all over.
  std::uniform_int_distribution<int64_t> numbers(1, 2 * every - 1);
  // A count that is none of ours begins anew, somewhere between two draws: as far from the next one
  // as the lesser of two (the distribution of a renewal process' residual life, for these numbers).
  if (*left > 0) *left = std::min(numbers(random), numbers(random)) - 1;
  if (*left > 0) return false;
  *left = numbers(random);
  return true;
}

void RecallSampler::Offer(std::unique_ptr<RecallTask> task) {
  const bool hurried = in_a_hurry();
  task->extra = hurried && std::uniform_int_distribution<int>(1, options_.sample_every)(Random()) >
                               hurried_every_;
  // There every search of a pass is made by itself.
  const bool chunked = task->shards.front().shard->labels().chunked();
  if (task->extra && chunked) return;
  const size_t most = std::max<size_t>(options_.queue, 1);
  absl::MutexLock lock(&mu_);
  if (stop_.stop_requested() || dropped_.size() >= kMostDropped) {
    (task->extra ? dropped_extra_ : dropped_queue_).Add();
    return;
  }
  const auto make_room = [&](std::deque<std::unique_ptr<RecallTask>>* queue) {
    std::unique_ptr<RecallTask> oldest;
    if (queue->size() < most) return oldest;
    oldest = std::move(queue->front());
    queue->pop_front();
    return oldest;
  };
  std::unique_ptr<RecallTask> left;
  if (!task->extra) {
    left = make_room(&queue_);
    queue_.push_back(std::move(task));
    if (hurried && !chunked) task = std::move(left);  // it still tells of a breadth
  }
  if (task != nullptr) {
    task->extra = true;
    left = make_room(&extras_);
    extras_.push_back(std::move(task));
  }
  if (left != nullptr) {
    // It may hold the last reference to much memory, which is not for a search to free.
    (left->extra ? dropped_extra_ : dropped_queue_).Add();
    dropped_.push_back(std::move(left));
  }
  changed_.Signal();
}

std::vector<std::unique_ptr<RecallTask>> RecallSampler::TakeDropped() {
  std::vector<std::unique_ptr<RecallTask>> dropped = std::exchange(dropped_, {});
  const absl::Time too_old = absl::Now() - options_.max_age;
  for (auto* queue : {&queue_, &extras_}) {
    for (auto& task : *queue) {
      if (task->time >= too_old) continue;
      dropped.push_back(std::move(task));
      dropped_age_.Add();
    }
    std::erase(*queue, nullptr);
  }
  return dropped;
}

std::vector<std::unique_ptr<RecallTask>> RecallSampler::TakeTasks() {
  std::vector<std::unique_ptr<RecallTask>> tasks;
  std::deque<std::unique_ptr<RecallTask>>& first = queue_.empty() ? extras_ : queue_;
  tasks.push_back(std::move(first.front()));
  first.pop_front();
  for (auto& task : extras_) {
    if (tasks.size() >= most_at_once_) break;
    if (LookForTheSame(*tasks.front(), *task)) tasks.push_back(std::move(task));
  }
  std::erase(extras_, nullptr);
  return tasks;
}

bool RecallSampler::Measure(absl::Span<const std::unique_ptr<RecallTask>> tasks,
                            absl::FunctionRef<absl::Status()> checkpoint) {
  std::vector<AnsweredSearch> searches;
  searches.reserve(tasks.size());
  for (const auto& task : tasks) searches.push_back(std::move(task->search));
  const RecallTask& first = *tasks.front();
  const auto measured =
      MeasureRecall(first.shards, first.filter.get(), cache_, searches, checkpoint);
  if (!measured.ok()) {
    if (absl::IsCancelled(measured.status())) return true;  // the server stops
    const auto lost = static_cast<double>(tasks.size());
    if (absl::IsAborted(measured.status())) {
      dropped_age_.Add(lost);
    } else {
      failed_.Add(lost);
      spdlog::warn("the recall of a search could not be measured: {}",
                   measured.status().ToString());
    }
    return true;
  }
  bool settled = true;
  for (size_t i = 0; i < tasks.size(); ++i) {
    const RecallTask& task = *tasks[i];
    const MeasuredSearches::One& one = measured->searches[i];
    if (!one.recall.has_value()) continue;  // there was nothing to find
    RecallSample sample{.time = task.time,
                        .k = searches[i].k,
                        .share = measured->share,
                        .recall = *one.recall,
                        .target = task.target};
    if (!task.extra) {
      task.book->Add(RecallSource::kLive, sample);
      task.book->AddQuery(std::move(searches[i].vector));
    }
    for (size_t s = 0; s < task.shards.size(); ++s) {
      if (!one.shards[s].has_value()) continue;
      sample.share = measured->shard_shares[s];
      sample.recall = *one.shards[s];
      sample.by_breadth = s >= task.all_codes.size() || !task.all_codes[s];
      const PinnedShard& shard = task.shards[s];
      if (!task.extra) shard.shard->AddRecall(RecallSource::kLive, sample, shard.pinned.epoch);
      sample.extra = task.extra;
      settled &= shard.shard->CorrectBreadth(sample, shard.pinned.epoch);
    }
    (task.extra ? extra_ : live_).Add();
  }
  return settled;
}

void RecallSampler::PlanNext(bool settled, size_t searches, absl::Duration took) {
  calm_ = settled ? std::min(calm_ + 1, kCalm) : 0;
  hurried_.store(options_.hurry > 1 && calm_ < kCalm, std::memory_order_relaxed);
  // The dearest of late: collections and filters differ. Twice as many take at most twice as long.
  each_takes_ = std::max(took / static_cast<double>(searches), each_takes_ * 0.99);
  const double fit = absl::FDivDuration(options_.max_age / 4, each_takes_);
  const size_t most = searches == most_at_once_ ? 2 * most_at_once_ : most_at_once_;
  most_at_once_ =
      static_cast<size_t>(std::clamp(fit, 1.0, static_cast<double>(std::min(most, kMostAtOnce))));
}

void RecallSampler::Loop() {
  LowerPriority();
  const std::stop_token stop = stop_.get_token();
  absl::Time ready = absl::Now();  // to measure the next one
  absl::Time next_probe = ready + options_.probe_interval;
  while (true) {
    std::vector<std::unique_ptr<RecallTask>> dropped;
    std::vector<std::unique_ptr<RecallTask>> tasks;
    bool probe = false;
    {
      absl::MutexLock lock(&mu_);
      if (stop.stop_requested()) return;
      dropped = TakeDropped();
      const absl::Time now = absl::Now();
      const bool waits = !queue_.empty() || !extras_.empty();
      if (now >= ready && waits) {
        tasks = TakeTasks();
      } else if (now >= ready && now >= next_probe) {
        probe = true;
      } else if (dropped.empty()) {
        absl::Time wake = waits ? ready : std::max(ready, next_probe);
        for (const auto* queue : {&queue_, &extras_}) {
          for (const auto& task : *queue) wake = std::min(wake, task->time + options_.max_age);
        }
        changed_.WaitWithDeadline(&mu_, wake);
        continue;
      }
    }
    dropped.clear();
    if (tasks.empty() && !probe) continue;
    const absl::Time start = absl::Now();
    const auto checkpoint = [&]() -> absl::Status {
      if (stop.stop_requested()) return absl::CancelledError("the server is stopping");
      if (absl::Now() - start > options_.max_age) {
        return absl::AbortedError("it takes too long");
      }
      return absl::OkStatus();
    };
    if (!tasks.empty()) {
      const bool settled = Measure(tasks, checkpoint);
      PlanNext(settled, tasks.size(), absl::Now() - start);
      tasks.clear();
    } else if (probe_ != nullptr && probe_(checkpoint)) {
      stored_.Add();
      next_probe = start;  // as soon as it may be
    } else {
      next_probe = start + options_.probe_interval;
    }
    const absl::Time end = absl::Now();
    ready = std::max(start + absl::Seconds(1 / options_.samples_per_second),
                     end + (end - start) * (1 / kMostOfAProcessor - 1));
  }
}

void RecallSampler::Stop() {
  {
    absl::MutexLock lock(&mu_);
    stop_.request_stop();
    changed_.SignalAll();
  }
  if (thread_.joinable()) thread_.join();
  std::deque<std::unique_ptr<RecallTask>> queue, extras;
  std::vector<std::unique_ptr<RecallTask>> dropped;
  absl::MutexLock lock(&mu_);
  queue.swap(queue_);
  extras.swap(extras_);
  dropped.swap(dropped_);
}

}  // namespace vecino::engine
