// Calling FAISS safely: its exceptions, its threads, its names.
#pragma once

#include <faiss/MetricType.h>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "server/index/metric.h"

namespace vecino::index {

inline faiss::MetricType ToFaiss(Metric metric) {
  return metric == Metric::kL2 ? faiss::METRIC_L2 : faiss::METRIC_INNER_PRODUCT;
}

// While it lives, the OpenMP teams that this thread opens have one member, itself. FAISS opens them
// for single rows too, and each calling thread would get a pool of its own.
class OneOpenMpThread {
 public:
  OneOpenMpThread();
  ~OneOpenMpThread();
  OneOpenMpThread(const OneOpenMpThread&) = delete;
  OneOpenMpThread& operator=(const OneOpenMpThread&) = delete;

 private:
  const int before_;
};

// Runs `fn` with one OpenMP thread and turns what FAISS or the allocator throws into a Status:
// RESOURCE_EXHAUSTED for memory, INTERNAL for the rest. what: "build an HNSW segment". An exception
// that leaves an OpenMP region ends the process and cannot be caught here, so `fn` must not call
// what could throw in one.
absl::Status CatchFaiss(absl::string_view what, absl::FunctionRef<absl::Status()> fn);

}  // namespace vecino::index
