// How a shard comes back after a start.
#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/engine/manifest.h"
#include "server/engine/shard.h"
#include "server/index/faiss_segment.h"
#include "server/index/flat_segment.h"
#include "server/index/graph.h"

namespace vecino::engine {
namespace {

// Rows of a segment that a start reads to see how far they drifted.
constexpr int64_t kDriftSample = 1024;

}  // namespace

absl::StatusOr<std::shared_ptr<Shard>> Shard::Load(const ShardOptions& options,
                                                   std::unique_ptr<storage::ShardLog> log,
                                                   EngineMetrics* metrics) {
  std::shared_ptr<Shard> shard(new Shard(options, std::move(log), metrics));
  absl::Status status = shard->LoadMarks();
  if (status.ok()) status = shard->LoadIndex();
  if (!status.ok()) {
    return absl::Status(status.code(),
                        absl::StrCat("loading shard ", options.number, " of collection `",
                                     options.collection, "`: ", status.message()));
  }
  return shard;
}

absl::Status Shard::LoadMarks() {
  absl::StatusOr<std::vector<storage::Mark>> marks = log_->GetMarks();
  if (!marks.ok()) return marks.status();
  for (storage::Mark& mark : *marks) marks_.Set(std::move(mark));
  return absl::OkStatus();
}

absl::StatusOr<Manifest> Shard::ReadManifest() const {
  const uint64_t last = log_->LastSequence();
  Manifest manifest;
  absl::StatusOr<std::string> bytes = log_->GetManifest();
  if (bytes.ok() && !bytes->empty()) {
    absl::StatusOr<Manifest> decoded = DecodeManifest(*bytes, options_.labels);
    if (decoded.ok()) {
      manifest = *std::move(decoded);
    } else {
      bytes = decoded.status();
    }
  }
  if (bytes.ok() && manifest.drained_through > last) {
    bytes = absl::DataLossError(absl::StrCat(
        "the manifest speaks of write ", manifest.drained_through, ", but the last one is ", last));
  }
  if (bytes.ok()) return manifest;
  // Every split between stored vectors and change log gives the same rows. This one needs no
  // change record, of which some may have been trimmed.
  spdlog::warn("shard {} of collection {}: {}; the index is built from stored vectors only",
               options_.number, options_.collection, bytes.status().ToString());
  manifest = {};
  manifest.drained_through = last;
  if (last > 0) {
    manifest.segments.push_back({.first_label = options_.labels.First(1),
                                 .last_label = options_.labels.Last(last),
                                 .rows = 1,
                                 .dead = {}});
  }
  return manifest;
}

absl::StatusOr<std::shared_ptr<const index::Generation>> Shard::FindGeneration(uint64_t id) {
  if (const auto it = loaded_generations_.find(id); it != loaded_generations_.end()) {
    return it->second;
  }
  auto generation = index::Generation::Load(files_.Generation(id));
  if (!generation.ok()) return generation.status();
  if ((*generation)->id() != id || (*generation)->metric() != options_.metric ||
      (*generation)->d() != static_cast<size_t>(options_.dimension)) {
    return absl::DataLossError(
        absl::StrCat("file ", files_.Generation(id), " holds another generation than ", id));
  }
  loaded_generations_[id] = *generation;
  return generation;
}

// The segment as its file has it; null when it had none.
absl::StatusOr<std::shared_ptr<const index::Segment>> Shard::OpenSegment(
    const Manifest::Segment& record) {
  if (record.file == 0 || files_.in_memory()) return std::shared_ptr<const index::Segment>();
  const std::string path = files_.Segment(record.file);
  std::shared_ptr<const index::Segment> segment;
  if (record.kind == index::SegmentKind::kIvf) {
    auto generation = FindGeneration(record.generation);
    if (!generation.ok()) return generation.status();
    auto ivf = index::IvfSegment::Open(path, *generation, index::SegmentFile::Verify::kAll);
    if (!ivf.ok()) return ivf.status();
    segment = *ivf;
    if (record.graph != 0) {
      auto graph = index::Graph::Load(files_.Graph(record.graph), (*ivf)->size(),
                                      index::SegmentFile::Verify::kAll);
      if (graph.ok()) {
        segment = (*ivf)->WithGraph(*graph);
      } else {
        spdlog::warn("shard {} of collection {}: {}; the graph is built again later",
                     options_.number, options_.collection, graph.status().ToString());
      }
    }
  } else {
    auto faiss = index::FaissSegment::Open(path, index::SegmentFile::Verify::kAll);
    if (!faiss.ok()) return faiss.status();
    segment = *faiss;
  }
  if (segment->kind() != record.kind || segment->metric() != options_.metric ||
      segment->dimension() != options_.dimension ||
      static_cast<uint64_t>(segment->size()) != record.rows ||
      segment->first_label() != record.first_label || segment->last_label() != record.last_label) {
    return absl::DataLossError(
        absl::StrCat("file ", path, " holds another segment than the manifest says"));
  }
  return segment;
}

absl::Status Shard::LoadSegment(const Manifest::Segment& record) {
  auto opened = OpenSegment(record);
  if (opened.ok() && *opened != nullptr) {
    Place& place = places_[opened->get()];
    place.file = record.file;
    place.since = absl::Now();
    const auto* ivf = dynamic_cast<const index::IvfSegment*>(opened->get());
    if (ivf != nullptr && ivf->graph() != nullptr) place.graph_file = record.graph;
    index_.AddSegment(*std::move(opened), record.dead);
    return absl::OkStatus();
  }
  if (!opened.ok()) {
    // Whatever is wrong with a file, the rows are in the store.
    spdlog::warn("shard {} of collection {}: {}; its rows are read from stored vectors",
                 options_.number, options_.collection, opened.status().ToString());
  }
  index::FlatSegmentBuilder builder(options_.metric, options_.dimension);
  // A hint: when it is wrong, the rows are moved while the segment grows.
  builder.Reserve(static_cast<int64_t>(std::min(record.rows, record.last_label))).IgnoreError();
  // What was dead is not stored any more.
  const LabelScheme labels = options_.labels;
  const auto d = static_cast<size_t>(options_.dimension);
  absl::Status status = log_->ScanVectors(
      labels.SequenceOf(record.first_label) - 1, labels.SequenceOf(record.last_label),
      [&](uint64_t sequence, std::span<const float> vector) {
        for (size_t passage = 0; passage * d < vector.size(); ++passage) {
          const uint64_t label = labels.ToLabel(sequence, passage);
          if (label < record.first_label || label > record.last_label) continue;
          absl::Status added = builder.Add(label, vector.data() + passage * d);
          if (!added.ok()) return added;
        }
        return absl::OkStatus();
      });
  if (!status.ok()) return status;
  auto segment = builder.Build();
  if (!segment.ok()) return segment.status();
  if (*segment == nullptr) return absl::OkStatus();
  places_[segment->get()].since = absl::Now();
  index_.AddSegment(*std::move(segment));
  return absl::OkStatus();
}

// Rows of one document stand behind one another, parts in the order of their labels.
int64_t Shard::CountWithVector() const {
  if (!options_.labels.chunked()) return index_.Stats().live_rows;
  int64_t count = 0;
  uint64_t last = 0;  // sequence numbers begin at 1
  const auto add = [&](uint64_t label) {
    const uint64_t sequence = options_.labels.SequenceOf(label);
    count += sequence != last;
    last = sequence;
  };
  const std::shared_ptr<const index::View> view = index_.Pin();
  for (const index::SegmentRows& rows : view->segments) {
    for (int64_t i = 0; i < rows.segment->size(); ++i) {
      const int64_t slot = rows.segment->InLabelOrder(i);
      if (!rows.dead->IsDead(slot)) add(rows.segment->label(slot));
    }
  }
  const auto add_tail = [&](const index::Tail& tail) {
    for (int slot = 0; slot < tail.size(); ++slot) {
      if (!tail.tombstones().IsDead(slot)) add(tail.label(slot));
    }
  };
  for (const auto& tail : view->frozen) add_tail(*tail);
  add_tail(*view->tail);
  return count;
}

absl::Status Shard::LoadIndex() {
  absl::MutexLock lock(&index_mu_);
  const uint64_t last = log_->LastSequence();
  auto manifest = ReadManifest();
  if (!manifest.ok()) return manifest.status();
  if (absl::Status status = files_.Open(std::max<uint64_t>(manifest->next_file, 1)); !status.ok()) {
    return status;
  }
  if (manifest->generation != 0 && !files_.in_memory()) {
    auto generation = FindGeneration(manifest->generation);
    if (generation.ok()) {
      generation_ = *generation;
    } else {
      spdlog::warn("shard {} of collection {}: {}; it is trained again", options_.number,
                   options_.collection, generation.status().ToString());
    }
  }
  for (const Manifest::Segment& record : manifest->segments) {
    if (absl::Status status = LoadSegment(record); !status.ok()) return status;
    loaded_through_ = record.last_label;
  }
  if (absl::Status status = LoadFieldParts(*manifest); !status.ok()) return status;
  saved_files_ = NamedFiles(*manifest);
  files_.DeleteAllBut(saved_files_);
  loaded_generations_.clear();
  std::vector<const index::Segment*> segments;
  for (const index::SegmentRows& rows : index_.Pin()->segments) {
    segments.push_back(rows.segment.get());
  }
  imbalance_ = ImbalanceOf(segments, generation_.get());
  // What was known of rows that came since training.
  for (const index::Segment* segment : segments) {
    const index::IvfSegment* ivf = index::AsIvf(*segment);
    if (generation_ == nullptr || ivf == nullptr || ivf->generation() != generation_ ||
        generation_->trained_through() == 0) {
      continue;
    }
    recent_ += ivf->DriftSince(generation_->trained_through(), kDriftSample);
  }
  CountMemory();

  applied_.store(manifest->drained_through);
  saved_through_.store(manifest->drained_through);
  absl::Status status = log_->ReplayChanges(
      manifest->drained_through, [&](const storage::Change& change, std::span<const float> vector)
                                     ABSL_EXCLUSIVE_LOCKS_REQUIRED(index_mu_) {
                                       Apply(change, vector);
                                       return absl::OkStatus();
                                     });
  if (!status.ok()) return status;
  with_vector_ = CountWithVector();
  // Behind the parts: what is stored is live, whatever the log says of it.
  if (status = ReadFields(fields_.last_label(), last); !status.ok()) return status;
  CountMemory();
  if (applied_.load() != last) {
    return absl::DataLossError(
        absl::StrCat("the change log ends at ", applied_.load(), ", the last write is ", last));
  }
  appending_.store(last);
  return log_->ScanExpiries([&](int64_t expire_time_us, uint64_t sequence) {
    expiries_.Add(expire_time_us, sequence);
    return absl::OkStatus();
  });
}

}  // namespace vecino::engine
