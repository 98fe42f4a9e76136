// The threads that run models: each takes batches from the queue until it is closed and empty.
#pragma once

#include <memory>
#include <thread>
#include <vector>

#include "absl/time/time.h"
#include "encoder/batch_queue.h"
#include "encoder/executor.h"

namespace vecino::encoder {

// What one thread needs of one model.
struct ModelRunner {
  std::unique_ptr<Executor> executor;
  // Runs queries while an executor of the thread is in the middle of a bulk batch.
  std::unique_ptr<Executor> for_queries;
  int dimension = 0;  // floats in a vector
};

// Thread safety: Join may be called from one thread at a time.
class ExecutorPool {
 public:
  // Starts one thread for each element of `runners`; runners[t][m] runs the queue's model m on
  // thread t. The queue must outlive the pool.
  ExecutorPool(BatchQueue& queue, std::vector<std::vector<ModelRunner>> runners);

  // Closes the queue and joins.
  ~ExecutorPool();

  // Waits until the threads have ended, which they do once the queue is closed and empty.
  // Idempotent.
  void Join();

 private:
  void Work(std::vector<ModelRunner>& runners);
  // Runs the queries that wait; returns how long that took.
  absl::Duration RunQueries(std::vector<ModelRunner>& runners);

  BatchQueue& queue_;
  std::vector<std::vector<ModelRunner>> runners_;
  std::vector<std::thread> threads_;
};

}  // namespace vecino::encoder
