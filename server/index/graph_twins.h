// Rows that round to the same 8 bits, kept out of the way while a graph is built.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "server/index/int8_rows.h"
#include "server/index/tombstones.h"

namespace vecino::index {

// Many equal rows would link to each other only, and a walk that came upon them would not find out
// again. So one of them, the first, is inserted; the others hang on it. For graph_build.cc only.
class GraphTwins {
 public:
  // Takes 16 bytes a row while it looks. May throw std::bad_alloc.
  GraphTwins(const Int8Rows& rows, int64_t n);

  // Not inserted, ascending by first and by slot.
  size_t size() const { return twins_.size(); }
  uint32_t slot(size_t i) const { return twins_[i].slot; }
  uint32_t first(size_t i) const { return twins_[i].first; }  // which is inserted

  // Gives each group links of its own: from the first, where the last link makes way if need be, to
  // the next, and from there on as a tree. missing: groups whose first is dead in it are left out.
  // links: rows × width, −1 for none; width ≥ 2.
  void Link(size_t width, const Tombstones& missing, int32_t* links);
  // As it was before the same call of Link.
  void Unlink(size_t width, const Tombstones& missing, int32_t* links) const;

 private:
  struct Twin {
    uint32_t first, slot;
  };
  std::vector<Twin> twins_;
  std::vector<int32_t> replaced_;  // of the first of each group that was linked, what made way
};

}  // namespace vecino::index
