#include "server/index/faiss_build.h"

#include <faiss/Clustering.h>
#include <faiss/IndexFlat.h>
#include <faiss/IndexHNSW.h>
#include <faiss/IndexIVFFlat.h>
#include <faiss/IndexIVFPQ.h>
#include <faiss/IndexLSH.h>
#include <faiss/IndexScalarQuantizer.h>
#include <faiss/impl/io.h>
#include <faiss/index_io.h>
#include <faiss/utils/random.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/index/distance.h"
#include "server/index/faiss_hnsw.h"
#include "server/index/faiss_status.h"

namespace vecino::index {
namespace {

constexpr int64_t kRowsPerList = 64;      // of the sample; as Generation
constexpr int64_t kCodecSample = 10'240;  // rows that code books and ranges see: 40 a code word
constexpr int64_t kThresholdSample = 2'048;
constexpr int kCodecIterations = 10;
constexpr int kMaxSignatureBits = 4'096;
constexpr int64_t kStep = 256;       // rows between two calls of the checkpoint,
constexpr int64_t kEncodeStep = 32;  // and where each takes 0.3 ms (product codes)

// Evenly spread rows, at most `most` of them and, by repetition, at least `least`.
absl::StatusOr<std::vector<float>> Sample(const FaissRows& rows, int64_t n, int64_t most,
                                          int64_t least, Checkpoint checkpoint) {
  const int64_t count = std::max(least, std::min(n, most));
  std::vector<float> sample;
  sample.reserve(static_cast<size_t>(count) * rows.d);
  for (int64_t i = 0; i < count; ++i) {
    if (i % kStep == 0) {
      if (absl::Status status = checkpoint(); !status.ok()) return status;
    }
    const float* row = rows[n <= count ? i % n : i * n / count];
    sample.insert(sample.end(), row, row + rows.d);
  }
  return sample;
}

// k-means of each slice of the dimensions with FAISS, an iteration at a time so that the checkpoint
// is reached between them.
absl::Status TrainCodebooks(const std::vector<float>& sample, faiss::ProductQuantizer* pq,
                            Checkpoint checkpoint) {
  const size_t n = sample.size() / pq->d;
  std::vector<float> slice(n * pq->dsub);
  for (size_t m = 0; m < pq->M; ++m) {
    for (size_t i = 0; i < n; ++i) {
      std::copy_n(sample.begin() + static_cast<ptrdiff_t>(i * pq->d + m * pq->dsub), pq->dsub,
                  slice.begin() + static_cast<ptrdiff_t>(i * pq->dsub));
    }
    faiss::ClusteringParameters params;
    params.niter = 1;
    params.min_points_per_centroid = 1;  // it would print a warning
    params.max_points_per_centroid = static_cast<int>(kCodecSample);
    faiss::Clustering clustering(static_cast<int>(pq->dsub), static_cast<int>(pq->ksub), params);
    faiss::IndexFlatL2 assigner(static_cast<faiss::Index::idx_t>(pq->dsub));
    for (int iteration = 0; iteration < kCodecIterations; ++iteration) {
      if (absl::Status status = checkpoint(); !status.ok()) return status;
      clustering.train(static_cast<faiss::Index::idx_t>(n), slice.data(), assigner);
    }
    pq->set_params(clustering.centroids.data(), static_cast<int>(m));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<faiss::Index>> TrainIvf(SegmentKind kind, Metric metric, bool unit,
                                                       const FaissRows& rows, int64_t n,
                                                       const IndexSpec& spec,
                                                       Checkpoint checkpoint) {
  const auto d = static_cast<int>(rows.d);
  const int nlist = FaissLists(spec.nlist, n);
  const auto sample =
      Sample(rows, n, std::max<int64_t>(kRowsPerList * nlist, kCodecSample), 1, checkpoint);
  if (!sample.ok()) return sample.status();
  const KMeansOptions options = {.clusters = nlist, .spherical = unit};
  const auto centroids =
      TrainKMeans(sample->data(), sample->size() / rows.d, rows.d, options, checkpoint);
  if (!centroids.ok()) return centroids.status();
  auto coarse = std::make_unique<faiss::IndexFlat>(d, ToFaiss(metric));
  coarse->add(nlist, centroids->data());

  const auto lists = static_cast<size_t>(nlist);
  std::unique_ptr<faiss::IndexIVF> ivf;
  if (kind == SegmentKind::kIvfFlat) {
    ivf = std::make_unique<faiss::IndexIVFFlat>(coarse.get(), d, lists, ToFaiss(metric));
  } else if (kind == SegmentKind::kIvfSq8) {
    // Codes of rows, not of residuals: those would need a pass over the query for each list.
    auto sq = std::make_unique<faiss::IndexIVFScalarQuantizer>(
        coarse.get(), d, lists, faiss::ScalarQuantizer::QT_8bit, ToFaiss(metric),
        /*encode_residual=*/false);
    const auto ranges = Sample(rows, n, kCodecSample, 1, checkpoint);
    if (!ranges.ok()) return ranges.status();
    sq->sq.train(ranges->size() / rows.d, ranges->data());
    ivf = std::move(sq);
  } else {
    const int bits = FaissCodeBits(spec.pq_bits, n);
    auto pq = std::make_unique<faiss::IndexIVFPQ>(
        coarse.get(), d, lists, FaissSubQuantizers(spec.pq_m, d), bits, ToFaiss(metric));
    pq->by_residual = false;  // as above, and with it a table for each list
    const auto words = Sample(rows, n, kCodecSample, int64_t{1} << bits, checkpoint);
    if (!words.ok()) return words.status();
    absl::Status status = TrainCodebooks(*words, &pq->pq, checkpoint);
    if (!status.ok()) return status;
    ivf = std::move(pq);
  }
  ivf->own_fields = true;
  coarse.release();
  ivf->is_trained = true;
  return std::unique_ptr<faiss::Index>(std::move(ivf));
}

// Random projections; for kL2 and unit rows each is cut at its median, so that half of the rows lie
// on either side. For other inner products the sign itself tells the side of the query.
absl::StatusOr<std::unique_ptr<faiss::Index>> TrainLsh(Metric metric, bool unit,
                                                       const FaissRows& rows, int64_t n,
                                                       const IndexSpec& spec,
                                                       Checkpoint checkpoint) {
  const auto d = static_cast<int>(rows.d);
  const int bits = FaissSignatureBits(spec.lsh_bits, d);
  auto lsh = std::make_unique<faiss::IndexLSH>();
  lsh->d = d;
  lsh->nbits = bits;
  lsh->code_size = static_cast<size_t>(bits) / 8;
  lsh->rotate_data = true;
  // Independent projections, drawn by FAISS's generator. RandomRotationMatrix::init would make them
  // orthogonal, which takes bits³ operations that cannot be interrupted.
  lsh->rrot = faiss::RandomRotationMatrix(d, bits);
  lsh->rrot.A.resize(static_cast<size_t>(bits) * rows.d);
  faiss::float_randn(lsh->rrot.A.data(), lsh->rrot.A.size(), 5);
  lsh->rrot.is_trained = true;
  lsh->train_thresholds = metric == Metric::kL2 || unit;
  if (lsh->train_thresholds) {
    const auto sample = Sample(rows, n, kThresholdSample, 1, checkpoint);
    if (!sample.ok()) return sample.status();
    const size_t count = sample->size() / rows.d;
    std::vector<float> projections(count);
    for (int bit = 0; bit < bits; ++bit) {
      if (bit % 16 == 0) {
        if (absl::Status status = checkpoint(); !status.ok()) return status;
      }
      Score(Metric::kInnerProduct, lsh->rrot.A.data() + static_cast<size_t>(bit) * rows.d,
            sample->data(), rows.d, count, projections.data());
      const auto middle = projections.begin() + static_cast<ptrdiff_t>(count / 2);
      std::nth_element(projections.begin(), middle, projections.end());
      lsh->thresholds.push_back(*middle);
    }
  }
  lsh->is_trained = true;
  return std::unique_ptr<faiss::Index>(std::move(lsh));
}

absl::Status LayOutLists(const FaissRows& rows, int64_t n, FaissParts* parts,
                         Checkpoint checkpoint) {
  const auto& ivf = static_cast<const faiss::IndexIVF&>(*parts->index);
  const auto& coarse = static_cast<const faiss::IndexFlat&>(*ivf.quantizer);
  const CentroidAssigner assigner(coarse.get_xb(), ivf.nlist, rows.d);
  std::vector<uint32_t> lists(static_cast<size_t>(n));
  std::vector<float> batch;
  for (int64_t first = 0; first < n; first += kStep) {
    batch.clear();
    const int64_t count = std::min(kStep, n - first);
    for (int64_t i = first; i < first + count; ++i) {
      batch.insert(batch.end(), rows[i], rows[i] + rows.d);
    }
    absl::Status status = assigner.Assign(batch.data(), static_cast<size_t>(count),
                                          lists.data() + first, nullptr, checkpoint);
    if (!status.ok()) return status;
  }
  parts->list_begin.assign(ivf.nlist + 1, 0);
  for (const uint32_t list : lists) ++parts->list_begin[list + 1];
  std::partial_sum(parts->list_begin.begin(), parts->list_begin.end(), parts->list_begin.begin());
  parts->row_of.resize(lists.size());
  std::vector<uint32_t> next(parts->list_begin.begin(), parts->list_begin.end() - 1);
  for (size_t i = 0; i < lists.size(); ++i) {
    parts->row_of[next[lists[i]]++] = static_cast<uint32_t>(i);
  }
  return absl::OkStatus();
}

absl::Status Encode(const FaissRows& rows, int64_t n, FaissParts* parts, Checkpoint checkpoint) {
  const faiss::Index& index = *parts->index;
  switch (parts->kind) {
    case SegmentKind::kIvfSq8:
      parts->code_size = static_cast<const faiss::IndexIVF&>(index).code_size;
      break;
    case SegmentKind::kIvfPq:
      parts->code_size = static_cast<const faiss::IndexIVF&>(index).code_size;
      break;
    case SegmentKind::kLsh:
      parts->code_size = static_cast<const faiss::IndexLSH&>(index).code_size;
      break;
    default:
      return absl::OkStatus();
  }
  parts->codes.resize(static_cast<size_t>(n) * parts->code_size);
  for (int64_t slot = 0; slot < n; ++slot) {
    if (slot % kEncodeStep == 0) {
      if (absl::Status status = checkpoint(); !status.ok()) return status;
    }
    const float* row = rows[parts->row_of.empty() ? slot : parts->row_of[slot]];
    uint8_t* code = parts->codes.data() + static_cast<size_t>(slot) * parts->code_size;
    if (parts->kind == SegmentKind::kIvfSq8) {
      static_cast<const faiss::IndexIVFScalarQuantizer&>(index).sq.compute_codes(row, code, 1);
    } else if (parts->kind == SegmentKind::kIvfPq) {
      static_cast<const faiss::IndexIVFPQ&>(index).pq.compute_code(row, code);
    } else {
      EncodeLsh(index, row, code);
    }
  }
  return absl::OkStatus();
}

}  // namespace

int FaissLists(int wanted, int64_t rows) {
  const int64_t most = std::max<int64_t>(1, rows / 39);
  if (wanted <= 0) wanted = Generation::DefaultLists(rows);
  return static_cast<int>(std::clamp<int64_t>(wanted, 1, most));
}

int FaissSubQuantizers(int wanted, int d) {
  int m = wanted > 0 ? std::min(wanted, d) : std::max(1, (d + 3) / 4);
  while (d % m != 0) m += wanted > 0 ? -1 : 1;
  return m;
}

int FaissCodeBits(int wanted, int64_t rows) {
  int bits = wanted > 0 ? std::min(wanted, 8) : 8;
  while (bits > 1 && int64_t{1} << bits > rows) --bits;
  return bits;
}

int FaissSignatureBits(int wanted, int d) {
  const int bits = wanted > 0 ? wanted : std::min(4 * d, kMaxSignatureBits);
  return (bits + 7) / 8 * 8;
}

absl::StatusOr<FaissParts> BuildFaiss(SegmentKind kind, Metric metric, bool unit,
                                      const FaissRows& rows, int64_t n, const IndexSpec& spec,
                                      std::unique_ptr<faiss::Index> trained,
                                      Checkpoint checkpoint) {
  if (n < 1 || n > INT32_MAX) {
    return absl::InvalidArgumentError(
        absl::StrCat("a FAISS segment holds 1 to 2,147,483,647 rows, not ", n));
  }
  FaissParts parts = {.kind = kind, .metric = metric, .index = std::move(trained)};
  absl::Status status =
      CatchFaiss(absl::StrCat("build an ", std::string(SegmentKindName(kind)), " segment"), [&] {
        if (kind == SegmentKind::kHnsw) {
          const auto d = static_cast<int>(rows.d);
          const int m = std::clamp(spec.hnsw_m > 0 ? spec.hnsw_m : 16, 2, 128);
          auto hnsw = std::make_unique<faiss::IndexHNSWFlat>(d, m, ToFaiss(metric));
          hnsw->hnsw.efConstruction = spec.ef_construction > 0 ? spec.ef_construction : 100;
          absl::Status linked = LinkHnsw(metric, rows, n, &hnsw->hnsw, checkpoint);
          parts.index = std::move(hnsw);
          return linked;
        }
        if (kind == SegmentKind::kLsh) {
          if (parts.index == nullptr) {
            auto lsh = TrainLsh(metric, unit, rows, n, spec, checkpoint);
            if (!lsh.ok()) return lsh.status();
            parts.index = *std::move(lsh);
          }
          return Encode(rows, n, &parts, checkpoint);
        }
        if (parts.index == nullptr) {
          auto ivf = TrainIvf(kind, metric, unit, rows, n, spec, checkpoint);
          if (!ivf.ok()) return ivf.status();
          parts.index = *std::move(ivf);
        }
        absl::Status done = LayOutLists(rows, n, &parts, checkpoint);
        if (done.ok()) done = Encode(rows, n, &parts, checkpoint);
        return done;
      });
  if (!status.ok()) return status;
  return parts;
}

absl::StatusOr<std::vector<uint8_t>> SerializeFaiss(const faiss::Index& index) {
  faiss::VectorIOWriter writer;
  absl::Status status = CatchFaiss("serialise an index", [&] {
    faiss::write_index(&index, &writer);
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  return std::move(writer.data);
}

absl::StatusOr<std::unique_ptr<faiss::Index>> DeserializeFaiss(std::span<const std::byte> bytes) {
  // Reads where the bytes lie.
  struct Reader : faiss::IOReader {
    std::span<const std::byte> left;
    size_t operator()(void* to, size_t size, size_t count) override {
      if (size == 0) return 0;
      count = std::min(count, left.size() / size);
      if (count > 0) std::memcpy(to, left.data(), size * count);
      left = left.subspan(size * count);
      return count;
    }
  } reader;
  reader.left = bytes;
  std::unique_ptr<faiss::Index> index;
  absl::Status status = CatchFaiss("read an index", [&] {
    index.reset(faiss::read_index(&reader, faiss::IO_FLAG_SKIP_PRECOMPUTE_TABLE));
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  return index;
}

}  // namespace vecino::index
