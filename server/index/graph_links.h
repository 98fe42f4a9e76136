// The links of a graph as they lie in memory and in its file. For graph*.cc only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "server/index/generation.h"
#include "server/index/graph.h"
#include "server/index/segment_file.h"

namespace vecino::index {

// Rows that are on a level above the lowest have a number, too: those of level L and higher are
// 0 to level_nodes[L − 1] − 1. So a walk down the levels needs no look-up, and number 0 is where it
// begins.
struct GraphLinks {
  static constexpr uint32_t kNone = ~uint32_t{0};  // ends a row of links that is not full

  int64_t rows = 0;
  int m = 0;
  uint32_t entry = 0;  // the slot where a walk begins; upper_slots[0] if there is one
  std::vector<uint32_t> level_nodes;  // of level 1 and up; each ≥ 1, none above the one before
  const uint32_t* base = nullptr;     // rows × 2m slots
  const uint32_t* upper_slots = nullptr;  // of each number
  const uint32_t* upper = nullptr;        // by level, level_nodes[L − 1] × m numbers each

  size_t upper_nodes() const { return level_nodes.empty() ? 0 : level_nodes[0]; }
  size_t upper_links() const {
    size_t nodes = 0;
    for (const uint32_t n : level_nodes) nodes += n;
    return nodes * static_cast<size_t>(m);
  }
  size_t bytes() const {
    return (static_cast<size_t>(rows) * 2 * m + upper_nodes() + upper_links()) * sizeof(uint32_t);
  }
};

// The links and what holds them.
struct GraphData {
  GraphLinks links;
  std::shared_ptr<const SegmentFile> file;  // null: the links are in the vectors below
  std::vector<int32_t> base;                // as FAISS made them; −1 is kNone
  std::vector<uint32_t> upper_slots, upper;
};

struct Graph::Impl {
  GraphData data;
  Options options;
  Calibration calibration;
};

}  // namespace vecino::index
