// Compiled without contraction of a · b + c, so that every level rounds alike.
#include <algorithm>
#include <limits>
#include <new>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/index/distance.h"
#include "server/index/kmeans.h"
#include "server/index/pacer.h"
#include "server/index/tombstones.h"

namespace vecino::index {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Candidate {
  float score;  // higher is better
  int64_t row;
};

bool Better(const Candidate& a, const Candidate& b) {
  return a.score != b.score ? a.score > b.score : a.row < b.row;
}

// The best `keep` rows of one query so far, and up to as many that wait to be compared.
class Candidates {
 public:
  // Only scores above this count: rows come in ascending order, so of equal ones the first stay.
  float threshold() const { return threshold_; }

  void Push(size_t keep, float score, int64_t row) {
    if (!(score > threshold_)) return;
    found_.push_back({score, row});
    if (found_.size() == 2 * keep) Shrink(keep);
  }

  std::vector<Candidate>& Finish(size_t keep) {
    if (found_.size() > keep) Shrink(keep);
    return found_;
  }

 private:
  void Shrink(size_t keep) {
    const auto last = found_.begin() + static_cast<ptrdiff_t>(keep) - 1;
    std::nth_element(found_.begin(), last, found_.end(), Better);
    threshold_ = last->score;
    found_.resize(keep);
  }

  std::vector<Candidate> found_;
  float threshold_ = -kInfinity;
};

// What is taken off the rows before rounding, so that bytes are not spent on what all have in
// common: the mean of the first ones.
std::vector<float> Centre(const float* rows, size_t n, size_t d) {
  const size_t count = std::min<size_t>(n, 4096);
  std::vector<float> centre(d, 0);
  for (size_t i = 0; i < count; ++i) {
    for (size_t j = 0; j < d; ++j) centre[j] += rows[i * d + j];
  }
  for (float& x : centre) x /= static_cast<float>(std::max<size_t>(count, 1));
  return centre;
}

// Queries as columns. What is the same for all rows of a query is left out of the score: by inner
// product q · (x − centre), by L2 (q − centre) · (x − centre) − ‖x − centre‖² / 2.
GemmColumns QueryColumns(Metric metric, const float* queries, size_t n, size_t d,
                         const std::vector<float>& centre) {
  GemmColumns columns(n, d);
  std::vector<float> scratch(GemmDepth(d));
  std::vector<uint8_t> codes(GemmDepth(d));
  for (size_t q = 0; q < n; ++q) {
    const RoundedRow rounded =
        RoundRow(queries + q * d, metric == Metric::kL2 ? centre.data() : nullptr, d,
                 scratch.data(), codes.data());
    columns.Set(q, codes.data(), rounded.scale, 0);
  }
  return columns;
}

// One search by brute force: what its threads share.
struct BruteForce {
  const float* rows;
  size_t d;
  Metric metric;
  const std::vector<float>& centre;
  const GemmColumns& columns;
  size_t queries, keep;
  CpuLevel level;
  const Tombstones* dead;  // null: none

  // The best `keep` of the rows first to end − 1 for each query. candidates: one a query.
  absl::Status Scan(size_t first, size_t end, std::vector<Candidates>* candidates,
                    Checkpoint checkpoint) const;
};

absl::Status BruteForce::Scan(size_t first, size_t end, std::vector<Candidates>* candidates,
                              Checkpoint checkpoint) const {
  Pacer pacer(checkpoint, level);
  const size_t step = GemmBlockRows(d);
  const bool l2 = metric == Metric::kL2;
  GemmRowBuffer block(std::min(step, end - first), d);
  std::vector<float> offsets(step, kInfinity);  // rows that fill up a block are never found
  std::vector<float> thresholds(columns.panels() * kTileColumns, kInfinity);
  std::fill_n(thresholds.begin(), queries, -kInfinity);
  std::vector<GemmHit> hits(step * kTileColumns);
  for (; first < end; first += step) {
    const size_t count = std::min(step, end - first);
    for (size_t i = 0; i < count; ++i) {
      block.Set(i, rows + (first + i) * d, centre.data());
      offsets[i] = l2 ? block.norm(i) / 2 : 0;
      if (dead != nullptr && dead->IsDead(static_cast<int64_t>(first + i))) offsets[i] = kInfinity;
    }
    std::fill(offsets.begin() + static_cast<ptrdiff_t>(count), offsets.end(), kInfinity);
    const GemmRows part = block.Rows(0, count);
    for (size_t p = 0; p < columns.panels(); ++p) {
      const size_t found = FindAbove(part, offsets.data(), columns, p,
                                     thresholds.data() + p * kTileColumns, hits.data(), level);
      for (size_t h = 0; h < found; ++h) {
        (*candidates)[hits[h].column].Push(keep, hits[h].score,
                                           static_cast<int64_t>(first + hits[h].row));
      }
      for (size_t h = 0; h < found; ++h) {
        thresholds[hits[h].column] = (*candidates)[hits[h].column].threshold();
      }
      const auto work = static_cast<double>(part.n * kTileColumns * columns.depth());
      if (absl::Status status = pacer.Did(work); !status.ok()) return status;
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status BruteForceTopK(const float* rows, size_t n, size_t d, Metric metric,
                            const float* queries, size_t n_queries, const int64_t* exclude, int k,
                            int64_t* best, float* scores, Checkpoint checkpoint, int threads,
                            CpuLevel level, const Tombstones* dead) {
  if (k < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("brute force for the best ", k, " rows: must be 1 or more"));
  }
  try {
    const size_t wanted = static_cast<size_t>(k);
    const size_t keep = wanted + std::min<size_t>(3 * wanted, 200) + 128;
    const bool l2 = metric == Metric::kL2;
    const std::vector<float> centre = Centre(rows, n, d);
    const GemmColumns columns = QueryColumns(metric, queries, n_queries, d, centre);
    const BruteForce scan = {rows, d, metric, centre, columns, n_queries, keep, level, dead};
    // The best of each part of the rows are found by themselves and then compared.
    const size_t parts = std::clamp<size_t>(n / 1024, 1, static_cast<size_t>(std::max(threads, 1)));
    std::vector<std::vector<Candidates>> candidates(parts, std::vector<Candidates>(n_queries));
    absl::Status status =
        ParallelFor(threads, parts, checkpoint, [&](size_t part, Checkpoint part_checkpoint) {
          return scan.Scan(part * n / parts, (part + 1) * n / parts, &candidates[part],
                           part_checkpoint);
        });
    if (!status.ok()) return status;

    Pacer pacer(checkpoint, level);
    for (size_t q = 0; q < n_queries; ++q) {
      for (size_t part = 1; part < parts; ++part) {
        for (const Candidate& c : candidates[part][q].Finish(keep)) {
          candidates[0][q].Push(keep, c.score, c.row);
        }
      }
      std::vector<Candidate>& found = candidates[0][q].Finish(keep);
      if (exclude != nullptr) {
        std::erase_if(found, [&](const Candidate& c) { return c.row == exclude[q]; });
      }
      for (Candidate& c : found) {
        Score(metric, queries + q * d, rows + static_cast<size_t>(c.row) * d, d, 1, &c.score);
        if (l2) c.score = -c.score;
      }
      const size_t count = std::min(wanted, found.size());
      std::partial_sort(found.begin(), found.begin() + static_cast<ptrdiff_t>(count), found.end(),
                        Better);
      for (size_t i = 0; i < wanted; ++i) {
        const Candidate c = i < count ? found[i] : Candidate{-kInfinity, -1};
        best[q * wanted + i] = c.row;
        scores[q * wanted + i] = l2 ? -c.score : c.score;
      }
      const auto work = static_cast<double>(found.size() * d) * Pacer::kRowColumns;
      if (status = pacer.Did(work); !status.ok()) return status;
    }
    return absl::OkStatus();
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(absl::StrCat("no memory to compare ", n_queries,
                                                     " queries with ", n,
                                                     " rows by brute force; use fewer queries"));
  }
}

}  // namespace vecino::index
