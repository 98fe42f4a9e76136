// Which shard a document belongs to.
#pragma once

#include <string_view>

namespace vecino::engine {

// The shard of a document id, 0 to shard_count - 1. Thread safe.
//
// This is part of the storage format: documents lie on disk in the shard that this function named
// when they were written, so it must never change. FNV-1a with 64 bits over the bytes of the id
// (http://www.isthe.com/chongo/tech/comp/fnv/, public domain), then the 64-bit finaliser of
// MurmurHash3 (Austin Appleby, public domain) because FNV leaves the high bits of short ids poorly
// mixed, then the high half of the product with shard_count, which takes those high bits and needs
// no division.
int ShardOf(std::string_view document_id, int shard_count);

}  // namespace vecino::engine
