// How Vecino sets RocksDB up. The reasons stand beside each option in the .cc file.
#pragma once

#include "rocksdb/options.h"
#include "storage/keys.h"
#include "storage/store.h"

namespace vecino::storage {

rocksdb::DBOptions MakeDBOptions(const StoreOptions& options);

// `options.block_cache_bytes` buys one cache that all families share, so make them all in one go.
std::array<rocksdb::ColumnFamilyOptions, kFamilyCount> MakeFamilyOptions(
    const StoreOptions& options);

}  // namespace vecino::storage
