// The one place where RocksDB's errors become ours.
#pragma once

#include <string_view>

#include "absl/status/status.h"
#include "rocksdb/status.h"

namespace vecino::storage {

// OK becomes OK. Anything else becomes "`doing`: what RocksDB said", with what to do about it where
// that is known. `doing`: a phrase like "appending to shard 3".
absl::Status ToStatus(const rocksdb::Status& status, std::string_view doing);

// True for RocksDB's refusal to open a store that this or another process holds.
bool IsLockHeld(const rocksdb::Status& status);

}  // namespace vecino::storage
