#include "server/index/faiss_export.h"

#include <faiss/IndexFlat.h>
#include <faiss/IndexHNSW.h>
#include <faiss/IndexIVF.h>
#include <faiss/IndexIVFPQ.h>
#include <faiss/IndexLSH.h>
#include <faiss/IndexPreTransform.h>
#include <faiss/IndexRefine.h>
#include <faiss/VectorTransform.h>
#include <faiss/impl/ProductQuantizer.h>
#include <faiss/impl/io.h>
#include <faiss/index_io.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <optional>
#include <span>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/index/faiss_build.h"
#include "server/index/faiss_search.h"
#include "server/index/faiss_segment.h"
#include "server/index/faiss_status.h"
#include "server/index/generation.h"
#include "server/index/ivf_segment.h"

namespace vecino::index {
namespace {

constexpr double kRecall = 0.95;
constexpr int kK = 10;             // that k_factor is set for
constexpr float kAutoRefine = 20;  // candidates for each row asked for, as our rerank of 200
constexpr size_t kStep = 1024;     // rows between two calls of the checkpoint

using FaissId = faiss::Index::idx_t;

class Exporter {
 public:
  Exporter(const ExportRows& rows, const ExportOptions& options, Checkpoint checkpoint)
      : rows_(rows),
        options_(options),
        d_(static_cast<size_t>(options.dimension)),
        checkpoint_(checkpoint) {}

  absl::Status Make();
  const faiss::Index& index() const { return *index_; }
  ExportedIndex Take() {
    return {.labels = std::move(labels_),
            .description = absl::StrCat(description_, ", ", vectors_.size(), " rows")};
  }

 private:
  absl::Status Collect();
  FaissRows rows() const { return {.d = d_, .each = vectors_.data()}; }
  int64_t n() const { return static_cast<int64_t>(vectors_.size()); }
  absl::Status AddRows(faiss::Index* flat) const;
  absl::Status MakeFlat();
  absl::Status MakeKind(SegmentKind kind);
  absl::Status MakeAuto();
  absl::Status Refine(float k_factor);
  const FaissSegment* Largest(SegmentKind kind, const ExportRows::Part** part) const;

  const ExportRows& rows_;
  const ExportOptions& options_;
  const size_t d_;
  const Checkpoint checkpoint_;
  std::vector<const float*> vectors_;
  std::vector<uint64_t> labels_;
  std::unique_ptr<faiss::Index> index_;
  std::string description_;
};

absl::Status Exporter::Collect() {
  vectors_.reserve(static_cast<size_t>(rows_.live()));
  labels_.reserve(static_cast<size_t>(rows_.live()));
  for (const ExportRows::Part& part : rows_.parts()) {
    for (int64_t i = 0; i < part.rows; ++i) {
      const int64_t slot = part.segment != nullptr ? part.segment->InLabelOrder(i) : i;
      if (!part.IsLive(slot)) continue;
      if (part.segment != nullptr) {
        vectors_.push_back(part.segment->vector(slot));
        labels_.push_back(part.segment->label(slot));
      } else {
        vectors_.push_back(part.tail->vector(static_cast<int>(slot)));
        labels_.push_back(part.tail->label(static_cast<int>(slot)));
      }
    }
  }
  return checkpoint_();
}

absl::Status Exporter::AddRows(faiss::Index* flat) const {
  for (size_t i = 0; i < vectors_.size(); ++i) {
    if (i % kStep == 0) {
      if (absl::Status status = checkpoint_(); !status.ok()) return status;
    }
    flat->add(1, vectors_[i]);
  }
  return absl::OkStatus();
}

absl::Status Exporter::MakeFlat() {
  index_ = std::make_unique<faiss::IndexFlat>(options_.dimension, ToFaiss(options_.metric));
  description_ = "IndexFlat";
  return AddRows(index_.get());
}

// Puts the floats beside an index that approximates.
absl::Status Exporter::Refine(float k_factor) {
  if (!options_.refine) return absl::OkStatus();
  auto flat = std::make_unique<faiss::IndexFlat>(options_.dimension, ToFaiss(options_.metric));
  if (absl::Status status = AddRows(flat.get()); !status.ok()) return status;
  auto refine = std::make_unique<faiss::IndexRefineFlat>();
  refine->own_fields = refine->own_refine_index = true;
  refine->base_index = index_.release();
  refine->refine_index = flat.release();
  refine->d = options_.dimension;
  refine->metric_type = ToFaiss(options_.metric);
  refine->ntotal = n();
  refine->is_trained = true;
  refine->k_factor = k_factor;
  index_ = std::move(refine);
  absl::StrAppend(&description_, " in IndexRefineFlat, k_factor ", k_factor);
  return absl::OkStatus();
}

const FaissSegment* Exporter::Largest(SegmentKind kind, const ExportRows::Part** part) const {
  const FaissSegment* largest = nullptr;
  for (const ExportRows::Part& candidate : rows_.parts()) {
    const auto* segment = dynamic_cast<const FaissSegment*>(candidate.segment);
    if (segment == nullptr || segment->kind() != kind) continue;
    if (largest != nullptr && segment->size() <= largest->size()) continue;
    largest = segment;
    *part = &candidate;
  }
  return largest;
}

absl::Status Exporter::MakeKind(SegmentKind kind) {
  const ExportRows::Part* part = nullptr;
  const FaissSegment* segment = Largest(kind, &part);
  std::unique_ptr<faiss::Index> trained;
  if (segment != nullptr) {
    const auto bytes = SerializeFaiss(segment->index());
    if (!bytes.ok()) return bytes.status();
    auto copy = DeserializeFaiss(std::as_bytes(std::span(*bytes)));
    if (!copy.ok()) return copy.status();
    trained = *std::move(copy);
  }
  // Labels ascend in an HNSW's slots, so its slots are the ids when it is all that there is.
  FaissParts parts = {.kind = kind, .metric = options_.metric};
  if (kind == SegmentKind::kHnsw && segment != nullptr && segment->size() == n() &&
      std::all_of(part->dead.begin(), part->dead.end(), [](uint64_t word) { return word == 0; })) {
    parts.index = std::move(trained);
  } else {
    auto built = BuildFaiss(kind, options_.metric, options_.unit, rows(), n(), options_.spec,
                            std::move(trained), checkpoint_);
    if (!built.ok()) return built.status();
    parts = *std::move(built);
  }

  int breadth = 0;
  if (segment != nullptr) {
    breadth = segment->BreadthFor(kRecall, kK);
    if (kind == SegmentKind::kLsh) {  // a number of rows, measured on that segment's
      breadth = static_cast<int>(std::ceil(static_cast<double>(breadth) * static_cast<double>(n()) /
                                           static_cast<double>(segment->size())));
    }
  } else {
    std::vector<const float*> by_slot = vectors_;
    for (size_t slot = 0; slot < parts.row_of.size(); ++slot) {
      by_slot[slot] = vectors_[parts.row_of[slot]];
    }
    const FaissView view = {
        .kind = kind,
        .metric = options_.metric,
        .n = n(),
        .index = parts.index.get(),
        .rows = {.d = d_, .each = by_slot.data()},
        .codes = parts.codes.data(),
        .code_size = parts.code_size,
        .list_begin = parts.list_begin.empty() ? nullptr : parts.list_begin.data()};
    const auto calibration = CalibrateFaiss(view, checkpoint_);
    if (!calibration.ok()) return calibration.status();
    breadth = calibration->BreadthFor(kRecall, static_cast<int>(std::min<int64_t>(n(), 256)));
  }
  // What the collection says goes before what was measured.
  if (kind == SegmentKind::kHnsw) {
    if (options_.spec.ef_search > 0) breadth = options_.spec.ef_search;
  } else if (kind != SegmentKind::kLsh && options_.spec.nprobe > 0) {
    const auto nlist = static_cast<const faiss::IndexIVF&>(*parts.index).nlist;
    breadth = static_cast<int>(std::min(static_cast<size_t>(options_.spec.nprobe), nlist));
  }
  index_ = std::move(parts.index);
  const bool codes = kind == SegmentKind::kIvfSq8 || kind == SegmentKind::kIvfPq;
  if (kind == SegmentKind::kHnsw) {
    auto& hnsw = static_cast<faiss::IndexHNSW&>(*index_);
    if (absl::Status status = AddRows(hnsw.storage); !status.ok()) return status;
    hnsw.hnsw.efSearch = breadth;
    description_ = absl::StrCat("IndexHNSWFlat, efSearch ", breadth);
  } else if (kind == SegmentKind::kLsh) {
    auto& lsh = static_cast<faiss::IndexLSH&>(*index_);
    lsh.codes = std::move(parts.codes);
    description_ = absl::StrCat("IndexLSH, ", lsh.nbits, " bits");
  } else {
    auto& ivf = static_cast<faiss::IndexIVF&>(*index_);
    std::vector<FaissId> ids;
    std::vector<float> floats;
    for (size_t list = 0; list < ivf.nlist; ++list) {
      if (absl::Status status = checkpoint_(); !status.ok()) return status;
      const uint32_t begin = parts.list_begin[list], end = parts.list_begin[list + 1];
      if (begin == end) continue;
      ids.assign(parts.row_of.begin() + begin, parts.row_of.begin() + end);
      const uint8_t* code = parts.codes.data() + begin * parts.code_size;
      if (!codes) {
        floats.clear();
        for (const FaissId id : ids) floats.insert(floats.end(), vectors_[id], vectors_[id] + d_);
        code = reinterpret_cast<const uint8_t*>(floats.data());
      }
      ivf.invlists->add_entries(list, ids.size(), ids.data(), code);
    }
    ivf.nprobe = static_cast<size_t>(std::clamp<int>(breadth, 1, static_cast<int>(ivf.nlist)));
    description_ = absl::StrCat(kind == SegmentKind::kIvfFlat  ? "IndexIVFFlat"
                                : kind == SegmentKind::kIvfSq8 ? "IndexIVFScalarQuantizer"
                                                               : "IndexIVFPQ",
                                ", ", ivf.nlist, " lists, nprobe ", ivf.nprobe);
  }
  index_->ntotal = n();
  if (kind == SegmentKind::kLsh) {
    return Refine(std::max(1.0f, static_cast<float>(breadth) / kK));
  }
  if (!codes) return absl::OkStatus();
  return Refine(static_cast<float>(DefaultRerank(kind, kK)) / kK);
}

absl::Status Exporter::MakeAuto() {
  std::shared_ptr<const Generation> generation;
  for (const ExportRows::Part& part : rows_.parts()) {
    const auto* ivf = dynamic_cast<const IvfSegment*>(part.segment);
    if (ivf == nullptr) continue;
    if (generation == nullptr || ivf->generation()->id() > generation->id()) {
      generation = ivf->generation();
    }
  }
  if (generation == nullptr) return MakeFlat();
  const ProductQuantizer& quantizer = generation->quantizer();
  const size_t m = quantizer.m();
  const size_t padded = m * ProductQuantizer::kSubDimension;
  const auto nlist = static_cast<size_t>(generation->nlist());
  auto coarse = std::make_unique<faiss::IndexFlat>(padded, ToFaiss(options_.metric));
  std::vector<float> row(padded);
  for (size_t list = 0; list < nlist; ++list) {
    std::copy_n(generation->centroids().data() + list * d_, d_, row.data());
    coarse->add(1, row.data());
  }
  auto ivf = std::make_unique<faiss::IndexIVFPQ>(coarse.get(), padded, nlist, m, /*nbits=*/4,
                                                 ToFaiss(options_.metric));
  ivf->own_fields = true;
  coarse.release();
  ivf->by_residual = false;
  ivf->is_trained = true;
  // Both keep m × 16 × 4.
  ivf->pq.centroids = quantizer.codebooks();

  std::vector<float> batch;
  std::vector<uint32_t> lists(kStep);
  std::vector<uint8_t> codes(kStep * m), packed(ivf->code_size);
  for (size_t first = 0; first < vectors_.size(); first += kStep) {
    const size_t count = std::min(kStep, vectors_.size() - first);
    batch.clear();
    for (size_t i = first; i < first + count; ++i) {
      batch.insert(batch.end(), vectors_[i], vectors_[i] + d_);
    }
    absl::Status status =
        generation->assigner().Assign(batch.data(), count, lists.data(), nullptr, checkpoint_);
    if (!status.ok()) return status;
    quantizer.Encode(batch.data(), count, codes.data());
    for (size_t i = 0; i < count; ++i) {
      {
        faiss::PQEncoderGeneric encoder(packed.data(), 4);  // writes the last byte when it goes
        for (size_t j = 0; j < m; ++j) encoder.encode(codes[i * m + j]);
      }
      ivf->invlists->add_entry(lists[i], static_cast<FaissId>(first + i), packed.data());
    }
  }
  ivf->ntotal = n();
  ivf->nprobe = static_cast<size_t>(generation->NprobeFor(kRecall, kK));
  description_ = absl::StrCat("IndexIVFPQ, ", nlist, " lists, nprobe ", ivf->nprobe, ", ", m,
                              " codes of 4 bits");
  if (padded == d_) {
    index_ = std::move(ivf);
  } else {
    auto pad = std::make_unique<faiss::RemapDimensionsTransform>();
    pad->d_in = options_.dimension;
    pad->d_out = static_cast<int>(padded);
    pad->is_trained = true;
    for (size_t i = 0; i < padded; ++i) pad->map.push_back(i < d_ ? static_cast<int>(i) : -1);
    auto transformed = std::make_unique<faiss::IndexPreTransform>(pad.get(), ivf.get());
    transformed->own_fields = true;
    pad.release();
    ivf.release();
    transformed->ntotal = n();
    index_ = std::move(transformed);
  }
  return Refine(kAutoRefine);
}

absl::Status Exporter::Make() {
  if (absl::Status status = Collect(); !status.ok()) return status;
  if (vectors_.empty() || options_.spec.kind == IndexKind::kFlat) return MakeFlat();
  if (options_.spec.kind == IndexKind::kAuto) return MakeAuto();
  return MakeKind(TrainedKind(options_.spec.kind));
}

// A file that FAISS writes into, with the reason when it could not.
class FileWriter final : public faiss::IOWriter {
 public:
  FileWriter(const std::string& path, Checkpoint checkpoint)
      : file_(std::fopen(path.c_str(), "wbe")), checkpoint_(checkpoint) {
    if (file_ == nullptr) error_ = errno;
  }
  ~FileWriter() noexcept override {
    if (file_ != nullptr) std::fclose(file_);
  }
  size_t operator()(const void* data, size_t size, size_t count) override {
    if (count == 0 || size == 0) return count;  // FAISS has a null pointer for it
    const auto* bytes = static_cast<const char*>(data);
    constexpr size_t kPiece = size_t{8} << 20;
    for (size_t at = 0; at < size * count && error_ == 0 && stopped_.ok(); at += kPiece) {
      const size_t piece = std::min(kPiece, size * count - at);
      stopped_ = checkpoint_();
      if (!stopped_.ok()) break;
      if (std::fwrite(bytes + at, 1, piece, file_) != piece) error_ = errno;
    }
    return error_ == 0 && stopped_.ok() ? count : 0;
  }
  void Close() {
    if (file_ == nullptr) return;
    if (std::fclose(std::exchange(file_, nullptr)) != 0 && error_ == 0) error_ = errno;
  }
  int error() const { return error_; }
  // Why the checkpoint wanted an end.
  const absl::Status& stopped() const { return stopped_; }

 private:
  FILE* file_;
  const Checkpoint checkpoint_;
  int error_ = 0;
  absl::Status stopped_;
};

absl::Status Write(const faiss::Index& index, const std::string& path, Checkpoint checkpoint) {
  const std::string temporary = path + ".tmp";
  int error;
  absl::Status status;
  {
    FileWriter writer(temporary, checkpoint);
    status = CatchFaiss("write an index", [&] {
      if (writer.error() == 0) faiss::write_index(&index, &writer);
      return absl::OkStatus();
    });
    writer.Close();
    error = writer.error();
    if (!writer.stopped().ok()) status = writer.stopped();
  }
  if (error == 0 && status.ok() && std::rename(temporary.c_str(), path.c_str()) != 0) error = errno;
  if (error == 0 && status.ok()) return status;
  std::remove(temporary.c_str());
  if (error == 0) return status;
  const std::string message =
      absl::StrCat("cannot write the FAISS index file ", path, ": ", std::strerror(error));
  return error == ENOSPC || error == EDQUOT
             ? absl::ResourceExhaustedError(absl::StrCat(message, "; free some space on that disk"))
             : absl::UnavailableError(message);
}

}  // namespace

ExportRows::ExportRows(std::shared_ptr<const View> view) : view_(std::move(view)) {
  for (const SegmentRows& rows : view_->segments) {
    Add({.segment = rows.segment.get(), .rows = rows.segment->size()}, *rows.dead);
  }
  for (const auto& tail : view_->frozen) Add({.tail = tail.get()}, tail->tombstones());
  for (const Tail* tail = view_->tail.get(); tail != nullptr; tail = tail->next()) {
    Add({.tail = tail}, tail->tombstones());
  }
}

void ExportRows::Add(Part part, const Tombstones& dead) {
  part.dead = dead.Snapshot();  // before the length, as a search does (A4 of Tail)
  if (part.tail != nullptr) part.rows = part.tail->size();
  int64_t killed = 0;
  for (const uint64_t word : part.dead) killed += std::popcount(word);
  live_ += part.rows - killed;
  parts_.push_back(std::move(part));
}

absl::StatusOr<ExportedIndex> ExportFaiss(const ExportRows& rows, const ExportOptions& options,
                                          const std::string& path, Checkpoint checkpoint) {
  ExportedIndex exported;
  absl::Status status = CatchFaiss("export an index", [&] {
    Exporter exporter(rows, options, checkpoint);
    if (absl::Status made = exporter.Make(); !made.ok()) return made;
    if (absl::Status written = Write(exporter.index(), path, checkpoint); !written.ok())
      return written;
    exported = exporter.Take();
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  return exported;
}

}  // namespace vecino::index
