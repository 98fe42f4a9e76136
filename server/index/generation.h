// What one training produced: coarse centroids, codebooks, and how many lists to scan for a recall.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "server/index/calibration.h"
#include "server/index/int8_rows.h"
#include "server/index/kmeans.h"
#include "server/index/metric.h"
#include "server/index/product_quantizer.h"
#include "server/index/segment_file.h"
#include "server/index/select.h"

namespace vecino::index {

// One trained quantizer serves many segments, as a key range serves many SSTables. Immutable once
// it is shared, but for its calibration; all const methods are safe from any thread.
class Generation {
 public:
  struct TrainOptions {
    uint64_t id = 0;  // of the generation: unique within its shard, ascending
    int nlist = 0;    // 0: DefaultLists(expected_rows)
    int64_t expected_rows = 0;
    uint64_t seed = 1234;
    int threads = 1;  // of ParallelFor; any number gives the same generation
    // Unless null: set to how many rows training looks at, each as often as it does, and raised as
    // it goes on.
    struct Progress {
      std::atomic<int64_t> done{0}, total{0};
    };
    Progress* progress = nullptr;
  };

  // Between √rows and rows / 39 (FAISS asks for 39 rows a list to train). 8·√rows: measured, see
  // docs/index.md.
  static int DefaultLists(int64_t rows);
  // Rows that training wants to see at most.
  static int64_t SampleRows(int nlist);
  // How often training compares each row of the sample with all centroids: 6 times, of which 4 look
  // at a quarter of the rows.
  static constexpr int kIterations = 6, kCoarseIterations = 4;
  static constexpr double kPasses = kIterations - 0.75 * kCoarseIterations;
  // Fewer rows than this are not worth lists: comparing them all is as quick, and exact.
  static constexpr int64_t kMinRows = 4096;

  // sample: n × d floats, n ≥ 1; nlist is lowered to n / 39 if need be, at least 1. With fewer than
  // 16 rows the codebooks are trained on repeated rows. RESOURCE_EXHAUSTED, or the checkpoint's
  // error. unit: whether all rows have length 1 (COSINE): centroids are then normalised.
  static absl::StatusOr<std::shared_ptr<Generation>> Train(Metric metric, bool unit, size_t d,
                                                           const float* sample, size_t n,
                                                           const TrainOptions& options,
                                                           Checkpoint checkpoint);

  // File type "generation". Save blocks on the disk; path "" keeps it in memory, for tests. With
  // this calibration, or the one it has.
  absl::Status Save(const std::string& path) const { return Save(path, calibration()); }
  absl::Status Save(const std::string& path, const Calibration& calibration) const;
  static absl::StatusOr<std::shared_ptr<const Generation>> Load(const std::string& path);

  uint64_t id() const { return id_; }
  Metric metric() const { return metric_; }
  bool unit() const { return unit_; }
  size_t d() const { return d_; }
  int nlist() const { return nlist_; }
  int64_t trained_rows() const { return trained_rows_; }    // rows of the shard when it was trained
  int64_t trained_at_us() const { return trained_at_us_; }  // since 1970, UTC
  // Mean squared distance of a row to its centroid, and imbalance n·Σs²/(Σs)² of list sizes s, over
  // the rows that were there when it was trained: what later rows are compared with to see drift.
  float base_error() const { return base_error_; }
  float base_imbalance() const { return base_imbalance_; }
  // Mean squared distance of a row to what its product codes say, over a sample of the same rows;
  // 0: not known (files from before it was kept).
  float base_quantization() const { return base_quantization_; }
  // The highest label that was there when it was trained: rows above it came since. 0: not known.
  uint64_t trained_through() const { return trained_through_; }
  // Before it is shared.
  void SetBase(float error, float imbalance, float quantization = 0, uint64_t trained_through = 0) {
    base_error_ = error, base_imbalance_ = imbalance, base_quantization_ = quantization;
    trained_through_ = trained_through;
  }
  // Whether training left out the rows that IsHeldOut (training.h) says. Before it is shared.
  bool held_out() const { return held_out_; }
  void SetHeldOut(bool held_out) { held_out_ = held_out; }

  const ProductQuantizer& quantizer() const { return *quantizer_; }
  const std::vector<float>& centroids() const { return centroids_; }  // nlist × d
  const CentroidAssigner& assigner() const { return *assigner_; }
  int64_t bytes() const;

  // Stays as it is, and where it is, for as long as the generation.
  const Calibration& calibration() const { return *calibration_.load(std::memory_order_acquire); }
  // Searches that begin from now on go by this one: as rows come and go, the same lists find more
  // or fewer of the best. Earlier ones are kept, some ten thousand bytes each.
  void SetCalibration(Calibration calibration) const;
  // Lists that a typical query has to scan so that a search for k rows is expected to find `recall`
  // of them, by the calibration's table; of an old file's by its points, for which a filter that
  // lets a share s of the rows pass takes s^-widening() times as many: the best k of those are
  // about the best k/s of all.
  int BreadthFor(double recall, int k) const;
  // The same where every query scans as many lists: more, if there is a probe rule.
  int NprobeFor(double recall, int k) const;
  double widening() const { return calibration().widening; }

  // The greatest breadth that Probe looks for by codes first; 0: it looks for none so. With one
  // list more a search may find much more (docs/recall.md).
  int LastBreadthByCodes() const;
  // The best `breadth` (at least 1, at most nlist) of the centroids for a query, by their 8-bit
  // rows; or with a rule as many as it says, for which `breadth` is that of a typical query. Of
  // many lists only those are scored so that are the best 2 · breadth by their product codes (up to
  // 8 · breadth with a rule, for a query with many at hand), an eighth of the bytes: 4,000
  // centroids of 384 dimensions take 1.5 MB, which a scan pushes out of the L2 cache (29% of a
  // search of a million rows; 86 µs became 65). tables: MakeTables of the query. rule: null or
  // on(). scratch: reused. lists: in order of number.
  struct ProbeScratch {
    std::vector<float> scores;
    std::vector<uint32_t> candidates, best;
    std::vector<uint64_t> bits;
    Reservoir reservoir;
  };
  void Probe(const Int8Query& query, const PqTables& tables, int breadth, const ProbeRule* rule,
             ProbeScratch* scratch, std::vector<uint32_t>* lists) const;
  // The query's gap to every list; see ProbeRule.
  void ListGaps(const Int8Query& query, std::vector<float>* gaps) const;

 private:
  Generation() { SetCalibration({}); }
  absl::Status Finish();  // what is derived from centroids and codebooks
  Int8Rows rounded() const;

  uint64_t id_ = 0;
  Metric metric_ = Metric::kInnerProduct;
  bool unit_ = false;
  size_t d_ = 0;
  int nlist_ = 0;
  int64_t trained_rows_ = 0;
  int64_t trained_at_us_ = 0;
  float base_error_ = 0, base_imbalance_ = 1, base_quantization_ = 0;
  uint64_t trained_through_ = 0;
  bool held_out_ = false;
  std::vector<float> centroids_;
  std::unique_ptr<ProductQuantizer> quantizer_;
  std::unique_ptr<CentroidAssigner> assigner_;
  std::vector<uint8_t> codes_;  // of the centroids, for Probe; from code_start_ on, at 64 bytes
  size_t code_start_ = 0;
  std::vector<float> scales_, norms_;
  std::vector<uint8_t> blocks_;  // the centroids' product codes, as PqScan wants them
  std::vector<uint16_t> live_;   // all bits of blocks_' rows
  mutable std::atomic<const Calibration*> calibration_;  // the last of calibrations_
  mutable absl::Mutex calibrations_mu_;
  mutable std::vector<std::unique_ptr<const Calibration>> calibrations_
      ABSL_GUARDED_BY(calibrations_mu_);
};

}  // namespace vecino::index
