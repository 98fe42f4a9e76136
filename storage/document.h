// A document as it is stored. This is the one storage type the RPC layer may see.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace vecino::storage {

// Most passages of a document. On disk and in labels: may only rise.
inline constexpr size_t kMaxPassages = 4096;

// A part of a document's text that has a vector of its own: bytes [begin, end).
struct Passage {
  uint32_t begin = 0, end = 0;

  friend bool operator==(const Passage&, const Passage&) = default;
};

// One version of one document. A plain value: no locking, no ownership outside itself.
struct Document {
  std::string id;        // 1 to 512 bytes of UTF-8
  std::string text;      // UTF-8, may be empty
  std::string metadata;  // JSON text of one object, or empty for none

  // The vector as it is indexed (already normalised under cosine); with several passages one for
  // each, row-major. Empty when it was not asked for or there is none.
  std::vector<float> vector;
  // What each row of `vector` is of, ascending; empty, where there is a vector, for the whole text.
  // A read that asks for passages has one at least then.
  std::vector<Passage> passages;
  bool has_vector =
      true;  // set by reads, whether it was asked for or not; a write looks at `vector`

  // Sequence number of the write that made this version; the label inside every index.
  uint64_t sequence = 0;
  int64_t create_time_us = 0;  // microseconds since the Unix epoch; of the id's first version
  int64_t update_time_us = 0;  // of this version
  int64_t expire_time_us = 0;  // from when on it counts as gone; 0: never
  uint32_t uid = 0;            // of its collection; set by reads
};

// Whether what expires at `expire_time_us` (0: never) is gone at `now_us`.
constexpr bool IsExpired(int64_t expire_time_us, int64_t now_us) {
  return expire_time_us != 0 && expire_time_us <= now_us;
}

// Which parts of a document a read fetches. Id, sequence and times always come.
struct DocumentParts {
  bool text = true;
  bool metadata = true;
  bool vector = false;  // brings the passages, too, where there are several
  bool passages = false;
};

}  // namespace vecino::storage
