#include "server/index/faiss_segment.h"

#include <faiss/IndexFlat.h>
#include <faiss/IndexHNSW.h>
#include <faiss/IndexIVF.h>
#include <faiss/IndexIVFFlat.h>
#include <faiss/IndexIVFPQ.h>
#include <faiss/IndexLSH.h>
#include <faiss/IndexScalarQuantizer.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/index/bits.h"
#include "server/index/crc32c.h"
#include "server/index/faiss_build.h"
#include "server/index/faiss_search.h"
#include "server/index/faiss_status.h"
#include "server/index/search_kinds.h"
#include "server/index/search_report.h"

namespace vecino::index {
namespace {

constexpr std::string_view kFileType = "faiss";
constexpr std::string_view kTableSection = "recall_table";  // RecallTable::Bytes
constexpr int64_t kStep = 1024;  // rows between two calls of the checkpoint

struct Meta {
  uint64_t rows;
  uint32_t d;
  uint32_t kind;
  uint32_t metric;
  uint32_t nlist;
  uint32_t code_size;
  uint32_t asked_breadth;  // of the spec; earlier programs searched with it
  uint32_t points;         // of the calibration
  uint32_t k;              // it was measured for
  uint32_t queries;        // it was measured with
  uint32_t index_crc;
  uint32_t reserved;
  uint32_t crc;  // of what is before it
};
static_assert(sizeof(Meta) == 56);

uint32_t MetaCrc(const Meta& meta) { return Crc32c(&meta, offsetof(Meta, crc)); }

bool IsIvf(SegmentKind kind) {
  return kind == SegmentKind::kIvfFlat || kind == SegmentKind::kIvfSq8 ||
         kind == SegmentKind::kIvfPq;
}

// The live rows, where they lie, by ascending label.
struct Collected {
  std::vector<const float*> rows;
  std::vector<uint64_t> labels;
};

absl::StatusOr<Collected> Collect(const FrozenRows& rows, int dimension) {
  for (const FrozenRows::Source& source : rows.sources()) {
    if (source.segment.segment != nullptr && source.segment.segment->dimension() != dimension) {
      return absl::InvalidArgumentError(absl::StrCat("a segment of ", dimension,
                                                     " dimensions cannot take in one of ",
                                                     source.segment.segment->dimension()));
    }
  }
  Collected all;
  all.rows.reserve(static_cast<size_t>(rows.live()));
  all.labels.reserve(static_cast<size_t>(rows.live()));
  absl::Status status = rows.ForEachLive([&](uint64_t label, const float* row) {
    all.rows.push_back(row);
    all.labels.push_back(label);
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  return all;
}

template <typename T>
absl::Status Add(SegmentFileWriter* writer, std::string_view name, const std::vector<T>& values) {
  return writer->AddSection(name, values.data(), values.size() * sizeof(T));
}

absl::StatusOr<std::shared_ptr<const SegmentFile>> Write(
    const FaissParts& parts, Meta meta, const FaissRows& rows, const std::vector<uint64_t>& labels,
    const Calibration& calibration, const std::string& path, Checkpoint checkpoint) {
  const auto n = static_cast<int64_t>(meta.rows);
  SegmentFileWriter writer(path, kFileType);
  absl::Status status = writer.Begin("vectors");
  for (int64_t i = 0; i < n && status.ok(); ++i) {
    if (i % kStep == 0) status = checkpoint();
    if (status.ok()) status = writer.Append(rows[i], rows.d * sizeof(float));
  }
  if (status.ok()) status = Add(&writer, "labels", labels);
  if (status.ok() && IsIvf(parts.kind)) {
    std::vector<uint32_t> order(parts.row_of.size());
    for (size_t slot = 0; slot < order.size(); ++slot) {
      order[parts.row_of[slot]] = static_cast<uint32_t>(slot);
    }
    status = Add(&writer, "order", order);
    if (status.ok()) status = Add(&writer, "list_begin", parts.list_begin);
  }
  if (status.ok() && !parts.codes.empty()) status = Add(&writer, "codes", parts.codes);
  if (status.ok()) status = Add(&writer, "calibration", calibration.points);
  if (const std::vector<uint8_t> table = calibration.table.Bytes(); status.ok() && !table.empty()) {
    status = Add(&writer, kTableSection, table);
  }
  if (!status.ok()) return status;
  const auto index = SerializeFaiss(*parts.index);
  if (!index.ok()) return index.status();
  status = Add(&writer, "index", *index);
  meta.index_crc = Crc32c(index->data(), index->size());
  meta.crc = MetaCrc(meta);
  if (status.ok()) status = writer.AddSection("meta", &meta, sizeof(meta));
  if (!status.ok()) return status;
  return writer.Commit();
}

// Whether the index that was read is the one that the rest of the file speaks of.
bool Fits(const faiss::Index& index, const Meta& meta) {
  if (index.d != static_cast<int>(meta.d)) return false;
  switch (static_cast<SegmentKind>(meta.kind)) {
    case SegmentKind::kIvfFlat:
    case SegmentKind::kIvfSq8:
    case SegmentKind::kIvfPq: {
      const auto* ivf = dynamic_cast<const faiss::IndexIVF*>(&index);
      if (ivf == nullptr || ivf->nlist != meta.nlist) return false;
      const auto* coarse = dynamic_cast<const faiss::IndexFlat*>(ivf->quantizer);
      if (coarse == nullptr || coarse->ntotal != static_cast<int64_t>(meta.nlist)) return false;
      if (meta.kind == static_cast<uint32_t>(SegmentKind::kIvfFlat)) {
        return dynamic_cast<const faiss::IndexIVFFlat*>(ivf) != nullptr;
      }
      if (ivf->code_size != meta.code_size) return false;
      return meta.kind == static_cast<uint32_t>(SegmentKind::kIvfSq8)
                 ? dynamic_cast<const faiss::IndexIVFScalarQuantizer*>(ivf) != nullptr
                 : dynamic_cast<const faiss::IndexIVFPQ*>(ivf) != nullptr;
    }
    case SegmentKind::kHnsw: {
      const auto* hnsw = dynamic_cast<const faiss::IndexHNSWFlat*>(&index);
      return hnsw != nullptr && hnsw->hnsw.levels.size() == meta.rows &&
             hnsw->hnsw.offsets.size() == meta.rows + 1;
    }
    case SegmentKind::kLsh: {
      const auto* lsh = dynamic_cast<const faiss::IndexLSH*>(&index);
      return lsh != nullptr && lsh->code_size == meta.code_size;
    }
    default:
      return false;
  }
}

}  // namespace

FaissSegment::FaissSegment() = default;
FaissSegment::~FaissSegment() = default;

absl::StatusOr<std::shared_ptr<const FaissSegment>> FaissSegment::Build(
    const FrozenRows& frozen, Metric metric, int dimension, bool unit, const IndexSpec& spec,
    const std::string& path, Checkpoint checkpoint) {
  const SegmentKind kind = TrainedKind(spec.kind);
  if (!IsFaissKind(spec.kind)) {
    return absl::InvalidArgumentError(
        absl::StrCat(std::string(IndexKindName(spec.kind)), " is not a kind of FAISS segment"));
  }
  if (frozen.live() == 0) return std::shared_ptr<const FaissSegment>();
  std::shared_ptr<const SegmentFile> file;
  absl::Status status = CatchFaiss("build a segment", [&] {
    const auto all = Collect(frozen, dimension);
    if (!all.ok()) return all.status();
    const auto n = static_cast<int64_t>(all->rows.size());
    const FaissRows rows = {.d = static_cast<size_t>(dimension), .each = all->rows.data()};
    auto parts = BuildFaiss(kind, metric, unit, rows, n, spec, nullptr, checkpoint);
    if (!parts.ok()) return parts.status();

    std::vector<const float*> by_slot = all->rows;
    std::vector<uint64_t> labels = all->labels;
    for (size_t slot = 0; slot < parts->row_of.size(); ++slot) {
      by_slot[slot] = all->rows[parts->row_of[slot]];
      labels[slot] = all->labels[parts->row_of[slot]];
    }
    const FaissRows slots = {.d = rows.d, .each = by_slot.data()};
    const FaissView view = {
        .kind = kind,
        .metric = metric,
        .n = n,
        .index = parts->index.get(),
        .rows = slots,
        .codes = parts->codes.data(),
        .code_size = parts->code_size,
        .list_begin = parts->list_begin.empty() ? nullptr : parts->list_begin.data()};
    const auto calibration = CalibrateFaiss(view, checkpoint);
    if (!calibration.ok()) return calibration.status();

    const int asked = IsIvf(kind) ? spec.nprobe : kind == SegmentKind::kHnsw ? spec.ef_search : 0;
    const Meta meta = {
        .rows = static_cast<uint64_t>(n),
        .d = static_cast<uint32_t>(dimension),
        .kind = static_cast<uint32_t>(kind),
        .metric = metric == Metric::kL2 ? 1u : 0u,
        .nlist = IsIvf(kind) ? static_cast<uint32_t>(parts->list_begin.size() - 1) : 0u,
        .code_size = static_cast<uint32_t>(parts->code_size),
        .asked_breadth = static_cast<uint32_t>(std::max(0, asked)),
        .points = static_cast<uint32_t>(calibration->points.size()),
        .k = static_cast<uint32_t>(calibration->k),
        .queries = static_cast<uint32_t>(calibration->queries),
        .index_crc = 0,
        .reserved = 0,
        .crc = 0};
    auto written = Write(*parts, meta, slots, labels, *calibration, path, checkpoint);
    if (!written.ok()) return written.status();
    file = *std::move(written);
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  return FromFile(std::move(file));
}

absl::StatusOr<std::shared_ptr<const FaissSegment>> FaissSegment::Open(const std::string& path,
                                                                       SegmentFile::Verify verify) {
  auto file = SegmentFile::Open(path, kFileType, verify);
  if (!file.ok()) return file.status();
  return FromFile(*std::move(file));
}

absl::StatusOr<std::shared_ptr<const FaissSegment>> FaissSegment::FromFile(
    std::shared_ptr<const SegmentFile> file) {
  const auto damaged = [&](absl::string_view what) {
    return absl::DataLossError(absl::StrCat("segment file ", file->path(), ": ", what));
  };
  const auto found_meta = file->Array<Meta>("meta", 1);
  if (!found_meta.ok()) return found_meta.status();
  const Meta meta = **found_meta;
  if (meta.crc != MetaCrc(meta)) return damaged("its description does not match its checksum");
  if (meta.rows == 0 || meta.rows > INT32_MAX || meta.d == 0) {
    return damaged(absl::StrCat("it says it has ", meta.rows, " rows of ", meta.d));
  }
  std::shared_ptr<FaissSegment> segment(new FaissSegment());
  FaissSegment& s = *segment;
  s.kind_ = static_cast<SegmentKind>(meta.kind);
  s.metric_ = meta.metric == 1 ? Metric::kL2 : Metric::kInnerProduct;
  s.d_ = meta.d;
  s.rows_ = static_cast<int64_t>(meta.rows);
  s.code_size_ = meta.code_size;
  const auto vectors = file->Array<float>("vectors", meta.rows * meta.d);
  if (!vectors.ok()) return vectors.status();
  s.vectors_ = *vectors;
  const auto labels = file->Array<uint64_t>("labels", meta.rows);
  if (!labels.ok()) return labels.status();
  s.labels_ = *labels;
  if (IsIvf(s.kind_)) {
    const auto order = file->Array<uint32_t>("order", meta.rows);
    if (!order.ok()) return order.status();
    s.order_ = *order;
    const auto list_begin = file->Array<uint32_t>("list_begin", size_t{meta.nlist} + 1);
    if (!list_begin.ok()) return list_begin.status();
    s.list_begin_ = *list_begin;
    if (s.list_begin_[0] != 0 || s.list_begin_[meta.nlist] != meta.rows ||
        !std::is_sorted(s.list_begin_, s.list_begin_ + meta.nlist + 1)) {
      return damaged(absl::StrCat("its lists do not add up to ", meta.rows, " rows"));
    }
  }
  for (int64_t i = 0; i < s.rows_; ++i) {
    const int64_t slot = s.InLabelOrder(i);
    if (slot >= s.rows_ || (i > 0 && s.label(s.InLabelOrder(i - 1)) >= s.label(slot))) {
      return damaged(absl::StrCat("row ", i, " is out of the order of labels"));
    }
  }
  if (s.code_size_ > 0) {
    const auto codes = file->Array<uint8_t>("codes", meta.rows * meta.code_size);
    if (!codes.ok()) return codes.status();
    s.codes_ = *codes;
  }
  const auto points = file->Array<Calibration::Point>("calibration", meta.points);
  if (!points.ok()) return points.status();
  s.calibration_ = {.k = static_cast<int>(meta.k),
                    .queries = static_cast<int>(meta.queries),
                    .points = {*points, *points + meta.points}};
  if (const auto table = file->Section(kTableSection); table.ok()) {
    auto read =
        RecallTable::FromBytes(reinterpret_cast<const uint8_t*>(table->data()), table->size());
    if (read.ok()) s.calibration_.table = *std::move(read);  // else the points do
  }
  // FAISS trusts the sizes that it reads, so they are verified first.
  const auto bytes = file->Section("index");
  if (!bytes.ok()) return bytes.status();
  if (Crc32c(bytes->data(), bytes->size()) != meta.index_crc) {
    return damaged("section index does not match its checksum");
  }
  auto index = DeserializeFaiss(*bytes);
  if (!index.ok()) {
    if (index.status().code() == absl::StatusCode::kResourceExhausted) return index.status();
    return damaged(index.status().message());
  }
  if (!Fits(**index, meta)) return damaged("its FAISS index does not fit its rows");
  s.index_ = *std::move(index);
  s.index_bytes_ = static_cast<int64_t>(bytes->size());
  if (s.kind_ != SegmentKind::kIvfFlat) file->AdviseRandom("vectors");
  s.file_ = std::move(file);
  return std::shared_ptr<const FaissSegment>(std::move(segment));
}

MemoryUse FaissSegment::memory() const {
  MemoryUse use;
  use.codes = rows_ * static_cast<int64_t>(code_size_) + index_bytes_;
  use.vectors = rows_ * static_cast<int64_t>(d_) * 4;
  use.labels = rows_ * (order_ == nullptr ? 8 : 12);
  if (!file_->path().empty()) use.mapped = file_->bytes() - index_bytes_;
  return use;
}

int64_t FaissSegment::FindSlot(uint64_t label) const {
  int64_t low = 0, high = rows_;
  while (low < high) {
    const int64_t middle = low + (high - low) / 2;
    if (labels_[InLabelOrder(middle)] < label) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  if (low == rows_) return -1;
  const int64_t slot = InLabelOrder(low);
  return labels_[slot] == label ? slot : -1;
}

int FaissSegment::BreadthFor(double recall, int k, double share) const {
  double breadth = 0;
  if (!calibration_.table.empty()) {
    breadth = calibration_.table.For(RecallTable::How::kCodes, recall, k, share).breadth;
    if (breadth == 0) breadth = static_cast<double>(rows_);
  } else {
    // Where nothing was measured there are few rows: look at many of them.
    const int nlist = IsIvf(kind_) ? FaissListCount(View()) : 0;
    const int fallback = IsIvf(kind_)                  ? std::max(8, nlist / 12)
                         : kind_ == SegmentKind::kHnsw ? 64
                                                       : DefaultRerank(kind_, k);
    breadth = calibration_.BreadthFor(recall, fallback);
    const double more = static_cast<double>(k) / std::max(1, calibration_.k);
    // More neighbours lie in more lists (as Generation::BreadthFor), and need as much more of the
    // rest.
    if (more > 1 && calibration_.k > 0) breadth *= IsIvf(kind_) ? std::pow(more, 0.35) : more;
  }
  const double most = static_cast<double>(IsIvf(kind_) ? FaissListCount(View()) : rows_);
  return static_cast<int>(std::clamp(std::ceil(breadth), 1.0, most));
}

FaissView FaissSegment::View() const {
  return {.kind = kind_,
          .metric = metric_,
          .n = rows_,
          .index = index_.get(),
          .rows = {.d = d_, .base = vectors_},
          .labels = labels_,
          .codes = codes_,
          .code_size = code_size_,
          .list_begin = list_begin_};
}

absl::Status FaissSegment::Search(const float* query, const SearchParams& params,
                                  const Tombstones& dead, const uint64_t* allowed,
                                  TopK* top) const {
  FaissBreadth breadth = {.k = std::max(1, params.k), .exact = params.exact};
  const int aim_k = std::max(1, params.AimedAt());
  breadth.rerank = params.rerank > 0 ? params.rerank : DefaultRerank(kind_, breadth.k);
  const bool hnsw = kind_ == SegmentKind::kHnsw;
  int given = IsIvf(kind_) ? params.nprobe : hnsw ? params.ef : params.rerank;
  double recall = 0;  // expected
  if (!params.exact) {
    const double share = allowed == nullptr ? 1 : ShareOf(allowed);
    const RecallTable& table = calibration_.table;
    const auto how = RecallTable::How::kCodes;
    int wide = given;
    if (given <= 0 && !table.empty()) {
      const RecallTable::Choice choice = table.ForPart(how, params.recall_target, aim_k, breadth.k,
                                                       share, static_cast<double>(rows_));
      wide = static_cast<int>(std::ceil(choice.breadth));
      recall = choice.recall;
      // Nothing that was tried finds as much.
      breadth.exact = wide == 0;
      if (params.rerank <= 0 && choice.rerank > 1) {
        breadth.rerank = std::max(breadth.rerank, static_cast<int>(std::ceil(choice.rerank)));
      }
    } else if (given <= 0) {
      wide = BreadthFor(params.recall_target, aim_k);
      recall = params.recall_target;
    } else if (params.report != nullptr) {
      recall = table.RecallOf(how, given, aim_k, share);
    }
    if (given <= 0 && params.corrections != nullptr) {
      wide = static_cast<int>(std::ceil(wide * params.corrections->Of(breadth.k, share)));
    }
    (IsIvf(kind_) ? breadth.nprobe : hnsw ? breadth.ef : breadth.rerank) = std::max(wide, 1);
  }
  FaissWork work;
  absl::Status status = SearchFaiss(View(), query, breadth, dead, allowed, top, &work);
  if (status.ok() && params.report != nullptr) Tell(work, recall, params.report);
  return status;
}

double FaissSegment::ShareOf(const uint64_t* allowed) const {
  const int64_t passing = CountBits(allowed, static_cast<size_t>(rows_ + 63) / 64);
  return static_cast<double>(std::max<int64_t>(passing, 1)) / static_cast<double>(rows_);
}

void FaissSegment::Tell(const FaissWork& work, double recall, SearchReport* report) const {
  report->Part(rows_, work.exact ? 1 : recall, work.exact);
  report->scanned += work.scanned;
  report->rescored += work.rescored;
  const bool lists = !work.exact && IsIvf(kind_);
  if (lists) report->Lists(work.nprobe, FaissListCount(View()));
  if (!work.exact) report->ef = std::max(report->ef, work.ef);
  if (report->words == nullptr) return;
  std::string words =
      absl::StrCat("a segment of ", rows_, " rows, ", std::string(SegmentKindName(kind_)), ": ");
  if (work.exact) {
    absl::StrAppend(&words, "all that pass, ", work.scanned, ", by floats");
  } else {
    if (lists) {
      absl::StrAppend(&words, work.nprobe, " of ", FaissListCount(View()), " lists with ");
    }
    if (work.ef > 0) absl::StrAppend(&words, "ef ", work.ef, ", ");
    absl::StrAppend(&words, work.scanned, " rows");
    if (work.rescored > 0) absl::StrAppend(&words, ", ", work.rescored, " of them by floats");
  }
  report->words->push_back(std::move(words));
}

}  // namespace vecino::index
