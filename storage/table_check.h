// Which table files are damaged? Asked only when RocksDB refuses to open a store.
#pragma once

#include <string>

#include "rocksdb/env.h"

namespace vecino::storage {

// Reads every table in `folder` and names the damaged ones: "; damaged: 000012.sst (bad block …)",
// or an empty string when none is. RocksDB 7.8 blames its manifest for some of them. Reads all
// tables once.
std::string DescribeDamagedTables(const std::string& folder, rocksdb::Env* env);

}  // namespace vecino::storage
