// When long work on 8-bit products asks whether to go on.
#pragma once

#include "absl/status/status.h"
#include "server/index/cpu.h"
#include "server/index/give_way.h"
#include "server/index/kmeans.h"

namespace vecino::index {

// Calls a checkpoint each time that about 2 ms of work are done. Not thread safe.
class Pacer {
 public:
  // A row that is read, rounded or added up costs at most as much as this many columns (0.4 µs for
  // 384 dimensions, at AVX-512; less at the others).
  static constexpr double kRowColumns = 256;

  Pacer(Checkpoint checkpoint, CpuLevel level) : checkpoint_(checkpoint), limit_(Limit(level)) {}

  // products: multiplications done since the last call. An error is the checkpoint's.
  absl::Status Did(double products) {
    done_ += products;
    since_way_ += products;
    if (since_way_ > limit_ / 4) {
      since_way_ = 0;
      GiveWay();
    }
    if (done_ < limit_) return absl::OkStatus();
    done_ = 0;
    return checkpoint_();
  }

 private:
  // Products in 2 ms of one slow core.
  static double Limit(CpuLevel level) {
    switch (level) {
      case CpuLevel::kAvx512:
        return 3e8;
      case CpuLevel::kAvx2:
        return 5e7;
      case CpuLevel::kPortable:
        break;
    }
    return 4e6;
  }

  Checkpoint checkpoint_;
  const double limit_;
  double done_ = 0;
  double since_way_ = 0;
};

}  // namespace vecino::index
