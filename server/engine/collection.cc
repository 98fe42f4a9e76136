#include "server/engine/collection.h"

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "server/engine/chunking.h"
#include "server/engine/read_budget.h"
#include "server/engine/shard_of.h"
#include "server/engine/stored_spec.h"
#include "server/engine/validation.h"
#include "server/index/give_way.h"

namespace vecino::engine {
namespace {

CollectionInfo InfoOf(const storage::CollectionRecord& record) {
  CollectionInfo info;
  info.spec.id = record.id;
  info.spec.dimension = static_cast<int>(record.dimension);
  info.spec.metric = FromStored(record.metric);
  info.spec.model = record.model;
  info.spec.prompts = StoredPrompts(record);
  info.spec.shard_count = static_cast<int>(record.shard_count);
  info.spec.index = FromStored(record.index);
  if (record.chunk_tokens > 0) {
    info.spec.chunking = Chunking{.max_tokens = static_cast<int>(record.chunk_tokens),
                                  .overlap_tokens = static_cast<int>(record.chunk_overlap)};
  }
  info.model_hash = record.model_hash;
  info.create_time = absl::FromUnixMicros(record.create_time_us);
  // A uid is never given twice. What may change comes behind it (Collection::info).
  info.etag = absl::StrFormat("%x-%x", record.uid, record.create_time_us);
  return info;
}

std::string Item(std::string_view list, size_t i, const char* field = "") {
  return absl::StrCat(absl::string_view(list.data(), list.size()), "[", i, "]", field);
}

}  // namespace

absl::Status CheckCall(const CallContext& context, std::string_view before) {
  const absl::string_view stage(before.data(), before.size());
  if (context.stop.stop_requested()) {
    return absl::CancelledError(absl::StrCat("the caller went away before ", stage));
  }
  if (context.deadline < absl::InfiniteFuture() && absl::Now() >= context.deadline) {
    return absl::DeadlineExceededError(absl::StrCat("the deadline passed before ", stage));
  }
  return absl::OkStatus();
}

Collection::Collection(const storage::CollectionRecord& record, const CollectionContext& context,
                       const Collection* other)
    : uid_(record.uid),
      info_(InfoOf(record)),
      index_(info_.spec.index),
      context_(context),
      files_(std::make_shared<IndexFolder>(context.index_folder, record.uid)),
      shards_(record.shard_count),
      ingest_tokens_(other != nullptr ? other->ingest_tokens_ : std::make_shared<IngestTokens>()),
      recall_(std::make_shared<RecallBook>(context.recall_window)) {}

CollectionInfo Collection::info() const {
  CollectionInfo info = info_;
  info.spec.index = index_spec();
  info.etag = absl::StrFormat("%s.%x", info_.etag, LiveIndexSpec::Pack(info.spec.index));
  return info;
}

absl::Status Collection::LoadShard(int number) {
  auto log = context_.store->OpenShard(uid_, static_cast<uint32_t>(number),
                                       static_cast<uint32_t>(info_.spec.dimension));
  if (!log.ok()) return log.status();
  range_.store(storage::RangeOf((*log)->LastSequence()));
  ShardOptions options;
  options.hold_changes = hold_changes_;
  options.collection = info_.spec.id;
  options.number = number;
  options.metric =
      info_.spec.metric == Metric::kL2 ? index::Metric::kL2 : index::Metric::kInnerProduct;
  options.dimension = info_.spec.dimension;
  options.tail_capacity = context_.tail_capacity;
  options.unit = info_.spec.metric == Metric::kCosine;
  if (info_.spec.chunking.has_value()) options.labels = LabelScheme::Chunked();
  options.index = index_spec();
  options.budget = context_.budget;
  options.heads = context_.heads;
  options.uid = uid_;
  options.clock = context_.clock;
  options.events = context_.events;
  options.hooks = context_.hooks;
  options.swaps = context_.swaps;
  options.recent_queries = [book = recall_](size_t most) { return book->RecentQueries(most); };
  options.maintenance = context_.policy;
  options.build_threads = context_.build_threads;
  options.recall_window = context_.recall_window;
  if (!context_.index_folder.empty()) {
    options.folder = absl::StrCat(context_.index_folder, "/", uid_, "/", number);
    options.folder_of_collection = files_;
  }
  auto shard = Shard::Load(options, *std::move(log), context_.metrics);
  if (!shard.ok()) return shard.status();
  Maintenance* const maintenance = context_.maintenance;
  (*shard)->OnMaintenanceDue([maintenance, weak = std::weak_ptr<Shard>(*shard)] {
    if (std::shared_ptr<Shard> s = weak.lock()) maintenance->Notify(s);
  });
  maintenance->Notify(*shard);  // it may have work now, or at a later time
  for (const storage::Mark& mark : (*shard)->marks().All()) {
    if (mark.token != kFollowerToken) ingest_tokens_->Add(mark.token, mark.time_us);
  }
  shards_[number] = *std::move(shard);
  return absl::OkStatus();
}

const Shard& Collection::ShardFor(std::string_view document_id) const {
  return *shards_[ShardOf(document_id, shard_count())];
}

absl::Status Collection::CheckModel() const {
  const CollectionSpec& spec = info_.spec;
  if (spec.model.empty()) {
    return absl::FailedPreconditionError(absl::StrCat(
        "collection `", spec.id, "` has no embedding model, so it takes vectors only"));
  }
  const absl::StatusOr<encoder::ModelInfo> model = context_.encoder->Model(spec.model);
  if (absl::IsNotFound(model.status())) {
    return absl::FailedPreconditionError(absl::StrCat("the server does not have the model `",
                                                      spec.model, "` of collection `", spec.id,
                                                      "` any more: ", model.status().message()));
  }
  if (!model.ok()) return model.status();
  if (model->hash != info_.model_hash) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the server's model `", spec.model, "` has hash ", model->hash, ", but collection `",
        spec.id, "` was made with ", info_.model_hash,
        ", whose vectors do not compare; bring that model back or load a new collection"));
  }
  return absl::OkStatus();
}

absl::StatusOr<int> Collection::CountTokens(std::string_view text) const {
  if (absl::Status status = CheckModel(); !status.ok()) return status;
  return context_.encoder->CountTokens(info_.spec.model, text);
}

absl::StatusOr<std::vector<WriteResult>> Collection::Upsert(std::vector<DocumentWrite> writes,
                                                            Truncate truncate,
                                                            const CallContext& context) {
  if (absl::Status status = CheckBatchSize("documents", writes.size()); !status.ok()) return status;
  if (absl::Status status = CheckCall(context, "embedding"); !status.ok()) return status;
  std::vector<WriteResult> results(writes.size());
  const int64_t now_us = NowUs();
  for (size_t i = 0; i < writes.size(); ++i) {
    index::YieldToSearches();
    const std::string path = Item("documents", i);
    results[i].status = CheckDocument(path, writes[i].document);
    if (results[i].status.ok()) results[i].status = CheckExpiry(path, writes[i], now_us);
    // One that is made now comes as the model gave it.
    if (writes[i].document.vector.empty()) writes[i].vector_as_stored = false;
    if (!writes[i].vector_as_stored) writes[i].document.passages.clear();  // made here alone
  }
  if (absl::Status status =
          EmbedWrites(truncate, context, &writes, &results, context_.call_vector_bytes);
      !status.ok()) {
    return status;
  }
  if (absl::Status status = CheckCall(context, "writing"); !status.ok()) return status;

  std::vector<std::vector<ShardWrite>> by_shard(shards_.size());
  std::vector<std::vector<size_t>> places(shards_.size());
  for (size_t i = 0; i < writes.size(); ++i) {
    if (!results[i].status.ok()) continue;
    index::YieldToSearches();
    storage::Document& document = writes[i].document;
    if (!document.vector.empty() && !writes[i].vector_as_stored) {
      results[i].status =
          PrepareVectors(Item("documents", i, ".vector"), info_.spec.metric, info_.spec.dimension,
                         document.passages.size(), &document.vector);
      if (!results[i].status.ok()) continue;
    }
    const int shard = ShardOf(document.id, shard_count());
    ShardWrite& write = by_shard[shard].emplace_back();
    write.document = std::move(document);
    write.mode = writes[i].mode;
    write.etag = std::move(writes[i].etag);
    write.ttl_us = writes[i].ttl_us;
    auto fields = fields::ReadRow(write.document.metadata, write.document.text);
    if (fields.ok()) {
      write.fields = *std::move(fields);
    } else {
      results[i].status =
          InvalidField(Item("documents", i, ".metadata"), std::string(fields.status().message()));
      by_shard[shard].pop_back();
      continue;
    }
    places[shard].push_back(i);
  }
  Commit(std::move(by_shard), places, context, &results);
  return results;
}

absl::StatusOr<std::vector<WriteResult>> Collection::Delete(std::span<const std::string> ids,
                                                            const CallContext& context) {
  if (absl::Status status = CheckBatchSize("ids", ids.size()); !status.ok()) return status;
  if (absl::Status status = CheckCall(context, "deleting"); !status.ok()) return status;
  std::vector<WriteResult> results(ids.size());
  std::vector<std::vector<ShardWrite>> by_shard(shards_.size());
  std::vector<std::vector<size_t>> places(shards_.size());
  for (size_t i = 0; i < ids.size(); ++i) {
    results[i].status = CheckDocumentId(Item("ids", i), ids[i]);
    if (!results[i].status.ok()) continue;
    const int shard = ShardOf(ids[i], shard_count());
    ShardWrite& write = by_shard[shard].emplace_back();
    write.kind = storage::Mutation::Kind::kDelete;
    write.document.id = ids[i];
    places[shard].push_back(i);
  }
  Commit(std::move(by_shard), places, context, &results);
  return results;
}

void Collection::Commit(std::vector<std::vector<ShardWrite>> by_shard,
                        const std::vector<std::vector<size_t>>& places, const CallContext& context,
                        std::vector<WriteResult>* results) {
  const absl::Time start = absl::Now();
  for (size_t shard = 0; shard < by_shard.size(); ++shard) {
    std::vector<ShardWrite>& writes = by_shard[shard];
    if (writes.empty()) continue;
    shards_[shard]->Write(absl::MakeSpan(writes), context);
    for (size_t j = 0; j < writes.size(); ++j) {
      WriteResult& result = (*results)[places[shard][j]];
      writes[j].result.token_count = result.token_count;
      writes[j].result.truncated = result.truncated;
      result = std::move(writes[j].result);
    }
  }
  context_.metrics->write_commit.Observe(absl::ToDoubleSeconds(absl::Now() - start));
}

absl::StatusOr<std::vector<std::optional<storage::Document>>> Collection::Get(
    std::span<const std::string> ids, const storage::DocumentParts& parts, size_t max_bytes) const {
  if (absl::Status status = CheckBatchSize("ids", ids.size()); !status.ok()) return status;
  std::vector<std::vector<size_t>> by_shard(shards_.size());
  absl::flat_hash_map<std::string_view, size_t> first;  // place of each id in `ids`
  std::vector<size_t> copies(ids.size());               // by the first place
  for (size_t i = 0; i < ids.size(); ++i) {
    if (absl::Status status = CheckDocumentId(Item("ids", i), ids[i]); !status.ok()) return status;
    const auto [it, is_new] = first.try_emplace(ids[i], i);
    if (is_new) by_shard[ShardOf(ids[i], shard_count())].push_back(i);
    ++copies[it->second];
  }
  std::vector<std::optional<storage::Document>> documents(ids.size());
  ReadBudget budget(max_bytes);
  const int64_t now_us = NowUs();
  for (size_t shard = 0; shard < by_shard.size(); ++shard) {
    const storage::ShardLog& log = shards_[shard]->log();
    std::vector<size_t> wanted = std::move(by_shard[shard]);
    // A version that is replaced between the two look-ups is looked up again. Each round means that
    // a write to one of these very documents was synced meanwhile, so a few are plenty.
    for (int round = 0; !wanted.empty(); ++round) {
      if (round == 100) {
        return absl::UnavailableError(
            absl::StrCat("document `", ids[wanted[0]], "` changes faster than it can be read"));
      }
      std::vector<std::string_view> names;
      for (const size_t i : wanted) names.push_back(ids[i]);
      const auto entries = log.FindIds(names);
      if (!entries.ok()) return entries.status();
      std::vector<uint64_t> sequences;
      std::vector<size_t> places;
      for (size_t j = 0; j < wanted.size(); ++j) {
        const auto& entry = (*entries)[j];
        if (!entry.has_value() || storage::IsExpired(entry->expire_time_us, now_us)) continue;
        sequences.push_back(entry->sequence);
        places.push_back(wanted[j]);
      }
      auto found = ReadDocuments(
          log, sequences, parts,
          [&](size_t j, const storage::Document&) { return copies[places[j]]; }, &budget);
      if (!found.ok()) return found.status();
      wanted.clear();
      for (size_t j = 0; j < places.size(); ++j) {
        if ((*found)[j].has_value()) {
          documents[places[j]] = std::move((*found)[j]);
        } else {
          wanted.push_back(places[j]);
        }
      }
    }
  }
  for (size_t i = 0; i < ids.size(); ++i) {
    if (const size_t at = first[ids[i]]; at != i) documents[i] = documents[at];
  }
  return documents;
}

int64_t Collection::LiveDocuments() const {
  int64_t count = 0;
  for (const auto& shard : shards_) count += shard->LiveDocuments();
  return count;
}

CollectionStats Collection::Stats() const {
  CollectionStats stats;
  for (const auto& shard : shards_) stats.shards.push_back(shard->Stats());
  stats.recall = Recall();
  return stats;
}

void Collection::Request(const std::shared_ptr<Operation>& operation) {
  for (const int shard : operation->shards()) shards_[shard]->Request(operation);
}

void Collection::Close(const absl::Status& why) {
  for (const auto& shard : shards_) shard->Close(why);
}

void Collection::Reopen() {
  for (const auto& shard : shards_) shard->Reopen();
}

}  // namespace vecino::engine
