// What was measured of an index, by how many rows are wanted and what share of all a filter lets
// pass: the cheapest setting for each of a few recalls.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace vecino::index {

// Settings by k and share at the recalls kAims; between them it interpolates, settings by their
// logarithms, over the logarithms of k and share. Copyable; const methods are safe from any thread
// and allocate nothing.
class RecallTable {
 public:
  // How rows of the probed lists are chosen. The numbers stand in files.
  enum class How : uint32_t {
    kCodes = 0,  // by their codes, or as an index without such a choice does it
    kRows = 1,   // those that pass the filter, all of them, by their 8-bit rows
  };

  static constexpr std::array<float, 16> kAims = {0.5f,   0.6f,   0.7f,   0.8f,  0.85f,  0.9f,
                                                  0.93f,  0.95f,  0.965f, 0.98f, 0.985f, 0.99f,
                                                  0.993f, 0.996f, 0.998f, 0.999f};

  // That of one aim; breadth 0: the widest one that was tried does not reach it.
  struct Setting {
    float breadth = 0;  // lists of a typical query, or ef
    float rerank = 0;   // rows scored again; 0: what the index takes by itself
    float recall = 0;   // that was measured: the aim and what it takes to be sure of it
    float scanned = 0;  // share of the index' rows that are compared
  };
  using Curve = std::array<Setting, kAims.size()>;

  struct Choice {
    double breadth = 0;  // 0: nothing that was measured reaches the target, or nothing was measured
    double rerank = 0;
    double recall = 0;
    double scanned = 0;
  };

  bool empty() const { return grids_[0].cells.empty() && grids_[1].cells.empty(); }
  // For which there are curves, descending.
  const std::vector<float>& shares(How how) const {
    return grids_[static_cast<size_t>(how)].shares;
  }
  bool has(How how) const { return !grids_[static_cast<size_t>(how)].cells.empty(); }

  // By ascending k, and for each of them by descending share, the same shares for every k. share:
  // above 0 to 1.
  void Add(How how, int k, float share, const Curve& curve);

  // For the best k of the rows, a share of which passes a filter. Beyond the greatest k and the
  // least share it goes on as it came: c times as many rows never take more than c times the
  // breadth.
  Choice For(How how, double target, int k, double share) const;
  // For the best `part` rows where k are given. What was measured for just so many holds. Between
  // others it is what is sure to find k, if that costs less or nothing is known to reach the target
  // for `part` (for k = 1 few searches tell what is rarely missed). rows: of the index, on whose
  // number it depends what costs less.
  Choice ForPart(How how, double target, int part, int k, double share, double rows) const;
  // What it says of each of kAims.
  Curve CurveForPart(How how, int part, int k, double share, double rows) const;
  // The recall to be expected of so many lists, or of such an ef; 0: not known.
  double RecallOf(How how, double breadth, int k, double share) const;

  // As bytes of a file's section, little-endian (docs/storage_format.md). INVALID_ARGUMENT for
  // bytes that are none; none at all are an empty table.
  std::vector<uint8_t> Bytes() const;
  static absl::StatusOr<RecallTable> FromBytes(const uint8_t* bytes, size_t size);

  // The same with another curve for this k and share, and nothing else changed at what was measured
  // before. Where it has neither this k nor this share, it gets a row or column of them, whose
  // other curves are what For says. Of numbers beyond kMost the nearest gives way. `how` must have
  // curves; k: 1 to 1,000,000; share: above 0 to 1.
  static constexpr size_t kMost = 12;
  // keep: these k do not give way either.
  RecallTable With(How how, int k, float share, const Curve& curve,
                   absl::Span<const int> keep = {}) const;

  friend bool operator==(const RecallTable&, const RecallTable&) = default;

 private:
  // Logarithms of a Setting; breadth −∞: not reached.
  struct Cell {
    float breadth, rerank, recall, scanned;
    friend bool operator==(const Cell&, const Cell&) = default;
  };
  struct Grid {
    std::vector<int> ks;
    std::vector<float> log_ks, shares, log_shares;
    std::vector<Cell> cells;  // by k, share, aim
    friend bool operator==(const Grid&, const Grid&) = default;
  };
  // Between which two of some ascending or descending numbers x lies, and how far; beyond the last
  // above 1.
  struct Place {
    size_t low = 0, high = 0;
    double beyond = 0;  // share of the way from low to high
  };
  static Place Find(const std::vector<float>& numbers, double x);

  std::array<Grid, 2> grids_;
};

}  // namespace vecino::index
