// Second names of collections, as the engine's callers see them. Plain values.
#pragma once

#include <string>

#include "absl/time/time.h"

namespace vecino::engine {

struct AliasInfo {
  std::string id;
  std::string target;  // id of a collection
  absl::Time create_time;
  absl::Time update_time;  // when it was pointed to its target
};

struct AliasUpdate {
  std::string id, target;
  std::string expected_target;  // id; empty: any
  bool allow_missing = false;
};

}  // namespace vecino::engine
