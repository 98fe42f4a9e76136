// A look at the write-ahead log before RocksDB replays it.
//
// RocksDB 7.8 under kTolerateCorruptedTailRecords refuses most damage, but without naming the file;
// and it silently drops the rest of a 32 KiB block after a zeroed header, and the rest of the log
// after a wrong length in its last block. Both can hold acknowledged writes. This check finds them.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace vecino::storage {

// Reads every write-ahead log in `folder` once, front to back. Blocks on disk.
//
// A torn tail (the last write was under way when the process or the machine stopped, so nobody was
// told it was done) is fine; the result holds one line for each, for the log. Anything else that
// does not parse is DATA_LOSS naming file and offset: a record begins after it, or it is as long as
// it says but its checksum is wrong. UNAVAILABLE when a file cannot be read.
absl::StatusOr<std::vector<std::string>> CheckWriteAheadLogs(const std::string& folder);

}  // namespace vecino::storage
