// Hits put into groups that have a value in common.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "server/engine/types.h"

namespace vecino::engine {

// Takes hits best first, keeps the first `group_size` of each of the first `max_groups` groups.
//
// Thread safety: none; one search uses it.
class HitGroups {
 public:
  struct Group {
    GroupValue value;
    std::vector<size_t> hits;  // numbers as given to Add, best first; at least one
  };

  // Both at least 1.
  HitGroups(int max_groups, int group_size);

  // The next hit. value: what its group has in common; monostate makes a group of its own.
  void Add(size_t hit, const GroupValue& value);

  // Whether all groups are there.
  bool has_all() const { return groups_.size() == max_groups_; }
  // Whether no hit can get in any more: all groups are there and have all the hits they may have.
  bool full() const { return has_all() && open_ == 0; }

  // In order of their best hits.
  const std::vector<Group>& groups() const { return groups_; }

 private:
  const size_t max_groups_, group_size_;
  std::vector<Group> groups_;
  size_t open_ = 0;  // groups that take more hits
  absl::flat_hash_map<std::string, size_t> by_value_;
};

}  // namespace vecino::engine
