// Writes that depend on what is there.
#include <limits>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/engine/collection.h"
#include "server/engine/shard_of.h"
#include "server/engine/validation.h"
#include "server/index/give_way.h"

namespace vecino::engine {
namespace {

// Deletes of expired documents in one group commit: a few milliseconds, for which others may wait.
constexpr int kReapBatch = 256;

// Whether the write was refused because another one came between reading and writing.
bool LostRace(const absl::Status& status) {
  return absl::IsAborted(status) || absl::IsAlreadyExists(status);
}

}  // namespace

absl::StatusOr<WriteResult> Collection::DeleteVersion(const std::string& id,
                                                      const std::string& etag,
                                                      const CallContext& context) {
  if (absl::Status status = CheckCall(context, "deleting"); !status.ok()) return status;
  if (absl::Status status = CheckDocumentId("id", id); !status.ok()) return status;
  ShardWrite write;
  write.kind = storage::Mutation::Kind::kDelete;
  write.document.id = id;
  write.etag = etag;
  shards_[ShardOf(id, shard_count())]->Write(absl::MakeSpan(&write, 1), context);
  return std::move(write.result);
}

absl::StatusOr<WriteResult> Collection::Modify(const std::string& id, const ModifyFn& fn,
                                               Truncate truncate, const CallContext& context) {
  constexpr storage::DocumentParts kAll = {.text = true, .metadata = true, .vector = true};
  for (int attempt = 0; attempt < Engine::kModifyAttempts; ++attempt) {
    if (absl::Status status = CheckCall(context, "reading the document"); !status.ok()) {
      return status;
    }
    const auto found = Get({&id, 1}, kAll, std::numeric_limits<size_t>::max());
    if (!found.ok()) return found.status();
    const std::optional<storage::Document>& current = found->front();
    absl::StatusOr<DocumentWrite> write = fn(current.has_value() ? &*current : nullptr);
    if (!write.ok()) return write.status();
    write->mode = current.has_value() ? WriteMode::kUpsert : WriteMode::kInsert;
    write->etag = current.has_value() ? EtagOf(uid_, current->sequence) : "";
    std::vector<DocumentWrite> writes;
    writes.push_back(*std::move(write));
    auto results = Upsert(std::move(writes), truncate, context);
    if (!results.ok()) return results.status();
    if (!LostRace(results->front().status)) return std::move(results->front());
  }
  return absl::AbortedError(
      absl::StrCat("document `", id, "` of `", info_.spec.id, "` was changed by others in each of ",
                   Engine::kModifyAttempts, " attempts to change it; try again"));
}

absl::Status Collection::ReapExpired(std::stop_token stop) {
  CallContext context;
  context.stop = stop;
  for (const auto& shard : shards_) {
    while (!stop.stop_requested()) {
      // While embeddings are switched, and on a side that callers do not see, nothing is deleted.
      const WriteGate::Pass pass = gate_.TryEnter();
      if (!pass) return absl::OkStatus();
      const absl::StatusOr<int> reaped = shard->ReapExpired(kReapBatch, context);
      if (!reaped.ok()) return reaped.status();
      if (*reaped == 0) break;
      index::YieldToSearches();
    }
  }
  return absl::OkStatus();
}

}  // namespace vecino::engine
