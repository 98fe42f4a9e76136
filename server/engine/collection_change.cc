// Deleting or changing every document that a filter lets pass.
#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/engine/collection.h"
#include "server/engine/live_passing.h"
#include "server/index/give_way.h"

namespace vecino::engine {
namespace {

// Documents of one group commit: a few milliseconds, for which others may wait.
constexpr size_t kBatch = 256;
// The same where a document may have many vectors, which are read for a patch.
constexpr size_t kChunkedBatch = 16;

absl::Status CheckStopped(const Operation& operation, std::stop_token stop) {
  if (stop.stop_requested()) return absl::CancelledError("the server is stopping");
  return operation.CheckCancelled();
}

// Not a failure: somebody else wrote the document meanwhile, or it expired.
bool WasOvertaken(const absl::Status& status) {
  return absl::IsAborted(status) || absl::IsNotFound(status) || absl::IsAlreadyExists(status);
}

}  // namespace

absl::Status Collection::ChangeShard(int number, std::string_view text, const PatchFn& patch,
                                     Operation& operation, std::stop_token stop) {
  const char* const stage = patch == nullptr ? "deleting" : "patching";
  const Shard& shard = *shards_[static_cast<size_t>(number)];
  std::vector<uint64_t> sequences;
  const auto filter = fields::Filter::Parse(text);
  if (!filter.ok()) return filter.status();
  LivePassing(shard, **filter).ForEach([&](uint64_t label) { sequences.push_back(label); });
  const auto total = static_cast<int64_t>(sequences.size());
  int64_t done = 0;
  const size_t most = patch != nullptr && info_.spec.chunking.has_value() ? kChunkedBatch : kBatch;
  for (size_t begin = 0; begin < sequences.size(); begin += most) {
    operation.Report(number, stage, done, total);
    if (absl::Status status = CheckStopped(operation, stop); !status.ok()) return status;
    index::YieldToSearches();
    const auto batch =
        std::span(sequences).subspan(begin, std::min(most, sequences.size() - begin));
    const auto changed = patch == nullptr ? DeleteVersions(number, batch, stop)
                                          : PatchVersions(number, batch, **filter, patch, stop);
    if (!changed.ok()) return changed.status();
    done += *changed;
  }
  operation.Report(number, stage, done, total);
  return absl::OkStatus();
}

absl::StatusOr<int64_t> Collection::DeleteVersions(int number, std::span<const uint64_t> sequences,
                                                   std::stop_token stop) {
  Shard& shard = *shards_[static_cast<size_t>(number)];
  const auto documents =
      shard.log().GetDocuments(sequences, {.text = false, .metadata = false, .vector = false});
  if (!documents.ok()) return documents.status();
  std::vector<ShardWrite> writes;
  for (const std::optional<storage::Document>& document : *documents) {
    if (!document.has_value()) continue;  // dead, or deleted meanwhile
    ShardWrite& write = writes.emplace_back();
    write.kind = storage::Mutation::Kind::kDelete;
    write.document.id = document->id;
    write.etag = EtagOf(uid_, document->sequence);
  }
  CallContext context;
  context.stop = stop;
  shard.Write(absl::MakeSpan(writes), context);
  int64_t deleted = 0;
  for (const ShardWrite& write : writes) {
    if (write.result.status.ok()) {
      ++deleted;
    } else if (!WasOvertaken(write.result.status)) {
      return write.result.status;
    }
  }
  return deleted;
}

absl::StatusOr<int64_t> Collection::PatchVersions(int number, std::span<const uint64_t> sequences,
                                                  const fields::Filter& filter,
                                                  const PatchFn& patch, std::stop_token stop) {
  CallContext context;
  context.stop = stop;
  auto documents = shards_[static_cast<size_t>(number)]->log().GetDocuments(
      sequences, {.text = true, .metadata = true, .vector = true});
  if (!documents.ok()) return documents.status();
  const auto next = [&](const storage::Document& current) -> absl::StatusOr<DocumentWrite> {
    auto metadata = patch(current.metadata);
    if (!metadata.ok()) {
      return absl::Status(
          metadata.status().code(),
          absl::StrCat("document `", current.id, "`: ", metadata.status().message()));
    }
    DocumentWrite write;
    write.document = current;
    write.document.metadata = *std::move(metadata);
    write.vector_as_stored = write.expiry_as_stored = true;
    return write;
  };
  std::vector<DocumentWrite> writes;
  for (std::optional<storage::Document>& document : *documents) {
    if (!document.has_value()) continue;
    auto write = next(*document);
    if (!write.ok()) return write.status();
    write->etag = EtagOf(uid_, document->sequence);
    writes.push_back(*std::move(write));
  }
  if (writes.empty()) return 0;
  std::vector<std::string> ids;
  for (const DocumentWrite& write : writes) ids.push_back(write.document.id);
  const auto results = Upsert(std::move(writes), Truncate::kAuto, context);
  if (!results.ok()) return results.status();
  int64_t patched = 0;
  for (size_t i = 0; i < results->size(); ++i) {
    absl::Status status = (*results)[i].status;
    if (absl::IsAborted(status)) {
      // A newer version: it is patched if it passes, too.
      const auto modified = Modify(
          ids[i],
          [&](const storage::Document* current) -> absl::StatusOr<DocumentWrite> {
            if (current == nullptr) return absl::NotFoundError("it was deleted");
            const auto row = fields::ReadMetadata(current->metadata);
            if (!row.ok() || !filter.Passes(*row)) {
              return absl::NotFoundError("it does not pass any more");
            }
            return next(*current);
          },
          Truncate::kAuto, context);
      status = modified.ok() ? modified->status : modified.status();
    }
    if (status.ok()) {
      ++patched;
    } else if (!WasOvertaken(status)) {
      return status;
    }
  }
  return patched;
}

}  // namespace vecino::engine
