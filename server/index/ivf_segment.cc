#include "server/index/ivf_segment.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/index/ivf_search.h"

namespace vecino::index {
namespace {

constexpr std::string_view kFileType = "ivf";

struct Meta {
  uint64_t generation;
  uint64_t rows;
  uint32_t d;
  uint32_t nlist;
  uint32_t m;
  uint32_t metric;
};
static_assert(sizeof(Meta) == 32);

// Rows that are assigned, or bytes of a section that are made, by one thread at a time.
constexpr size_t kStep = 256;
constexpr size_t kSampled = IvfSegment::kSampledRows;
constexpr size_t kPieceBytes = size_t{1} << 20;

// Where a row comes from.
struct Ref {
  uint32_t source;
  uint32_t slot;
};

// Lays the rows of FrozenRows out in lists and writes them.
class Builder {
 public:
  Builder(const FrozenRows& rows, const Generation& generation, const std::string& path,
          Checkpoint checkpoint, int threads, std::atomic<int64_t>* progress)
      : sources_(rows.sources()),
        generation_(generation),
        d_(generation.d()),
        m_(generation.quantizer().m()),
        checkpoint_(checkpoint),
        threads_(std::max(threads, 1)),
        progress_(progress),
        writer_(path, kFileType) {
    for (const FrozenRows::Source& source : sources_) {
      const auto* ivf = dynamic_cast<const IvfSegment*>(source.segment.segment.get());
      ivf_.push_back(ivf);
      same_.push_back(ivf != nullptr && ivf->generation()->id() == generation.id());
    }
  }

  absl::Status Plan(int64_t live, IvfSegment::Drift* drift);
  absl::StatusOr<std::shared_ptr<const SegmentFile>> Write();

 private:
  const float* vector(Ref ref) const { return sources_[ref.source].vector(ref.slot); }
  void Did(size_t rows) const {
    if (progress_ != nullptr) {
      progress_->fetch_add(static_cast<int64_t>(rows), std::memory_order_relaxed);
    }
  }

  absl::Status Assign(size_t source, IvfSegment::Drift* drift, std::vector<Ref>* refs,
                      std::vector<uint32_t>* lists) const;
  double CodeError(const float* rows, size_t first, size_t count) const;
  // Makes a section of n items of equal size in pieces: fill(first, end, to) writes the items first
  // to end − 1 to `to`, on several threads at once.
  absl::Status WriteSection(std::string_view name, size_t n, size_t item_bytes,
                            absl::FunctionRef<void(size_t first, size_t end, uint8_t* to)> fill);
  absl::Status WriteVectors();
  absl::Status WriteRounded();
  absl::Status WriteCodes();
  absl::Status WriteTables();
  absl::Status WriteLabels(const std::vector<uint64_t>& labels, const std::vector<uint32_t>& order);

  const std::vector<FrozenRows::Source>& sources_;
  const Generation& generation_;
  const size_t d_, m_;
  const Checkpoint checkpoint_;
  const int threads_;
  std::atomic<int64_t>* const progress_;
  SegmentFileWriter writer_;
  std::vector<const IvfSegment*> ivf_;  // of each source, or null
  std::vector<bool> same_;              // whether its codes are of this generation
  std::vector<uint32_t> list_begin_;
  std::vector<Ref> plan_;  // by slot
};

absl::Status Builder::Assign(size_t source_number, IvfSegment::Drift* drift, std::vector<Ref>* refs,
                             std::vector<uint32_t>* lists) const {
  const FrozenRows::Source& source = sources_[source_number];
  const Segment* segment = source.segment.segment.get();
  refs->reserve(static_cast<size_t>(source.size()));  // growing would take twice as much
  for (int64_t i = 0; i < source.size(); ++i) {
    const int64_t slot = segment == nullptr ? i : segment->InLabelOrder(i);
    if (!source.IsLive(slot)) continue;
    refs->push_back({static_cast<uint32_t>(source_number), static_cast<uint32_t>(slot)});
  }
  const size_t n = refs->size(), steps = (n + kStep - 1) / kStep;
  lists->resize(n);
  std::vector<double> distances(steps);  // sums, added up in order
  std::vector<double> code_errors(drift == nullptr ? 0 : steps);
  absl::Status status = ParallelFor(
      threads_, steps, checkpoint_, [&](size_t step, Checkpoint checkpoint) -> absl::Status {
        const size_t first = step * kStep, count = std::min(kStep, n - first);
        std::vector<float> rows(count * d_), of_rows(count);
        for (size_t i = 0; i < count; ++i) {
          std::copy_n(vector((*refs)[first + i]), d_, rows.data() + i * d_);
        }
        absl::Status assigned = generation_.assigner().Assign(
            rows.data(), count, lists->data() + first, of_rows.data(), checkpoint);
        distances[step] = std::accumulate(of_rows.begin(), of_rows.end(), 0.0);
        if (drift != nullptr) code_errors[step] = CodeError(rows.data(), first, count);
        Did(count);
        return assigned;
      });
  if (!status.ok()) return status;
  if (drift != nullptr) {
    drift->squared_distance += std::accumulate(distances.begin(), distances.end(), 0.0);
    drift->rows += static_cast<int64_t>(n);
    drift->squared_code_error += std::accumulate(code_errors.begin(), code_errors.end(), 0.0);
    drift->coded_rows += static_cast<int64_t>((n + kSampled - 1) / kSampled);
  }
  return absl::OkStatus();
}

// Of those of the rows first to first + count − 1 that are in the sample, the sum.
double Builder::CodeError(const float* rows, size_t first, size_t count) const {
  const ProductQuantizer& quantizer = generation_.quantizer();
  std::vector<uint8_t> codes(m_);
  std::vector<float> decoded(d_);
  double sum = 0;
  for (size_t i = (kSampled - first % kSampled) % kSampled; i < count; i += kSampled) {
    const float* row = rows + i * d_;
    quantizer.Encode(row, 1, codes.data());
    quantizer.Decode(codes.data(), decoded.data());
    for (size_t j = 0; j < d_; ++j) sum += (double{row[j]} - decoded[j]) * (row[j] - decoded[j]);
  }
  return sum;
}

// Counts the rows of each list, then puts each row in its place: sources come in order of labels,
// and within a source lists are gone through in order of labels, so labels ascend within a list.
absl::Status Builder::Plan(int64_t live, IvfSegment::Drift* drift) {
  const int nlist = generation_.nlist();
  std::vector<std::vector<Ref>> refs(sources_.size());
  std::vector<std::vector<uint32_t>> lists(sources_.size());
  for (size_t s = 0; s < sources_.size(); ++s) {
    if (same_[s]) {
      refs[s].reserve(static_cast<size_t>(sources_[s].size()));
      lists[s].reserve(static_cast<size_t>(sources_[s].size()));
      for (int list = 0; list < nlist; ++list) {
        for (uint32_t slot = ivf_[s]->list_begin(list); slot < ivf_[s]->list_begin(list + 1);
             ++slot) {
          if (!sources_[s].IsLive(slot)) continue;
          refs[s].push_back({static_cast<uint32_t>(s), slot});
          lists[s].push_back(static_cast<uint32_t>(list));
        }
      }
      Did(refs[s].size());
      if (absl::Status status = checkpoint_(); !status.ok()) return status;
    } else if (absl::Status status = Assign(s, drift, &refs[s], &lists[s]); !status.ok()) {
      return status;
    }
  }
  list_begin_.assign(static_cast<size_t>(nlist) + 1, 0);
  for (const auto& of_source : lists) {
    for (const uint32_t list : of_source) ++list_begin_[list + 1];
  }
  std::partial_sum(list_begin_.begin(), list_begin_.end(), list_begin_.begin());
  if (list_begin_.back() != live) {
    return absl::InternalError(
        absl::StrCat("a segment of ", live, " rows was planned with ", list_begin_.back()));
  }
  plan_.resize(static_cast<size_t>(live));
  std::vector<uint32_t> next(list_begin_.begin(), list_begin_.end() - 1);
  for (size_t s = 0; s < sources_.size(); ++s) {
    for (size_t i = 0; i < refs[s].size(); ++i) plan_[next[lists[s][i]]++] = refs[s][i];
    refs[s] = {};
    lists[s] = {};
  }
  return absl::OkStatus();
}

absl::Status Builder::WriteSection(
    std::string_view name, size_t n, size_t item_bytes,
    absl::FunctionRef<void(size_t first, size_t end, uint8_t* to)> fill) {
  const size_t piece = std::max<size_t>(1, kPieceBytes / item_bytes);
  const size_t round = piece * 4 * static_cast<size_t>(threads_);
  const auto made = std::make_unique_for_overwrite<uint8_t[]>(std::min(round, n) * item_bytes);
  absl::Status status = writer_.Begin(name);
  for (size_t first = 0; first < n && status.ok(); first += round) {
    const size_t count = std::min(round, n - first);
    status = ParallelFor(threads_, (count + piece - 1) / piece, checkpoint_,
                         [&](size_t task, Checkpoint) {
                           const size_t begin = task * piece;
                           fill(first + begin, first + std::min(begin + piece, count),
                                made.get() + begin * item_bytes);
                           return absl::OkStatus();
                         });
    if (status.ok()) status = writer_.Append(made.get(), count * item_bytes);
  }
  return status;
}

absl::Status Builder::WriteVectors() {
  const size_t bytes = d_ * sizeof(float);
  return WriteSection("vectors", plan_.size(), bytes, [&](size_t i, size_t end, uint8_t* to) {
    Did(end - i);
    for (; i < end; ++i, to += bytes) std::memcpy(to, vector(plan_[i]), bytes);
  });
}

absl::Status Builder::WriteRounded() {
  const size_t stride = Int8Stride(d_);
  const bool l2 = generation_.metric() == Metric::kL2;
  std::vector<float> scales(plan_.size()), norms(l2 ? plan_.size() : 0);
  absl::Status status =
      WriteSection("rounded", plan_.size(), stride, [&](size_t i, size_t end, uint8_t* to) {
        Did(end - i);
        for (; i < end; ++i, to += stride) {
          const Ref ref = plan_[i];
          if (const IvfSegment* from = ivf_[ref.source]; from != nullptr) {
            const Int8Rows& rounded = from->rounded();
            scales[i] = rounded.scales[ref.slot];
            if (l2) norms[i] = rounded.norms[ref.slot];
            std::memcpy(to, rounded.codes + size_t{ref.slot} * stride, stride);
            continue;
          }
          const float* row = vector(ref);
          scales[i] = QuantizeRow(row, d_, to);
          if (!l2) continue;
          double norm = 0;
          for (size_t j = 0; j < d_; ++j) norm += double{row[j]} * row[j];
          norms[i] = static_cast<float>(norm);
        }
      });
  if (status.ok()) {
    status = writer_.AddSection("scales", scales.data(), scales.size() * sizeof(float));
  }
  if (status.ok() && l2) {
    status = writer_.AddSection("norms", norms.data(), norms.size() * sizeof(float));
  }
  return status;
}

absl::Status Builder::WriteCodes() {
  const size_t block_bytes = PqBlockBytes(m_), n = plan_.size();
  const size_t blocks = (n + kPqBlockRows - 1) / kPqBlockRows;
  return WriteSection("packed", blocks, block_bytes, [&](size_t b, size_t end, uint8_t* to) {
    Did(std::min(end * kPqBlockRows, n) - b * kPqBlockRows);
    std::fill_n(to, (end - b) * block_bytes, uint8_t{0});
    std::vector<uint8_t> codes(m_);
    for (; b < end; ++b, to += block_bytes) {
      const size_t first = b * kPqBlockRows;
      for (size_t slot = first; slot < std::min(first + kPqBlockRows, n); ++slot) {
        const Ref ref = plan_[slot];
        const auto row = static_cast<int>(slot - first);
        if (same_[ref.source]) {
          PqCopyRow(ivf_[ref.source]->block(ref.slot / kPqBlockRows),
                    static_cast<int>(ref.slot % kPqBlockRows), m_, to, row);
          continue;
        }
        generation_.quantizer().Encode(vector(ref), 1, codes.data());
        PqPack(codes.data(), m_, to, row);
      }
    }
  });
}

// As 32-bit offsets from the first, when they are that close together.
absl::Status Builder::WriteLabels(const std::vector<uint64_t>& labels,
                                  const std::vector<uint32_t>& order) {
  const uint64_t base = labels[order.front()];
  if (labels[order.back()] - base > UINT32_MAX) {
    return writer_.AddSection("labels", labels.data(), labels.size() * sizeof(uint64_t));
  }
  std::vector<uint32_t> offsets(labels.size());
  for (size_t i = 0; i < labels.size(); ++i) offsets[i] = static_cast<uint32_t>(labels[i] - base);
  absl::Status status =
      writer_.AddSection("labels32", offsets.data(), offsets.size() * sizeof(uint32_t));
  if (status.ok()) status = writer_.AddSection("label_base", &base, sizeof(base));
  return status;
}

absl::Status Builder::WriteTables() {
  std::vector<uint64_t> labels(plan_.size());
  for (size_t i = 0; i < plan_.size(); ++i) {
    labels[i] = sources_[plan_[i].source].label(plan_[i].slot);
  }
  plan_ = {};
  std::vector<uint32_t> order(labels.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(),
            [&](uint32_t a, uint32_t b) { return labels[a] < labels[b]; });
  const Meta meta = {.generation = generation_.id(),
                     .rows = labels.size(),
                     .d = static_cast<uint32_t>(d_),
                     .nlist = static_cast<uint32_t>(generation_.nlist()),
                     .m = static_cast<uint32_t>(m_),
                     .metric = generation_.metric() == Metric::kL2 ? 1u : 0u};
  absl::Status status = WriteLabels(labels, order);
  if (status.ok()) status = writer_.AddSection("order", order.data(), order.size() * 4);
  if (status.ok()) {
    status = writer_.AddSection("list_begin", list_begin_.data(), list_begin_.size() * 4);
  }
  if (status.ok()) status = writer_.AddSection("meta", &meta, sizeof(meta));
  return status;
}

absl::StatusOr<std::shared_ptr<const SegmentFile>> Builder::Write() {
  absl::Status status = WriteVectors();
  if (status.ok()) status = WriteRounded();
  if (status.ok()) status = WriteCodes();
  if (status.ok()) status = WriteTables();
  if (!status.ok()) return status;
  return writer_.Commit();
}

}  // namespace

absl::StatusOr<std::shared_ptr<const IvfSegment>> IvfSegment::Build(
    const FrozenRows& rows, std::shared_ptr<const Generation> generation, const std::string& path,
    Checkpoint checkpoint, Drift* drift, int threads, std::atomic<int64_t>* progress) {
  if (rows.live() == 0) return std::shared_ptr<const IvfSegment>();
  if (rows.live() > int64_t{UINT32_MAX}) {
    return absl::FailedPreconditionError(absl::StrCat(
        "a segment holds up to 4,294,967,295 rows, not ", rows.live(), "; use more shards"));
  }
  try {
    Builder builder(rows, *generation, path, checkpoint, threads, progress);
    if (absl::Status status = builder.Plan(rows.live(), drift); !status.ok()) return status;
    auto file = builder.Write();
    if (!file.ok()) return file.status();
    return FromFile(*std::move(file), std::move(generation));
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(
        absl::StrCat("no memory to build a segment of ", rows.live(), " rows"));
  }
}

absl::StatusOr<std::shared_ptr<const IvfSegment>> IvfSegment::Open(
    const std::string& path, std::shared_ptr<const Generation> generation,
    SegmentFile::Verify verify) {
  auto file = SegmentFile::Open(path, kFileType, verify);
  if (!file.ok()) return file.status();
  return FromFile(*std::move(file), std::move(generation));
}

namespace {

// The codes of a file of format version 1, where every list began with a block of its own.
absl::StatusOr<std::vector<uint8_t>> Repack(const SegmentFile& file, const uint32_t* list_begin,
                                            size_t nlist, size_t m) {
  const size_t block_bytes = PqBlockBytes(m);
  size_t blocks = 0;
  for (size_t i = 0; i < nlist; ++i) {
    blocks += (list_begin[i + 1] - list_begin[i] + kPqBlockRows - 1) / kPqBlockRows;
  }
  const auto codes = file.Array<uint8_t>("codes", blocks * block_bytes);
  if (!codes.ok()) return codes.status();
  const uint8_t* from = *codes;
  std::vector<uint8_t> packed((list_begin[nlist] + kPqBlockRows - 1) / kPqBlockRows * block_bytes);
  for (size_t i = 0; i < nlist; ++i) {
    const uint32_t rows = list_begin[i + 1] - list_begin[i];
    for (uint32_t row = 0; row < rows; ++row) {
      const uint32_t slot = list_begin[i] + row;
      PqCopyRow(from + row / kPqBlockRows * block_bytes, static_cast<int>(row % kPqBlockRows), m,
                packed.data() + slot / kPqBlockRows * block_bytes,
                static_cast<int>(slot % kPqBlockRows));
    }
    from += (rows + kPqBlockRows - 1) / kPqBlockRows * block_bytes;
  }
  return packed;
}

}  // namespace

absl::StatusOr<std::shared_ptr<const IvfSegment>> IvfSegment::FromFile(
    std::shared_ptr<const SegmentFile> file, std::shared_ptr<const Generation> generation) {
  const auto meta = file->Array<Meta>("meta", 1);
  if (!meta.ok()) return meta.status();
  const Meta& is = **meta;
  const Generation& g = *generation;
  const size_t d = g.d(), nlist = static_cast<size_t>(g.nlist());
  if (is.generation != g.id() || is.d != d || is.nlist != nlist || is.m != g.quantizer().m() ||
      (is.metric == 1) != (g.metric() == Metric::kL2)) {
    return absl::FailedPreconditionError(absl::StrCat(
        "segment file ", file->path(), " was made under generation ", is.generation, " (", is.d,
        " dimensions, ", is.nlist, " lists), not ", g.id(), " (", d, ", ", nlist, ")"));
  }
  if (is.rows == 0 || is.rows > UINT32_MAX) {
    return absl::DataLossError(
        absl::StrCat("segment file ", file->path(), " says it has ", is.rows, " rows"));
  }
  std::shared_ptr<IvfSegment> segment(new IvfSegment());
  IvfSegment& s = *segment;
  s.rows_ = static_cast<int64_t>(is.rows);
  s.block_bytes_ = PqBlockBytes(is.m);
  const auto list_begin = file->Array<uint32_t>("list_begin", nlist + 1);
  if (!list_begin.ok()) return list_begin.status();
  s.list_begin_ = *list_begin;
  if (s.list_begin_[0] != 0 || s.list_begin_[nlist] != is.rows ||
      !std::is_sorted(s.list_begin_, s.list_begin_ + nlist + 1)) {
    return absl::DataLossError(absl::StrCat("segment file ", file->path(),
                                            ": its lists do not add up to ", is.rows, " rows"));
  }
  const size_t blocks = (is.rows + kPqBlockRows - 1) / kPqBlockRows;
  if (file->Section("packed").ok()) {
    const auto codes = file->Array<uint8_t>("packed", blocks * s.block_bytes_);
    if (!codes.ok()) return codes.status();
    s.codes_ = *codes;
  } else {
    auto codes = Repack(*file, s.list_begin_, nlist, is.m);
    if (!codes.ok()) return codes.status();
    s.repacked_ = std::make_shared<const std::vector<uint8_t>>(*std::move(codes));
    s.codes_ = s.repacked_->data();
  }
  if (file->Section("labels32").ok()) {
    const auto narrow = file->Array<uint32_t>("labels32", is.rows);
    const auto base = file->Array<uint64_t>("label_base", 1);
    if (!narrow.ok() || !base.ok()) return narrow.ok() ? base.status() : narrow.status();
    s.labels_ = {.wide = nullptr, .narrow = *narrow, .base = **base};
  } else {
    const auto wide = file->Array<uint64_t>("labels", is.rows);
    if (!wide.ok()) return wide.status();
    s.labels_ = {.wide = *wide, .narrow = nullptr, .base = 0};
  }
  const auto order = file->Array<uint32_t>("order", is.rows);
  if (!order.ok()) return order.status();
  const auto vectors = file->Array<float>("vectors", is.rows * d);
  if (!vectors.ok()) return vectors.status();
  const auto rounded = file->Array<uint8_t>("rounded", is.rows * Int8Stride(d));
  if (!rounded.ok()) return rounded.status();
  const auto scales = file->Array<float>("scales", is.rows);
  if (!scales.ok()) return scales.status();
  s.rounded_ = {
      .metric = g.metric(), .d = d, .codes = *rounded, .scales = *scales, .norms = nullptr};
  if (is.metric == 1) {
    const auto norms = file->Array<float>("norms", is.rows);
    if (!norms.ok()) return norms.status();
    s.rounded_.norms = *norms;
  }
  s.order_ = *order;
  for (uint64_t i = 0; i < is.rows; ++i) {
    if (s.order_[i] >= is.rows || (i > 0 && s.labels_[s.order_[i - 1]] >= s.labels_[s.order_[i]])) {
      return absl::DataLossError(absl::StrCat("segment file ", file->path(), ": row ", i,
                                              " is out of the order of labels"));
    }
  }
  s.vectors_ = *vectors;
  file->AdviseRandom("vectors");
  s.file_ = std::move(file);
  s.generation_ = std::move(generation);
  return std::shared_ptr<const IvfSegment>(std::move(segment));
}

std::shared_ptr<const IvfSegment> IvfSegment::WithGraph(std::shared_ptr<const Graph> graph) const {
  std::shared_ptr<IvfSegment> segment(new IvfSegment(*this));
  segment->graph_ = std::move(graph);
  return segment;
}

MemoryUse IvfSegment::memory() const {
  const auto rows = static_cast<int64_t>(rows_);
  const auto d = static_cast<int64_t>(generation_->d());
  MemoryUse use;
  use.codes = (rows + kPqBlockRows - 1) / kPqBlockRows * static_cast<int64_t>(block_bytes_);
  if (graph_ != nullptr) use.codes += graph_->bytes();
  use.rounded =
      rows * static_cast<int64_t>(Int8Stride(d) + 4 + (rounded_.norms != nullptr ? 4 : 0));
  use.vectors = rows * d * 4;
  use.labels = rows * (labels_.bytes_each() + 4) + (int64_t{generation_->nlist()} + 1) * 4;
  if (!file_->path().empty()) use.mapped = file_->bytes();
  return use;
}

int64_t IvfSegment::FindSlot(uint64_t label) const {
  const uint32_t* end = order_ + rows_;
  const uint32_t* it = std::lower_bound(
      order_, end, label, [&](uint32_t slot, uint64_t wanted) { return labels_[slot] < wanted; });
  return it != end && labels_[*it] == label ? int64_t{*it} : -1;
}

absl::Status IvfSegment::Search(const float* query, const SearchParams& params,
                                const Tombstones& dead, const uint64_t* allowed, TopK* top) const {
  return SearchIvf({{this, &dead, allowed}}, query, params, top);
}

IvfSegment::Drift IvfSegment::DriftSince(uint64_t after, int64_t most) const {
  const auto d = generation_->d();
  const ProductQuantizer& quantizer = generation_->quantizer();
  const int nlist = generation_->nlist();
  const auto* first =
      std::upper_bound(order_, order_ + rows_, after,
                       [&](uint64_t label, uint32_t slot) { return label < labels_[slot]; });
  Drift drift;
  drift.rows = order_ + rows_ - first;
  const int64_t step = std::max<int64_t>(1, drift.rows / std::max<int64_t>(most, 1));
  std::vector<uint8_t> codes(quantizer.m());
  std::vector<float> decoded(d);
  double distances = 0;
  for (int64_t i = 0; i < drift.rows; i += step) {
    const uint32_t slot = first[i];
    const auto list =
        std::upper_bound(list_begin_, list_begin_ + nlist + 1, slot) - list_begin_ - 1;
    const float* row = vector(slot);
    const float* centroid = generation_->centroids().data() + static_cast<size_t>(list) * d;
    quantizer.Encode(row, 1, codes.data());
    quantizer.Decode(codes.data(), decoded.data());
    for (size_t j = 0; j < d; ++j) {
      const double away = double{row[j]} - centroid[j], off = double{row[j]} - decoded[j];
      distances += away * away;
      drift.squared_code_error += off * off;
    }
    ++drift.coded_rows;
  }
  if (drift.coded_rows > 0) {
    drift.squared_distance =
        distances * static_cast<double>(drift.rows) / static_cast<double>(drift.coded_rows);
  }
  return drift;
}

double IvfSegment::Imbalance() const {
  const int nlist = generation_->nlist();
  double squares = 0;
  for (int i = 0; i < nlist; ++i) {
    const double size = list_begin_[i + 1] - list_begin_[i];
    squares += size * size;
  }
  const auto rows = static_cast<double>(rows_);
  return nlist * squares / (rows * rows);
}

}  // namespace vecino::index
