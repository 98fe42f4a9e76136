// For tests of this folder: a store on a RocksDB environment of the caller's.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "rocksdb/env.h"
#include "storage/store.h"

namespace vecino::storage {

// Like Store::Open, but all files go through `env`, which must outlive the store.
absl::StatusOr<std::unique_ptr<Store>> OpenStoreOn(const StoreOptions& options, rocksdb::Env* env);

}  // namespace vecino::storage
