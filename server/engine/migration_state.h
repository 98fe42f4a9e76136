// What a migration must know after a restart, as the store keeps it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/engine/migration_info.h"

namespace vecino::engine {

struct MigrationState {
  std::string operation;  // id
  std::vector<std::string> queries;
  int top_k = 10;
  bool automatic = false;
  double min_overlap = 0;  // kept to a millionth
  bool allow_vectorless = false;
  absl::Time begin_time, switch_time = absl::InfinitePast();  // kept to a microsecond
  // By shard: documents of the old side that were stored up to this write when it began are copied
  // from there; what came after is read in the change log. Of no use once it is built.
  std::vector<uint64_t> copy_through;
  bool checked = false;   // the old side was looked at for what has no text
  bool built = false;     // the hidden side was equal once
  bool switched = false;  // callers see the new side
  std::optional<MigrationOverlap> overlap;
};

// docs/storage_format.md, under Migration. DATA_LOSS. Pure functions.
std::string EncodeMigrationState(const MigrationState& state);
absl::StatusOr<MigrationState> DecodeMigrationState(std::string_view bytes);

}  // namespace vecino::engine
