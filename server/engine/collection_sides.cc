// What a collection does as one of the two sides of a migration.
#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/engine/chunking.h"
#include "server/engine/collection.h"
#include "server/engine/validation.h"
#include "server/index/give_way.h"

namespace vecino::engine {
namespace {

// One that cannot be read counts as none, as in Shard::ReadFields.
fields::Row ReadFields(const storage::Document& document) {
  auto row = fields::ReadRow(document.metadata, document.text);
  return row.ok() ? *std::move(row) : fields::Row();
}

}  // namespace

absl::Status Collection::CheckPosition(const SearchRequest& request) const {
  if (!request.after.has_value()) return absl::OkStatus();
  if (storage::RangeOf(request.after->sequence) == range_.load()) return absl::OkStatus();
  return InvalidField(
      "page_token", absl::StrCat("is of hits by other embeddings than collection `", info_.spec.id,
                                 "` has now; begin with the first page"));
}

int64_t Collection::WithoutVector() const {
  int64_t count = 0;
  for (const auto& shard : shards_) count += shard->WithoutVector();
  return count;
}

void Collection::TakeMarks(Collection* other, std::span<const uint64_t> through) {
  for (int number = 0; number < shard_count(); ++number) {
    std::vector<storage::Mark> marks = other->shard(number).marks().All();
    std::erase_if(marks, [](const storage::Mark& mark) { return mark.token == kFollowerToken; });
    shard(number).marks().Replace(std::move(marks));
    storage::Mark mark;
    mark.token = std::string(kFollowerToken);
    mark.through = through[static_cast<size_t>(number)];
    other->shard(number).marks().Set(std::move(mark));
  }
}

// The vectors that need not be made: of versions here with the same text. By place in `writes`.
absl::Status Collection::ReuseVectors(int number, std::span<const CarriedWrite> writes,
                                      std::vector<DocumentWrite>* documents) const {
  const storage::ShardLog& stored = shards_[static_cast<size_t>(number)]->log();
  std::vector<std::string_view> ids;
  std::vector<size_t> places;
  for (size_t i = 0; i < writes.size(); ++i) {
    const storage::Document& document = writes[i].document;
    // One without text whose vector is its caller's gets none.
    if (writes[i].kind != CarriedWrite::Kind::kPut) continue;
    if (document.text.empty() && document.has_vector) continue;
    ids.push_back(document.id);
    places.push_back(i);
  }
  const auto entries = stored.FindIds(ids);
  if (!entries.ok()) return entries.status();
  std::vector<uint64_t> sequences;
  std::vector<size_t> known;
  for (size_t j = 0; j < ids.size(); ++j) {
    if (!(*entries)[j].has_value()) continue;
    sequences.push_back((*entries)[j]->sequence);
    known.push_back(places[j]);
  }
  auto versions = stored.GetDocuments(sequences, {.text = true, .metadata = false, .vector = true});
  if (!versions.ok()) return versions.status();
  for (size_t j = 0; j < known.size(); ++j) {
    std::optional<storage::Document>& version = (*versions)[j];
    if (!version.has_value() || version->vector.empty()) continue;
    DocumentWrite& write = (*documents)[known[j]];
    if (version->text != write.document.text) continue;
    write.document.vector = std::move(version->vector);
    write.document.passages = std::move(version->passages);
    write.vector_as_stored = true;
  }
  return absl::OkStatus();
}

absl::Status Collection::Carry(int number, std::vector<CarriedWrite> writes,
                               const CallContext& context) {
  std::vector<DocumentWrite> documents(writes.size());
  std::vector<WriteResult> results(writes.size());
  for (size_t i = 0; i < writes.size(); ++i) {
    documents[i].document = writes[i].document;
    documents[i].document.vector.clear();
    documents[i].document.passages.clear();
    if (writes[i].kind != CarriedWrite::Kind::kPut) {
      results[i].status = absl::CancelledError("not to be embedded");
    }
  }
  if (absl::Status status = ReuseVectors(number, writes, &documents); !status.ok()) return status;
  if (absl::Status status = EmbedWrites(Truncate::kAuto, context, &documents, &results);
      !status.ok()) {
    return status;
  }
  const StreamPlace place{std::string(kFollowerToken), 0};
  std::vector<ShardWrite> batch(writes.size());
  for (size_t i = 0; i < writes.size(); ++i) {
    index::YieldToSearches();
    ShardWrite& write = batch[i];
    write.carried = true;
    write.stream = &place;
    write.item = writes[i].sequence;
    write.document = std::move(documents[i].document);
    if (writes[i].kind == CarriedWrite::Kind::kNothing) {
      write.refused = true;
      continue;
    }
    if (writes[i].kind == CarriedWrite::Kind::kDelete) {
      write.kind = storage::Mutation::Kind::kDelete;
      continue;
    }
    std::vector<float>& vector = write.document.vector;
    absl::Status status = results[i].status;
    if (status.ok() && !vector.empty() && !documents[i].vector_as_stored) {
      status = PrepareVectors("vector", info_.spec.metric, info_.spec.dimension,
                              write.document.passages.size(), &vector);
    }
    // A text that this model makes no vector of: stored without, as any that has none.
    if (absl::IsInvalidArgument(status)) {
      vector.clear();
      write.document.passages.clear();
    } else if (!status.ok()) {
      return status;
    }
    write.fields = ReadFields(write.document);
  }
  shards_[static_cast<size_t>(number)]->Write(absl::MakeSpan(batch), context);
  for (const ShardWrite& write : batch) {
    if (!write.committed) return write.result.status;
  }
  return absl::OkStatus();
}

}  // namespace vecino::engine
