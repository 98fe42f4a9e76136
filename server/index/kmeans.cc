// Compiled without contraction of a · b + c, so that every level rounds alike.
#include "server/index/kmeans.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <new>
#include <queue>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/index/float4.h"
#include "server/index/pacer.h"

namespace vecino::index {
namespace {

// SplitMix64: the same numbers with every standard library.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}

  uint64_t Next() {
    uint64_t x = state_ += 0x9e3779b97f4a7c15;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
    x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
    return x ^ (x >> 31);
  }
  // 0 to n − 1. The bias for n < 2^32 is below 2^-32.
  size_t Below(size_t n) { return static_cast<size_t>(Next() % n); }

 private:
  uint64_t state_;
};

// `count` of the numbers below n, ascending.
std::vector<uint32_t> Sample(size_t n, size_t count, Random* random) {
  std::vector<uint32_t> sample;
  sample.reserve(count);
  for (size_t i = 0; sample.size() < count; ++i) {
    if (random->Below(n - i) < count - sample.size()) sample.push_back(static_cast<uint32_t>(i));
  }
  return sample;
}

void Add(const float* row, size_t d, float* sum) {
  size_t i = 0;
  for (; i + 4 <= d; i += 4) Store(Load(sum + i) + Load(row + i), sum + i);
  for (; i < d; ++i) sum[i] += row[i];
}

void Scale(float factor, size_t d, float* row) {
  for (size_t i = 0; i < d; ++i) row[i] *= factor;
}

void Normalise(size_t d, float* row) {
  double norm = 0;
  for (size_t i = 0; i < d; ++i) norm += static_cast<double>(row[i]) * row[i];
  if (norm > 0) Scale(static_cast<float>(1 / std::sqrt(norm)), d, row);
}

// Mean of n rows of d.
std::vector<float> Mean(const float* rows, size_t n, size_t d) {
  std::vector<float> mean(d, 0);
  for (size_t i = 0; i < n; ++i) Add(rows + i * d, d, mean.data());
  Scale(1 / static_cast<float>(n), d, mean.data());
  return mean;
}

// Makes columns of which the best has the least distance: x · c − ‖c‖² / 2, all less the centre.
absl::Status SetColumns(const float* centroids, const float* centre, size_t d, Pacer* pacer,
                        GemmColumns* columns) {
  std::vector<float> scratch(columns->depth());
  std::vector<uint8_t> codes(columns->depth());
  for (size_t c = 0; c < columns->count(); ++c) {
    const RoundedRow rounded = RoundRow(centroids + c * d, centre, d, scratch.data(), codes.data());
    columns->Set(c, codes.data(), rounded.scale, rounded.norm / 2);
    if (pacer == nullptr) continue;
    const auto work = static_cast<double>(d) * Pacer::kRowColumns;
    if (absl::Status status = pacer->Did(work); !status.ok()) return status;
  }
  return absl::OkStatus();
}

// The nearest column for each of n rows from `first` on; scores as SetColumns says.
absl::Status FindLists(const GemmRowBuffer& rows, size_t first, size_t n,
                       const GemmColumns& columns, uint32_t* lists, float* scores, Pacer* pacer,
                       CpuLevel level) {
  const size_t step = GemmBlockRows(columns.depth());
  std::vector<BestColumns> found(std::min(step, n + kTileRows));
  for (size_t i = 0; i < n; i += step) {
    const size_t count = std::min(step, n - i);
    const GemmRows block = rows.Rows(first + i, count);
    for (BestColumns& best : found) best.Reset();
    for (size_t p = 0; p < columns.panels(); ++p) {
      FindBest(block, columns, p, found.data(), level);
      const auto work = static_cast<double>(block.n * kTileColumns * columns.depth());
      if (absl::Status status = pacer->Did(work); !status.ok()) return status;
    }
    for (size_t j = 0; j < count; ++j) lists[i + j] = found[j].Take(&scores[i + j]);
  }
  return absl::OkStatus();
}

absl::Status NoMemory() {
  return absl::ResourceExhaustedError(
      "no memory for k-means; train with fewer clusters or a smaller sample");
}

// k-means over the rows named by `sample`; one level.
class Trainer {
 public:
  // sample: row numbers, at least as many as clusters.
  Trainer(const float* rows, size_t d, std::vector<uint32_t> sample, size_t clusters,
          const KMeansOptions& options, Random* random, Checkpoint checkpoint, CpuLevel level)
      : rows_(rows),
        d_(d),
        k_(clusters),
        options_(options),
        random_(*random),
        checkpoint_(checkpoint),
        level_(level),
        sample_(std::move(sample)),
        rounded_(sample_.size(), d),
        lists_(sample_.size()),
        scores_(sample_.size()),
        sizes_(clusters),
        centroids_(clusters * d) {}

  absl::StatusOr<std::vector<float>> Run() {
    if (absl::Status status = Prepare(); !status.ok()) return status;
    double last = std::numeric_limits<double>::infinity();
    for (int i = 0; i < options_.iterations; ++i) {
      const bool coarse = i < options_.coarse_iterations && quarter_ >= k_;
      if (active_ != (coarse ? quarter_ : sample_.size())) {
        active_ = coarse ? quarter_ : sample_.size();
        last = std::numeric_limits<double>::infinity();
      }
      if (absl::Status status = Assign(); !status.ok()) return status;
      double objective = 0;
      for (size_t j = 0; j < active_; ++j) objective += rounded_.norm(j) - 2.0 * scores_[j];
      if (absl::Status status = Update(); !status.ok()) return status;
      // The last iterations leave small clusters alone, so that what was re-seeded can settle.
      const bool settle = i + 3 > options_.iterations;
      if (Reseed(settle ? 1 : std::max<size_t>(1, active_ / k_ / kSmall))) continue;
      if (objective > last * (1 - kLeastGain)) {
        if (!coarse) break;
        i = options_.coarse_iterations - 1;  // on to all rows
      }
      last = objective;
    }
    return std::move(centroids_);
  }

 private:
  static constexpr size_t kSmall = 16;        // clusters below mean / kSmall are re-seeded
  static constexpr double kLeastGain = 1e-4;  // an iteration that lowers less is the last

  const float* row(size_t i) const { return rows_ + sample_[i] * d_; }
  float* centroid(size_t c) { return centroids_.data() + c * d_; }
  // Puts a random quarter of the rows first, rounds all and takes the first centroids from them.
  absl::Status Prepare() {
    const size_t n = sample_.size(), averaged = std::min<size_t>(n, 4096);
    quarter_ = n / 4;
    const std::vector<uint32_t> chosen = Sample(n, quarter_, &random_);
    std::vector<uint32_t> ordered;
    ordered.reserve(n);
    for (const uint32_t i : chosen) ordered.push_back(sample_[i]);
    for (size_t i = 0, c = 0; i < n; ++i) {
      if (c < quarter_ && chosen[c] == i) {
        ++c;
      } else {
        ordered.push_back(sample_[i]);
      }
    }
    sample_ = std::move(ordered);
    centre_.assign(d_, 0);
    for (size_t i = 0; i < averaged; ++i) Add(row(i * n / averaged), d_, centre_.data());
    Scale(1 / static_cast<float>(averaged), d_, centre_.data());
    const std::vector<uint32_t> first = Sample(quarter_ >= k_ ? quarter_ : n, k_, &random_);
    for (size_t c = 0; c < k_; ++c) SetCentroid(c, first[c]);
    constexpr size_t kRows = 4096;
    return ParallelFor(options_.threads, (n + kRows - 1) / kRows, checkpoint_,
                       [&](size_t task, Checkpoint checkpoint) -> absl::Status {
                         Pacer pacer(checkpoint, level_);
                         const size_t end = std::min(n, (task + 1) * kRows);
                         for (size_t i = task * kRows; i < end; ++i) {
                           rounded_.Set(i, row(i), centre_.data());
                           if (absl::Status status = DidRow(&pacer); !status.ok()) return status;
                         }
                         return absl::OkStatus();
                       });
  }

  absl::Status DidRow(Pacer* pacer) const {
    return pacer->Did(static_cast<double>(d_) * Pacer::kRowColumns);
  }

  void SetCentroid(size_t c, size_t i) {
    std::copy_n(row(i), d_, centroid(c));
    if (options_.spherical) Normalise(d_, centroid(c));
  }

  absl::Status Assign() {
    GemmColumns columns(k_, d_);
    Pacer pacer(checkpoint_, level_);
    absl::Status status = SetColumns(centroids_.data(), centre_.data(), d_, &pacer, &columns);
    if (!status.ok()) return status;
    const size_t n = active_, step = GemmBlockRows(d_);
    return ParallelFor(
        options_.threads, (n + step - 1) / step, checkpoint_,
        [&](size_t task, Checkpoint checkpoint) -> absl::Status {
          Pacer block_pacer(checkpoint, level_);
          const size_t first = task * step, rows = std::min(step, n - first);
          absl::Status found = FindLists(rounded_, first, rows, columns, &lists_[first],
                                         &scores_[first], &block_pacer, level_);
          if (options_.compared != nullptr) {
            options_.compared->fetch_add(static_cast<int64_t>(rows), std::memory_order_relaxed);
          }
          return found;
        });
  }

  // Each centroid becomes the mean of its rows; one without rows stays. Each task does a part of
  // the centroids, so that rows are added up in their order whoever does it.
  absl::Status Update() {
    std::fill(sizes_.begin(), sizes_.end(), 0);
    const size_t parts = std::min(k_, static_cast<size_t>(std::max(options_.threads, 1)));
    return ParallelFor(options_.threads, parts, checkpoint_,
                       [&](size_t task, Checkpoint checkpoint) {
                         return UpdatePart(task * k_ / parts, (task + 1) * k_ / parts, checkpoint);
                       });
  }

  absl::Status UpdatePart(size_t first, size_t end, Checkpoint checkpoint) {
    Pacer pacer(checkpoint, level_);
    for (size_t i = 0; i < active_; ++i) {
      const uint32_t c = lists_[i];
      if (c < first || c >= end) continue;
      if (sizes_[c]++ == 0) std::fill_n(centroid(c), d_, 0.0f);
      Add(row(i), d_, centroid(c));
      if (absl::Status status = DidRow(&pacer); !status.ok()) return status;
    }
    for (size_t c = first; c < end; ++c) {
      if (sizes_[c] == 0) continue;
      Scale(1 / static_cast<float>(sizes_[c]), d_, centroid(c));
      if (options_.spherical) Normalise(d_, centroid(c));
    }
    return absl::OkStatus();
  }

  // Moves each centroid with fewer rows than `least` onto a row of a cluster that is then the
  // worst. Whether there was one.
  bool Reseed(size_t least) {
    std::vector<uint32_t> small;
    for (size_t c = 0; c < k_; ++c) {
      if (sizes_[c] < least) small.push_back(static_cast<uint32_t>(c));
    }
    if (small.empty()) return false;
    // members[starts[c], starts[c + 1]) are c's rows.
    std::vector<uint32_t> starts(k_ + 1, 0), members(active_);
    for (size_t c = 0; c < k_; ++c) starts[c + 1] = starts[c] + sizes_[c];
    std::vector<uint32_t> ends(starts.begin(), starts.end() - 1);
    for (size_t i = 0; i < members.size(); ++i)
      members[ends[lists_[i]]++] = static_cast<uint32_t>(i);

    // By squared error, which grows with the rows; but a large cluster of equal rows has none.
    std::vector<double> errors(k_, 0);
    for (size_t i = 0; i < members.size(); ++i) {
      errors[lists_[i]] += std::max(0.0f, rounded_.norm(i) - 2 * scores_[i]);
    }
    std::priority_queue<std::pair<double, uint32_t>> worst;  // error it would have, cluster
    for (size_t c = 0; c < k_; ++c) {
      if (sizes_[c] >= 2 && sizes_[c] >= least) worst.push({errors[c], static_cast<uint32_t>(c)});
    }
    for (const uint32_t c : small) {
      if (worst.empty()) break;
      const auto [error, donor] = worst.top();
      worst.pop();
      SetCentroid(c, members[starts[donor] + random_.Below(sizes_[donor])]);
      worst.push({error / 2, donor});
    }
    return true;
  }

  const float* const rows_;
  const size_t d_, k_;
  const KMeansOptions& options_;
  Random& random_;
  const Checkpoint checkpoint_;
  const CpuLevel level_;
  std::vector<uint32_t> sample_;
  size_t quarter_ = 0, active_ = 0;  // the first rows of the sample: a quarter, those looked at now
  std::vector<float> centre_;
  GemmRowBuffer rounded_;  // the sample's rows less the centre
  std::vector<uint32_t> lists_;
  std::vector<float> scores_;
  std::vector<uint32_t> sizes_;
  std::vector<float> centroids_;
};

// Clusters for each part in proportion to its rows (d'Hondt): one at least unless it is empty, and
// never more than rows. clusters: from the number of parts up to the number of rows.
std::vector<size_t> Share(const std::vector<std::vector<uint32_t>>& parts, size_t clusters) {
  std::vector<size_t> shares(parts.size(), 0);
  std::priority_queue<std::pair<double, size_t>> next;  // rows a cluster, part
  for (size_t p = 0; p < parts.size(); ++p) {
    if (parts[p].empty()) continue;
    shares[p] = 1;
    --clusters;
    next.push({static_cast<double>(parts[p].size()), p});
  }
  for (; clusters > 0; --clusters) {
    const size_t p = next.top().second;
    next.pop();
    ++shares[p];
    next.push({static_cast<double>(parts[p].size()) / static_cast<double>(shares[p]), p});
  }
  return shares;
}

absl::StatusOr<std::vector<float>> TrainTwoLevels(const float* rows, size_t d,
                                                  const std::vector<uint32_t>& sample,
                                                  const KMeansOptions& options, Random* random,
                                                  Checkpoint checkpoint, CpuLevel level) {
  const size_t n = sample.size(), clusters = static_cast<size_t>(options.clusters);
  const auto n_parts = static_cast<size_t>(std::sqrt(static_cast<double>(clusters)));
  const size_t enough =
      std::min(n, n_parts * static_cast<size_t>(std::max(options.max_rows_per_cluster, 1)));
  std::vector<uint32_t> few = Sample(n, enough, random);
  for (uint32_t& i : few) i = sample[i];
  const auto coarse =
      Trainer(rows, d, std::move(few), n_parts, options, random, checkpoint, level).Run();
  if (!coarse.ok()) return coarse.status();

  const CentroidAssigner assigner(coarse->data(), n_parts, d);
  std::vector<uint32_t> lists(n);
  constexpr size_t kRows = 1024;
  absl::Status status =
      ParallelFor(options.threads, (n + kRows - 1) / kRows, checkpoint,
                  [&](size_t task, Checkpoint part_checkpoint) {
                    const size_t first = task * kRows, count = std::min(kRows, n - first);
                    std::vector<float> copied(count * d);
                    for (size_t i = 0; i < count; ++i) {
                      std::copy_n(rows + size_t{sample[first + i]} * d, d, copied.data() + i * d);
                    }
                    return assigner.Assign(copied.data(), count, &lists[first], nullptr,
                                           part_checkpoint, level);
                  });
  if (!status.ok()) return status;
  std::vector<std::vector<uint32_t>> parts(n_parts);
  for (size_t i = 0; i < n; ++i) parts[lists[i]].push_back(sample[i]);

  const std::vector<size_t> shares = Share(parts, clusters);
  std::vector<float> centroids;
  centroids.reserve(clusters * d);
  for (size_t p = 0; p < n_parts; ++p) {
    if (parts[p].empty()) continue;
    const auto fine =
        Trainer(rows, d, std::move(parts[p]), shares[p], options, random, checkpoint, level).Run();
    if (!fine.ok()) return fine.status();
    centroids.insert(centroids.end(), fine->begin(), fine->end());
  }
  return centroids;
}

}  // namespace

int64_t KMeansRows(int64_t n, const KMeansOptions& options) {
  const int64_t most =
      int64_t{std::max(options.clusters, 0)} * std::max(options.max_rows_per_cluster, 1);
  n = std::min(n, most);
  const auto passes = [&](int64_t rows, int64_t clusters) {
    const int coarse =
        rows / 4 >= clusters ? std::min(options.coarse_iterations, options.iterations) : 0;
    return coarse * (rows / 4) + (options.iterations - coarse) * rows;
  };
  if (options.clusters <= options.two_level_above) return passes(n, options.clusters);
  const auto parts = static_cast<int64_t>(std::sqrt(static_cast<double>(options.clusters)));
  return passes(std::min(n, parts * std::max(options.max_rows_per_cluster, 1)), parts) +
         passes(n, options.clusters);
}

absl::StatusOr<std::vector<float>> TrainKMeans(const float* rows, size_t n, size_t d,
                                               const KMeansOptions& options, Checkpoint checkpoint,
                                               CpuLevel level) {
  const auto clusters = static_cast<size_t>(std::max(options.clusters, 0));
  if (options.clusters < 1 || clusters > n) {
    return absl::InvalidArgumentError(absl::StrCat("k-means for ", options.clusters,
                                                   " clusters of ", n,
                                                   " rows: must be 1 to the number of rows"));
  }
  if (n > std::numeric_limits<uint32_t>::max()) {
    return absl::InvalidArgumentError(
        absl::StrCat("k-means over ", n, " rows: more than 2^32 − 1; hand in a sample"));
  }
  try {
    Random random(options.seed);
    const size_t most = clusters * static_cast<size_t>(std::max(options.max_rows_per_cluster, 1));
    std::vector<uint32_t> sample = Sample(n, std::min(n, most), &random);
    if (options.clusters > options.two_level_above) {
      return TrainTwoLevels(rows, d, sample, options, &random, checkpoint, level);
    }
    return Trainer(rows, d, std::move(sample), clusters, options, &random, checkpoint, level).Run();
  } catch (const std::bad_alloc&) {
    return NoMemory();
  }
}

CentroidAssigner::CentroidAssigner(const float* centroids, size_t count, size_t d)
    : d_(d), centre_(Mean(centroids, count, d)), columns_(count, d) {
  SetColumns(centroids, centre_.data(), d, nullptr, &columns_).IgnoreError();  // cannot fail
}

int64_t CentroidAssigner::bytes() const {
  return static_cast<int64_t>(columns_.bytes() + centre_.size() * sizeof(float));
}

absl::Status CentroidAssigner::Assign(const float* rows, size_t n, uint32_t* lists,
                                      float* distances, Checkpoint checkpoint,
                                      CpuLevel level) const {
  try {
    Pacer pacer(checkpoint, level);
    const size_t step = GemmBlockRows(d_);
    GemmRowBuffer block(std::min(step, n), d_);
    std::vector<float> scores(std::min(step, n));
    for (size_t first = 0; first < n; first += step) {
      const size_t count = std::min(step, n - first);
      for (size_t i = 0; i < count; ++i) block.Set(i, rows + (first + i) * d_, centre_.data());
      const absl::Status status =
          FindLists(block, 0, count, columns_, lists + first, scores.data(), &pacer, level);
      if (!status.ok()) return status;
      if (distances == nullptr) continue;
      for (size_t i = 0; i < count; ++i) {
        distances[first + i] = std::max(0.0f, block.norm(i) - 2 * scores[i]);
      }
    }
    return absl::OkStatus();
  } catch (const std::bad_alloc&) {
    return NoMemory();
  }
}

}  // namespace vecino::index
