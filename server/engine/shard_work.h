// One call of Shard::Maintain. For shard_*.cc only.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <stop_token>
#include <string>

#include "server/engine/operation.h"
#include "server/engine/shard.h"

namespace vecino::engine {

struct Shard::Work {
  std::stop_token stop;
  std::shared_ptr<Operation> operation;  // null: the shard's own decision
  bool pausing = false;                  // a drain runs inside other work
  std::string stage;
  int64_t total = 0;  // rows of the stage
  // How many of them are dealt with; may correct the total. Null: not known.
  std::function<int64_t(int64_t* total)> done;
  uint64_t file = 0;        // number of the segment's file, 0 while in memory
  std::string refused;      // why what was to be built is not, and not tried again; else empty
  bool for_recall = false;  // a retrain, because live searches find too little
  std::string figures;      // what a retrain measured of old and new
  std::string rejected;     // why its build does not go live; else empty
};

}  // namespace vecino::engine
