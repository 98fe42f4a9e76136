#include "encoder/executor_pool.h"

#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <optional>
#include <string>
#include <utility>

namespace vecino::encoder {
namespace {

void LowerPriority() {
  const auto thread = static_cast<id_t>(gettid());
  errno = 0;
  const int nice = getpriority(PRIO_PROCESS, thread);
  if (errno == 0) setpriority(PRIO_PROCESS, thread, nice + ExecutorPool::kBulkNice);
}

}  // namespace

ExecutorPool::ExecutorPool(BatchQueue& queue, std::vector<std::vector<ModelRunner>> runners)
    : queue_(queue), runners_(std::move(runners)) {
  for (size_t i = 0; i < runners_.size(); ++i) {
    threads_.emplace_back([this, i] {
      pthread_setname_np(pthread_self(), ("embed-query-" + std::to_string(i)).c_str());
      Work(Lane::kQuery, runners_[i]);
    });
    threads_.emplace_back([this, i] {
      pthread_setname_np(pthread_self(), ("embed-bulk-" + std::to_string(i)).c_str());
      LowerPriority();
      Work(Lane::kBulk, runners_[i]);
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

void ExecutorPool::Work(Lane lane, std::vector<ModelRunner>& runners) {
  std::vector<float> vectors;
  while (std::optional<BatchQueue::Batch> batch = queue_.Next(lane)) {
    const ModelRunner& runner = runners[batch->model()];
    Executor& executor = lane == Lane::kQuery ? *runner.for_queries : *runner.for_bulk;
    vectors.resize(batch->rows().size() * runner.dimension);
    const absl::Status status = executor.Run(batch->rows(), vectors);
    queue_.Finish(*std::move(batch), status, vectors);
  }
}

}  // namespace vecino::encoder
