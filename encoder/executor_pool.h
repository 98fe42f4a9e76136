// The threads that run models: each takes batches from the queue until it is closed and empty.
#pragma once

#include <memory>
#include <thread>
#include <vector>

#include "encoder/batch_queue.h"
#include "encoder/executor.h"

namespace vecino::encoder {

// What one pair of threads needs of one model.
struct ModelRunner {
  std::unique_ptr<Executor> for_queries, for_bulk;
  int dimension = 0;  // floats in a vector
};

// Each lane has threads of its own, and those of the bulk lane a low priority: the kernel takes the
// processor from them when a query comes, and gives it to whoever reads requests and writes
// replies. A bulk batch takes 75 to 220 ms, too long for a query to wait. Thread safety: Join may
// be called from one thread at a time.
class ExecutorPool {
 public:
  // Nice value that threads of the bulk lane add to the process's: they get a tenth of a processor
  // that somebody else wants all of.
  static constexpr int kBulkNice = 10;

  // Starts two threads for each element of `runners`, one of each lane; runners[t][m] runs the
  // queue's model m on them. The queue must outlive the pool.
  ExecutorPool(BatchQueue& queue, std::vector<std::vector<ModelRunner>> runners);

  // Closes the queue and joins.
  ~ExecutorPool();

  // Waits until the threads have ended, which they do once the queue is closed and empty.
  // Idempotent.
  void Join();

 private:
  void Work(Lane lane, std::vector<ModelRunner>& runners);

  BatchQueue& queue_;
  std::vector<std::vector<ModelRunner>> runners_;
  std::vector<std::thread> threads_;
};

}  // namespace vecino::encoder
