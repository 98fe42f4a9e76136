#include "server/engine/shard_of.h"

#include <cstdint>

namespace vecino::engine {

int ShardOf(std::string_view document_id, int shard_count) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (const char c : document_id) {
    hash ^= static_cast<unsigned char>(c);
    hash *= 0x100000001b3u;
  }
  hash ^= hash >> 33;
  hash *= 0xff51afd7ed558ccdu;
  hash ^= hash >> 33;
  hash *= 0xc4ceb9fe1a85ec53u;
  hash ^= hash >> 33;
  // The upper 32 bits times a number below 2^31 fit into 64 bits.
  return static_cast<int>(((hash >> 32) * static_cast<uint64_t>(shard_count)) >> 32);
}

}  // namespace vecino::engine
