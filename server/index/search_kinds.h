// Kinds of searches: by how many rows they ask for and what share of the rows they may find. What
// is measured of one kind says little of another.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>

namespace vecino::index {

// Rows asked for: 1, 2 to 10, 11 to 100, more. Share that may be found: above 1/2, 1/10, 1/100,
// 1/1,000, and less.
inline constexpr int kCountKinds = 4, kShareKinds = 5;
inline constexpr size_t kSearchKinds = size_t{kCountKinds} * kShareKinds;

// 0 to kSearchKinds - 1. share: of the rows that the filter lets pass, 1 without one.
size_t SearchKindOf(int k, double share);

// What the searches of one kind have in common.
struct SearchKind {
  int min_k = 0, max_k = 0;  // asked for at least, at most so many rows
  double above_share = 0;    // may find more than this share
  double up_to_share = 1;    // at most this
};
SearchKind DescribeSearchKind(size_t kind);

// Factors on the breadth that calibration chooses, one for each kind of search, at first 1.
// Searches read them while they are changed: every method is safe from any thread, none blocks.
class Corrections {
 public:
  static constexpr double kLeast = 0.7, kMost = 4;

  Corrections() { Reset(); }
  double OfKind(size_t kind) const { return factors_[kind].load(std::memory_order_relaxed); }
  double Of(int k, double share) const { return OfKind(SearchKindOf(k, share)); }
  // Keeps it between kLeast and kMost.
  void Set(size_t kind, double factor);
  void Reset();

 private:
  std::array<std::atomic<float>, kSearchKinds> factors_;
};

}  // namespace vecino::index
