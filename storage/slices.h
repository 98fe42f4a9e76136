// RocksDB's bytes as ours, and the other way.
#pragma once

#include <string_view>

#include "rocksdb/slice.h"

namespace vecino::storage {

inline rocksdb::Slice AsSlice(std::string_view bytes) { return {bytes.data(), bytes.size()}; }
inline std::string_view AsView(const rocksdb::Slice& slice) { return {slice.data(), slice.size()}; }

}  // namespace vecino::storage
