// How a collection is indexed, of which a part may change while it serves.
#pragma once

#include <atomic>
#include <cstdint>

#include "server/engine/types.h"

namespace vecino::engine {

// recall_target, nprobe, ef_search and graph may change (Engine::UpdateCollection); all else is as
// it was made. Thread safety: all methods are safe from any thread and take no lock.
class LiveIndexSpec {
 public:
  explicit LiveIndexSpec(const IndexSpec& spec) : made_(spec), knobs_(Pack(spec)) {}

  // As it was after one call of Set. recall_target to a millionth, as it is stored.
  IndexSpec Get() const;
  // Takes what may change from `spec`, which has been checked.
  void Set(const IndexSpec& spec) { knobs_.store(Pack(spec), std::memory_order_release); }

  // The same number for the same values of what may change, and for no others.
  static uint64_t Pack(const IndexSpec& spec);

 private:
  const IndexSpec made_;
  std::atomic<uint64_t> knobs_;
};

}  // namespace vecino::engine
