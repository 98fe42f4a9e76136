// What a search looked at: counters that every search keeps where its caller wants them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

namespace vecino::index {

// Sums over the parts of a view; several searches may add to one. Not thread safe.
struct SearchReport {
  int64_t rows = 0;        // of the parts that were searched
  double found = 0;        // rows of each part times the recall expected of it, 0 to rows
  int nprobe = 0;          // lists scanned, and
  int nlist = 0;           // of how many: of the generation, or FAISS index, with the most lists
  int ef = 0;              // of a graph; the greatest
  int64_t scanned = 0;     // rows whose codes or vectors were compared with the query
  int64_t reranked = 0;    // of these by 8-bit rows, after their codes
  int64_t rescored = 0;    // of these by floats, after that
  bool exact = true;       // whether every row that may be found was compared
  bool all_codes = false;  // whether all codes of some part that pass were, whatever the breadth
  // Unless null: a sentence for each part or group of parts. For explanations.
  std::vector<std::string>* words = nullptr;

  // recall: expected of `part_rows` rows; exact: all of them that may be found were compared.
  void Part(int64_t part_rows, double recall, bool part_exact) {
    rows += part_rows;
    found += static_cast<double>(part_rows) * recall;
    exact = exact && part_exact;
  }
  void Lists(int probed, int of) {
    if (of < nlist) return;
    nprobe = std::max(of > nlist ? 0 : nprobe, probed);
    nlist = of;
  }
  // The same rows are searched again: what was looked at stays, what was expected does not.
  void Again() {
    rows = 0;
    found = 0;
    nprobe = nlist = ef = 0;
    exact = true;
    all_codes = false;
  }
  double expected_recall() const {
    return rows == 0 ? 1 : std::min(1.0, found / static_cast<double>(rows));
  }
};

}  // namespace vecino::index
