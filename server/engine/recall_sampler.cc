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

}  // namespace

RecallSampler::RecallSampler(const RecallOptions& options, FilterCache* cache, Metrics* metrics)
    : options_(options),
      cache_(cache),
      live_(Measured(metrics, "live")),
      stored_(Measured(metrics, "stored_documents")),
      dropped_queue_(Dropped(metrics, "queue_full")),
      dropped_age_(Dropped(metrics, "too_old")),
      failed_(Dropped(metrics, "failed")) {}

void RecallSampler::Start(Probe probe) {
  if (options_.sample_every <= 0) return;
  probe_ = std::move(probe);
  thread_ = std::thread([this] { Loop(); });
}

bool RecallSampler::Draw(int64_t* left) const {
  static thread_local std::minstd_rand random(std::random_device{}());
  // From 1 to twice the mean less 1, so that traffic that repeats itself is sampled all over.
  std::uniform_int_distribution<int64_t> numbers(1, 2 * int64_t{options_.sample_every} - 1);
  // A count that is none of ours begins anew, somewhere between two draws: as far from the next one
  // as the lesser of two (the distribution of a renewal process' residual life, for these numbers).
  if (*left > 0) *left = std::min(numbers(random), numbers(random)) - 1;
  if (*left > 0) return false;
  *left = numbers(random);
  return true;
}

void RecallSampler::Offer(std::unique_ptr<RecallTask> task) {
  absl::MutexLock lock(&mu_);
  if (stop_.stop_requested() || dropped_.size() >= kMostDropped) {
    dropped_queue_.Add();
    return;
  }
  if (queue_.size() >= std::max<size_t>(options_.queue, 1)) {
    // It may hold the last reference to much memory, which is not for a search to free.
    dropped_.push_back(std::move(queue_.front()));
    queue_.pop_front();
    dropped_queue_.Add();
  }
  queue_.push_back(std::move(task));
  changed_.Signal();
}

std::vector<std::unique_ptr<RecallTask>> RecallSampler::TakeDropped() {
  std::vector<std::unique_ptr<RecallTask>> dropped = std::exchange(dropped_, {});
  const absl::Time too_old = absl::Now() - options_.max_age;
  while (!queue_.empty() && queue_.front()->time < too_old) {
    dropped.push_back(std::move(queue_.front()));
    queue_.pop_front();
    dropped_age_.Add();
  }
  return dropped;
}

void RecallSampler::Measure(const RecallTask& task, absl::FunctionRef<absl::Status()> checkpoint) {
  const auto measured =
      MeasureRecall(task.shards, task.filter.get(), cache_, {&task.search, 1}, checkpoint);
  if (!measured.ok()) {
    if (absl::IsCancelled(measured.status())) return;  // the server stops
    if (absl::IsAborted(measured.status())) {
      dropped_age_.Add();
    } else {
      failed_.Add();
      spdlog::warn("the recall of a search could not be measured: {}",
                   measured.status().ToString());
    }
    return;
  }
  const MeasuredSearches::One& one = measured->searches.front();
  if (!one.recall.has_value()) return;  // there was nothing to find
  RecallSample sample{.time = task.time,
                      .k = task.search.k,
                      .share = measured->share,
                      .recall = *one.recall,
                      .target = task.target};
  task.book->Add(RecallSource::kLive, sample);
  task.book->AddQuery(task.search.vector);
  for (size_t s = 0; s < task.shards.size(); ++s) {
    if (!one.shards[s].has_value()) continue;
    sample.share = measured->shard_shares[s];
    sample.recall = *one.shards[s];
    sample.by_breadth = s >= task.all_codes.size() || !task.all_codes[s];
    const PinnedShard& shard = task.shards[s];
    shard.shard->AddRecall(RecallSource::kLive, sample, shard.pinned.epoch);
  }
  live_.Add();
}

void RecallSampler::Loop() {
  LowerPriority();
  const std::stop_token stop = stop_.get_token();
  absl::Time ready = absl::Now();  // to measure the next one
  absl::Time next_probe = ready + options_.probe_interval;
  while (true) {
    std::vector<std::unique_ptr<RecallTask>> dropped;
    std::unique_ptr<RecallTask> task;
    bool probe = false;
    {
      absl::MutexLock lock(&mu_);
      if (stop.stop_requested()) return;
      dropped = TakeDropped();
      const absl::Time now = absl::Now();
      if (now >= ready && !queue_.empty()) {
        task = std::move(queue_.front());
        queue_.pop_front();
      } else if (now >= ready && now >= next_probe) {
        probe = true;
      } else if (dropped.empty()) {
        absl::Time wake = queue_.empty() ? std::max(ready, next_probe) : ready;
        if (!queue_.empty()) wake = std::min(wake, queue_.front()->time + options_.max_age);
        changed_.WaitWithDeadline(&mu_, wake);
        continue;
      }
    }
    dropped.clear();
    if (task == nullptr && !probe) continue;
    const absl::Time start = absl::Now();
    const auto checkpoint = [&]() -> absl::Status {
      if (stop.stop_requested()) return absl::CancelledError("the server is stopping");
      if (absl::Now() - start > options_.max_age) {
        return absl::AbortedError("it takes too long");
      }
      return absl::OkStatus();
    };
    if (task != nullptr) {
      Measure(*task, checkpoint);
      task.reset();
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
  std::deque<std::unique_ptr<RecallTask>> queue;
  std::vector<std::unique_ptr<RecallTask>> dropped;
  absl::MutexLock lock(&mu_);
  queue.swap(queue_);
  dropped.swap(dropped_);
}

}  // namespace vecino::engine
