// 4-bit product codes, one for each 4 dimensions, of whole vectors (not of residuals).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "server/index/cpu.h"
#include "server/index/kmeans.h"
#include "server/index/metric.h"
#include "server/index/pq_scan.h"

namespace vecino::index {

// What one query needs to scan codes: PqTableBytes(m) bytes, entries 1 to 255 (0 for sub-quantizers
// that do not exist), so that every row's sum is above 0. The higher the sum, the better the row.
// score ≈ offset + step · sum (step < 0 for kL2).
struct PqTables {
  std::vector<uint8_t> bytes;
  float step = 0;
  float offset = 0;
};

// Non-residual codes let rows move between lists as copies, and one table serves all lists of a
// query. Immutable; all methods are safe from any thread.
class ProductQuantizer {
 public:
  static constexpr int kSubDimension = 4;
  static constexpr int kCodewords = 16;

  // Trains with FAISS on rows (n × d), sampled down by `seed` to 16,384. d is padded with zeros to
  // a multiple of 4. Equal input and seed give equal codebooks. INVALID_ARGUMENT: n < 16 or a row
  // with NaN or infinity; RESOURCE_EXHAUSTED; or the checkpoint's error, which is asked between
  // sub-quantizers (about 10 ms each). threads: of ParallelFor; any number gives the same.
  static absl::StatusOr<ProductQuantizer> Train(const float* rows, size_t n, size_t d,
                                                uint64_t seed, Checkpoint checkpoint,
                                                int threads = 1);

  // codebooks: m × 16 × 4 floats, m = ceil(d / 4), copied.
  ProductQuantizer(size_t d, const float* codebooks);

  size_t d() const { return d_; }
  size_t m() const { return m_; }
  const std::vector<float>& codebooks() const { return codebooks_; }

  // rows: n × d. codes: n × m bytes of 0..15, written; for PqPack. All levels give the same codes.
  void Encode(const float* rows, size_t n, uint8_t* codes, CpuLevel level = BestCpuLevel()) const;
  void Decode(const uint8_t* codes, float* row) const;

  // query: d floats. tables: overwritten, memory reused. All levels give the same.
  void MakeTables(Metric metric, const float* query, PqTables* tables,
                  CpuLevel level = BestCpuLevel()) const;

 private:
  size_t d_, m_;
  std::vector<float> codebooks_;
  std::vector<float> kernel_;  // codebooks_ as the kernels read them
};

}  // namespace vecino::index
