#include "server/engine/load_shards.h"

#include <algorithm>
#include <atomic>
#include <functional>
#include <thread>

namespace vecino::engine {
namespace {

// Runs every job on up to `threads` threads; the first error, by order of jobs.
absl::Status RunAll(const std::vector<std::function<absl::Status()>>& jobs, int threads) {
  std::vector<absl::Status> statuses(jobs.size());
  std::atomic<size_t> next{0};
  std::atomic<bool> failed{false};
  const auto work = [&] {
    for (size_t i = next++; i < jobs.size() && !failed; i = next++) {
      statuses[i] = jobs[i]();
      if (!statuses[i].ok()) failed = true;
    }
  };
  if (threads <= 0) threads = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  std::vector<std::thread> pool;
  for (size_t i = 1; i < std::min<size_t>(threads, jobs.size()); ++i) pool.emplace_back(work);
  work();
  for (std::thread& thread : pool) thread.join();
  for (const absl::Status& status : statuses) {
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status LoadShards(const std::vector<std::shared_ptr<Collection>>& collections, int threads) {
  std::vector<std::function<absl::Status()>> jobs;
  for (const auto& collection : collections) {
    for (int shard = 0; shard < collection->shard_count(); ++shard) {
      jobs.push_back([collection, shard] { return collection->LoadShard(shard); });
    }
  }
  return RunAll(jobs, threads);
}

}  // namespace vecino::engine
