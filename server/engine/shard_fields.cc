// The index of documents' fields in a shard: how it comes back, is kept small, and is written down.
#include <spdlog/spdlog.h>

#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "server/engine/shard.h"
#include "server/engine/shard_work.h"

namespace vecino::engine {
namespace {

// What is indexed of a document.
constexpr storage::DocumentParts kParts = {.text = true, .metadata = true, .vector = false};

// Parts of so many rows are merged whatever the memory budget says, as tails are drained: otherwise
// parts of a chunk each would pile up, and every filter looks at all of them.
constexpr uint64_t kSmallMergeRows = fields::FieldIndex::kFanOut * fields::OpenChunk::kRows;

}  // namespace

absl::Status Shard::ReadFields(uint64_t after, uint64_t up_to) {
  int64_t since_merge = 0;
  return log_->ScanDocuments(
      after, up_to, kParts,
      [&](const storage::Document& document) ABSL_EXCLUSIVE_LOCKS_REQUIRED(index_mu_) {
        auto row = fields::ReadRow(document.metadata, document.text);
        if (!row.ok()) {
          spdlog::warn("shard {} of collection {}: document {}: {}; no filter finds it",
                       options_.number, options_.collection, document.id, row.status().ToString());
          row = fields::ReadRow("", document.text);
        }
        fields_.Add(document.sequence, *std::move(row));
        if (++since_merge % (fields::OpenChunk::kRows * fields::FieldIndex::kFanOut) == 0) {
          while (auto work = fields_.BeginMerge()) {
            work->Run();
            fields_.Publish(*work);
          }
        }
        return absl::OkStatus();
      });
}

absl::Status Shard::LoadFieldParts(const Manifest& manifest) {
  for (const Manifest::Fields& record : manifest.fields) {
    absl::StatusOr<std::shared_ptr<const fields::FieldSegment>> segment =
        absl::NotFoundError("files are not kept");
    if (!files_.in_memory()) segment = fields::FieldSegment::Load(files_.Fields(record.file));
    if (segment.ok() &&
        ((*segment)->size() != record.rows || (*segment)->label(0) != record.first_label ||
         (*segment)->label((*segment)->size() - 1) != record.last_label)) {
      segment = absl::DataLossError(absl::StrCat("file ", files_.Fields(record.file),
                                                 " holds other documents than the manifest says"));
    }
    if (segment.ok()) {
      fields_.AddPart(*std::move(segment), record.dead, record.file);
      continue;
    }
    spdlog::warn("shard {} of collection {}: {}; fields are read from stored documents",
                 options_.number, options_.collection, segment.status().ToString());
    absl::Status status = ReadFields(record.first_label - 1, record.last_label);
    if (!status.ok()) return status;
    fields_.Seal();
  }
  fields_.SetLastLabel(manifest.fields_through);
  return absl::OkStatus();
}

absl::StatusOr<bool> Shard::MergeFields(uint64_t max_rows, const Work& work) {
  absl::Status refused;
  bool worked = false;
  while (true) {
    if (absl::Status status = CheckStop(work); !status.ok()) return status;
    std::optional<fields::FieldIndex::MergeWork> merge;
    {
      absl::MutexLock lock(&index_mu_);
      merge = fields_.BeginMerge(max_rows);
    }
    if (!merge.has_value()) {
      if (!refused.ok()) return refused;
      return worked;
    }
    int64_t reserved = 0;
    const absl::Cleanup release = [&] {
      if (options_.budget != nullptr) options_.budget->Release(reserved);
    };
    if (options_.budget != nullptr && merge->rows() > kSmallMergeRows) {
      refused = options_.budget->Reserve(merge->bytes(), "merging fields");
      if (!refused.ok()) {
        max_rows = kSmallMergeRows;
        continue;
      }
      reserved = merge->bytes();
    }
    merge->Run();
    absl::MutexLock lock(&index_mu_);
    if (!fields_.Publish(*merge)) {
      return absl::InternalError("parts of fields changed while they were merged");
    }
    CountMemory();
    worked = true;
  }
}

absl::StatusOr<bool> Shard::SaveFields() {
  bool worked = false;
  {
    absl::MutexLock lock(&index_mu_);
    fields_.Seal();
  }
  while (true) {
    std::optional<fields::FieldIndex::MergeWork> save;
    {
      absl::MutexLock lock(&index_mu_);
      save = fields_.BeginSave();
    }
    if (!save.has_value()) return worked;
    save->Run();
    if (save->segment != nullptr) {
      save->file = files_.Next();
      absl::Status status = save->segment->Save(files_.Fields(save->file));
      if (!status.ok()) return status;
    }
    absl::MutexLock lock(&index_mu_);
    if (!fields_.Publish(*save)) {
      return absl::InternalError("parts of fields changed while they were written");
    }
    CountMemory();
    worked = true;
  }
}

}  // namespace vecino::engine
