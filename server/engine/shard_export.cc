// A shard as a FAISS index file and the ids of its rows, both as they are at one moment.
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <new>
#include <system_error>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/engine/collection.h"
#include "server/engine/low_priority.h"
#include "server/engine/shard.h"
#include "server/index/faiss_export.h"

namespace vecino::engine {
namespace {

constexpr size_t kStep = 1024;  // documents looked up at a time
// Ids are looked up beside writes until so few rows are left that writes can wait for them: about
// 10 ms.
constexpr size_t kFewRows = 1024;
constexpr int kMaxPasses = 8;
constexpr int kExpiredStep = 1024;
// A row's label, the pointer to its vector, and its id.
constexpr int64_t kBytesPerRow = 2 * 8 + 2 * 8 + sizeof(std::string) + 32;

// Ids of documents, by sequence number.
struct RowIds {
  std::vector<uint64_t> sequences;  // ascending
  std::vector<std::string> ids;     // the same length; empty: the version was gone
};

// Versions above `after` that have live rows, ascending, each once. Looks at these rows and few
// others: labels ascend through the parts.
std::vector<uint64_t> SequencesAfter(const index::ExportRows& rows, LabelScheme labels,
                                     uint64_t after) {
  std::vector<uint64_t> sequences;
  for (auto part = rows.parts().rbegin(); part != rows.parts().rend(); ++part) {
    for (int64_t i = part->rows - 1; i >= 0; --i) {
      const int64_t slot = part->segment != nullptr ? part->segment->InLabelOrder(i) : i;
      const uint64_t label = part->segment != nullptr ? part->segment->label(slot)
                                                      : part->tail->label(static_cast<int>(slot));
      const uint64_t sequence = labels.SequenceOf(label);
      if (sequence <= after) {
        std::reverse(sequences.begin(), sequences.end());
        return sequences;
      }
      if (!part->IsLive(slot)) continue;
      if (sequences.empty() || sequences.back() != sequence) sequences.push_back(sequence);
    }
  }
  std::reverse(sequences.begin(), sequences.end());
  return sequences;
}

absl::Status LookUp(const storage::ShardLog& log, std::span<const uint64_t> sequences,
                    index::Checkpoint checkpoint, RowIds* known) {
  constexpr storage::DocumentParts kIdOnly = {.text = false, .metadata = false, .vector = false};
  for (size_t first = 0; first < sequences.size(); first += kStep) {
    if (absl::Status status = checkpoint(); !status.ok()) return status;
    const auto step = sequences.subspan(first, std::min(kStep, sequences.size() - first));
    auto documents = log.GetDocuments(step, kIdOnly);
    if (!documents.ok()) return documents.status();
    for (size_t i = 0; i < step.size(); ++i) {
      known->sequences.push_back(step[i]);
      known->ids.push_back((*documents)[i].has_value() ? std::move((*documents)[i]->id) : "");
    }
  }
  return absl::OkStatus();
}

// Runs `work` on a thread of its own at low priority and waits for it.
absl::Status RunAtLowPriority(absl::FunctionRef<absl::Status()> work) {
  absl::Status status;
  try {
    std::thread thread([&] {
      LowerPriority();
      status = work();
    });
    thread.join();
  } catch (const std::system_error& error) {
    return absl::ResourceExhaustedError(
        absl::StrCat("no thread could be started for the export: ", error.what()));
  }
  return status;
}

// A path of our own in the system's folder for temporary files.
absl::StatusOr<std::string> TemporaryPath() {
  std::error_code ignored;
  std::filesystem::path folder = std::filesystem::temp_directory_path(ignored);
  if (ignored) folder = "/tmp";
  std::string path = (folder / "vecino-export-XXXXXX").string();
  const int fd = mkstemp(path.data());
  if (fd < 0) {
    return absl::UnavailableError(
        absl::StrCat("cannot make the temporary file ", path, " for the export"));
  }
  close(fd);
  return path;
}

// Bytes that making and writing the index takes, beside those of rows and ids.
int64_t PredictExportBytes(const index::IndexSpec& spec, int64_t rows, int dimension,
                           bool vectors) {
  const index::SegmentKind kind = index::TrainedKind(spec.kind);
  const int64_t floats = 4 * static_cast<int64_t>(dimension) * rows;
  const bool holds_floats = kind == index::SegmentKind::kFlat ||
                            kind == index::SegmentKind::kIvfFlat ||
                            kind == index::SegmentKind::kHnsw;
  return PredictIndexBytes(kind, spec, rows, dimension, /*graph=*/false) +
         PredictBuildBytes(kind, rows, dimension, /*sample_rows=*/0) +
         (vectors && !holds_floats ? floats : 0);
}

// Gives back what was reserved.
class Reservation {
 public:
  explicit Reservation(MemoryBudget* budget) : budget_(budget) {}
  ~Reservation() {
    if (budget_ != nullptr) budget_->Release(bytes_);
  }
  Reservation(const Reservation&) = delete;
  Reservation& operator=(const Reservation&) = delete;

  absl::Status Take(int64_t bytes) {
    if (budget_ == nullptr) return absl::OkStatus();
    absl::Status status = budget_->Reserve(bytes, "exporting an index");
    if (status.ok()) bytes_ = bytes;
    return status;
  }

 private:
  MemoryBudget* const budget_;
  int64_t bytes_ = 0;
};

}  // namespace

absl::StatusOr<ShardExport> Shard::Export(bool vectors, const CallContext& context) {
  const auto checkpoint = [&] { return CheckCall(context, "the index was exported"); };
  // What has expired by now is not to be in it.
  while (true) {
    if (absl::Status status = checkpoint(); !status.ok()) return status;
    const absl::StatusOr<int> reaped = ReapExpired(kExpiredStep, context);
    if (!reaped.ok()) return reaped.status();
    if (*reaped == 0) break;
  }
  // A version never changes its document, so most can be looked up before the moment that counts.
  RowIds known;
  const auto last = [&] { return known.sequences.empty() ? 0 : known.sequences.back(); };
  Reservation reservation(options_.budget);
  for (int pass = 0; pass < kMaxPasses; ++pass) {
    const index::ExportRows rows(index_.Pin());
    if (pass == 0) {
      absl::Status status = reservation.Take(
          rows.live() * kBytesPerRow +
          PredictExportBytes(options_.index, rows.live(), options_.dimension, vectors));
      if (!status.ok()) return status;
    }
    const std::vector<uint64_t> sequences = SequencesAfter(rows, options_.labels, last());
    if (sequences.size() <= kFewRows) break;
    if (absl::Status status = LookUp(*log_, sequences, checkpoint, &known); !status.ok())
      return status;
  }
  std::optional<index::ExportRows> rows;
  const auto take = [&] {
    rows.emplace(index_.Pin());
    return LookUp(*log_, SequencesAfter(*rows, options_.labels, last()), checkpoint, &known);
  };
  if (absl::Status status = WhileQuiet(take, context); !status.ok()) return status;

  std::string path;
  if (files_.in_memory()) {
    auto temporary = TemporaryPath();
    if (!temporary.ok()) return temporary.status();
    path = *std::move(temporary);
  } else {
    path = files_.Export(files_.Next());
  }
  const index::ExportOptions options = {.metric = options_.metric,
                                        .dimension = options_.dimension,
                                        .unit = options_.unit,
                                        .spec = index_spec(),
                                        .refine = vectors};
  index::ExportedIndex exported;
  absl::Status status = RunAtLowPriority([&] {
    auto made = index::ExportFaiss(*rows, options, path, checkpoint);
    if (made.ok()) exported = *std::move(made);
    return made.status();
  });
  if (!status.ok()) {
    files_.Delete(path);
    return status;
  }
  auto file = UnnamedFile::Take(path);
  if (!file.ok()) return file.status();

  ShardExport result = {
      .file = *std::move(file), .ids = {}, .description = std::move(exported.description)};
  result.ids.reserve(exported.labels.size());
  size_t next = 0;
  for (const uint64_t label : exported.labels) {
    const uint64_t sequence = options_.labels.SequenceOf(label);
    while (next < known.sequences.size() && known.sequences[next] < sequence) ++next;
    if (next == known.sequences.size() || known.sequences[next] != sequence ||
        known.ids[next].empty()) {
      return absl::DataLossError(absl::StrCat("row ", label, " of shard ", options_.number,
                                              " of collection `", options_.collection,
                                              "` has no stored document"));
    }
    result.ids.push_back(options_.labels.chunked()
                             ? absl::StrCat(known.ids[next], "#", options_.labels.PassageOf(label))
                             : std::move(known.ids[next]));
  }
  return result;
}

absl::StatusOr<std::unique_ptr<IndexExport>> Collection::ExportIndex(const ExportRequest& request,
                                                                     const CallContext& context) {
  const CollectionSpec spec = info().spec;
  if (request.shard < 0 || request.shard >= shard_count()) {
    return InvalidField("shard", absl::StrCat("is ", request.shard, "; collection `", spec.id,
                                              "` has shards 0 to ", shard_count() - 1));
  }
  if (exporting_->exchange(true)) {
    return absl::ResourceExhaustedError(
        absl::StrCat("another export of collection `", spec.id,
                     "` is under way, and one at a time is made; try again when it is done"));
  }
  std::shared_ptr<const void> place(exporting_.get(),
                                    [flag = exporting_](const void*) { flag->store(false); });
  auto content = shards_[request.shard]->Export(request.vectors, context);
  if (!content.ok()) return content.status();
  return std::make_unique<IndexExport>(IndexExport{.spec = spec,
                                                   .shard = request.shard,
                                                   .content = *std::move(content),
                                                   .place = std::move(place)});
}

}  // namespace vecino::engine
