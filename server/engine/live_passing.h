// Which documents of a shard a filter lets pass.
#pragma once

#include <vector>

#include "server/engine/shard.h"
#include "server/fields/passing.h"

namespace vecino::engine {

// Those that have not expired. What has expired is asked for first: the view that is pinned after
// may have less of it, not more.
inline fields::Passing LivePassing(const Shard& shard, const fields::Filter& filter) {
  const std::vector<uint64_t> expired = shard.Expired();
  fields::Passing passing(shard.fields().Pin(), filter);
  passing.Exclude(expired);
  return passing;
}

}  // namespace vecino::engine
