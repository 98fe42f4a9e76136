#include "encoder/executor_pool.h"

#include <pthread.h>

#include <optional>
#include <string>
#include <utility>

#include "absl/time/clock.h"

namespace vecino::encoder {

ExecutorPool::ExecutorPool(BatchQueue& queue, std::vector<std::vector<ModelRunner>> runners)
    : queue_(queue), runners_(std::move(runners)) {
  for (size_t i = 0; i < runners_.size(); ++i) {
    threads_.emplace_back([this, i] {
      pthread_setname_np(pthread_self(), ("executor-" + std::to_string(i)).c_str());
      Work(runners_[i]);
    });
  }
}

ExecutorPool::~ExecutorPool() {
  queue_.Close();
  Join();
}

void ExecutorPool::Join() {
  for (std::thread& thread : threads_) {
    if (thread.joinable()) thread.join();
  }
}

void ExecutorPool::Work(std::vector<ModelRunner>& runners) {
  std::vector<float> vectors;
  while (std::optional<BatchQueue::Batch> batch = queue_.Next()) {
    const ModelRunner& runner = runners[batch->model()];
    vectors.resize(batch->rows().size() * runner.dimension);
    absl::Duration interrupted;
    const bool bulk = batch->lane() == Lane::kBulk;
    const absl::Status status = runner.executor->Run(batch->rows(), vectors, [&] {
      if (bulk) interrupted += RunQueries(runners);
    });
    queue_.Finish(*std::move(batch), status, vectors, interrupted);
  }
}

absl::Duration ExecutorPool::RunQueries(std::vector<ModelRunner>& runners) {
  std::optional<BatchQueue::Batch> batch = queue_.NextQuery();
  if (!batch.has_value()) return absl::ZeroDuration();
  const absl::Time start = absl::Now();
  std::vector<float> vectors;
  for (; batch.has_value(); batch = queue_.NextQuery()) {
    const ModelRunner& runner = runners[batch->model()];
    vectors.resize(batch->rows().size() * runner.dimension);
    const absl::Status status = runner.for_queries->Run(batch->rows(), vectors);
    queue_.Finish(*std::move(batch), status, vectors);
  }
  return absl::Now() - start;
}

}  // namespace vecino::encoder
