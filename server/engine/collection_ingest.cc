// Streams of writes into a collection.
#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/engine/chunking.h"
#include "server/engine/collection.h"
#include "server/engine/shard_of.h"
#include "server/engine/validation.h"
#include "server/index/give_way.h"

namespace vecino::engine {
namespace {

std::string Item(size_t i, const char* field = "") {
  return absl::StrCat("documents[", i, "]", field);
}

// The encoder may be half full without anybody noticing; full tails are drained many at a time,
// each search of one that waits costs as much as its rows.
constexpr double kEasyEncoder = 0.5;
constexpr double kEasyMemory = 0.8;
// Rows of full tails that wait, and their bytes; 16 to 64 tails. With four times as many the
// pressure is 1.
constexpr double kEasyRows = 131'072, kEasyBytes = 1 << 30;
constexpr double kLeastEasyTails = 16, kMostEasyTails = 64;

double EasyTails(int capacity, int dimension) {
  const double row_bytes = static_cast<double>(sizeof(float)) * dimension;
  const double rows = std::min(kEasyRows, kEasyBytes / row_bytes);
  return std::clamp(rows / capacity, kLeastEasyTails, kMostEasyTails);
}

double Between(double value, double easy, double most) {
  return std::clamp((value - easy) / (most - easy), 0.0, 1.0);
}

}  // namespace

class Collection::Ingest final : public IngestStream {
 public:
  Ingest(std::shared_ptr<Collection> collection, std::string_view token, Truncate truncate)
      : collection_(std::move(collection)), token_(token), truncate_(truncate) {
    if (token_.empty()) return;
    uint64_t everywhere = std::numeric_limits<uint64_t>::max();
    for (const auto& shard : collection_->shards_) {
      before_.push_back(shard->marks().Get(token_));
      everywhere = std::min(everywhere, before_.back().through);
      done_through_ = std::max(done_through_, before_.back().all_through);
    }
    done_through_ = std::max(done_through_, everywhere);
  }
  ~Ingest() override {
    if (!token_.empty() && !moved_) {
      collection_->ingest_tokens_->Close(token_, !finished_, absl::ToUnixMicros(absl::Now()));
    }
  }

  uint64_t done_through() const override { return done_through_; }
  absl::Status Prepare(absl::Span<IngestWrite> writes, const CallContext& context) override;
  absl::Status Commit(absl::Span<IngestWrite> writes, uint64_t done_through,
                      const CallContext& context) override;
  absl::Status Finish() override;
  IngestPressure Pressure() const override;

  std::unique_ptr<IngestStream> MoveTo(const std::shared_ptr<Collection>& collection) {
    moved_ = true;
    return std::make_unique<Ingest>(collection, token_, truncate_);
  }

 private:
  void CheckItem(size_t i, IngestWrite* write) const;

  const std::shared_ptr<Collection> collection_;
  const std::string token_;
  const Truncate truncate_;
  std::vector<storage::Mark> before_;  // by shard, when the stream was opened; none without a token
  uint64_t done_through_ = 0;
  bool finished_ = false;
  bool moved_ = false;  // the token is another object's
};

absl::StatusOr<std::unique_ptr<IngestStream>> Collection::OpenIngest(
    const std::shared_ptr<Collection>& collection, std::string_view token, Truncate truncate) {
  if (token.size() > storage::Mark::kMaxTokenBytes) {
    return InvalidField("start.resume_token", absl::StrCat("has ", token.size(), " bytes, at most ",
                                                           storage::Mark::kMaxTokenBytes));
  }
  if (!token.empty()) {
    std::string forget;
    if (absl::Status status =
            collection->ingest_tokens_->Open(token, absl::ToUnixMicros(absl::Now()), &forget);
        !status.ok()) {
      return status;
    }
    if (!forget.empty()) {
      if (absl::Status status = collection->ForgetMarks(forget); !status.ok()) {
        collection->ingest_tokens_->Add(forget, 0);
        collection->ingest_tokens_->Close(token, /*keep=*/false, 0);
        return status;
      }
    }
  }
  return std::make_unique<Ingest>(collection, token, truncate);
}

std::unique_ptr<IngestStream> Collection::MoveIngest(
    IngestStream* stream, const std::shared_ptr<Collection>& collection) {
  return static_cast<Ingest*>(stream)->MoveTo(collection);
}

absl::Status Collection::ForgetMarks(std::string_view token) {
  if (absl::Status status = context_.store->DropMark(uid_, token); !status.ok()) return status;
  for (const auto& shard : shards_) shard->marks().Forget(token);
  return absl::OkStatus();
}

void Collection::Ingest::CheckItem(size_t i, IngestWrite* write) const {
  const storage::Document& document = write->write.document;
  absl::Status& status = write->result.status;
  status = write->erase ? CheckDocumentId(Item(i, ".id"), document.id)
                        : CheckDocument(Item(i), document);
  // Faults that the item itself shows are found again whenever it is sent again: no mark has them.
  if (!status.ok()) {
    write->settled = true;
    return;
  }
  if (!before_.empty()) {
    const storage::Mark& mark =
        before_[static_cast<size_t>(ShardOf(document.id, collection_->shard_count()))];
    if (write->item <= std::max(mark.through, done_through_)) {
      status = RememberedStatus(mark, write->item);
      write->settled = true;
      return;
    }
  }
  if (write->erase) return;
  status = CheckExpiry(Item(i), write->write, collection_->NowUs());
  if (!status.ok()) return;
  if (write->has_fields) return;
  auto fields = fields::ReadRow(document.metadata, document.text);
  if (fields.ok()) {
    write->fields = *std::move(fields);
    write->has_fields = true;
  } else {
    status = InvalidField(Item(i, ".metadata"), std::string(fields.status().message()));
  }
}

absl::Status Collection::Ingest::Prepare(absl::Span<IngestWrite> writes,
                                         const CallContext& context) {
  if (absl::Status status = CheckCall(context, "embedding"); !status.ok()) return status;
  std::vector<size_t> places;
  for (size_t i = 0; i < writes.size(); ++i) {
    if (writes[i].settled) continue;
    index::YieldToSearches();
    CheckItem(i, &writes[i]);
    const bool good = !writes[i].settled && writes[i].result.status.ok();
    if (good && !writes[i].erase) places.push_back(i);
  }
  // EmbedWrites names items by their place, so all of them go.
  std::vector<DocumentWrite> documents(writes.size());
  std::vector<WriteResult> results(writes.size());
  for (auto& result : results) result.status = absl::CancelledError("not to be embedded");
  for (const size_t i : places) {
    documents[i] = std::move(writes[i].write);
    results[i].status = absl::OkStatus();
  }
  const absl::Status embedded = collection_->EmbedWrites(truncate_, context, &documents, &results);
  for (const size_t i : places) {
    writes[i].write = std::move(documents[i]);
    if (!embedded.ok()) continue;
    writes[i].result = std::move(results[i]);
    std::vector<float>& vector = writes[i].write.document.vector;
    if (!writes[i].result.status.ok() || vector.empty()) continue;
    const CollectionSpec& spec = collection_->info_.spec;
    writes[i].result.status = PrepareVectors(Item(i, ".vector"), spec.metric, spec.dimension,
                                             writes[i].write.document.passages.size(), &vector);
  }
  return embedded;
}

absl::Status Collection::Ingest::Commit(absl::Span<IngestWrite> writes, uint64_t done_through,
                                        const CallContext& context) {
  const absl::Time start = absl::Now();
  const StreamPlace place{token_, done_through};
  const size_t shards = collection_->shards_.size();
  std::vector<std::vector<ShardWrite>> by_shard(shards);
  std::vector<std::vector<size_t>> places(shards);
  for (size_t i = 0; i < writes.size(); ++i) {
    if (writes[i].settled) continue;
    storage::Document& document = writes[i].write.document;
    const auto shard = static_cast<size_t>(ShardOf(document.id, collection_->shard_count()));
    ShardWrite& write = by_shard[shard].emplace_back();
    write.kind = writes[i].erase ? storage::Mutation::Kind::kDelete : storage::Mutation::Kind::kPut;
    write.document = std::move(document);
    write.fields = std::move(writes[i].fields);
    write.mode = writes[i].write.mode;
    write.etag = writes[i].write.etag;
    write.ttl_us = writes[i].write.ttl_us;
    write.stream = &place;
    write.item = writes[i].item;
    // What Prepare found at fault: the mark must know.
    write.refused = !writes[i].result.status.ok();
    write.result = writes[i].result;
    places[shard].push_back(i);
  }
  absl::Status failure;
  for (size_t shard = 0; shard < shards; ++shard) {
    std::vector<ShardWrite>& group = by_shard[shard];
    if (group.empty()) continue;
    collection_->shards_[shard]->Write(absl::MakeSpan(group), context);
    for (size_t j = 0; j < group.size(); ++j) {
      IngestWrite& write = writes[places[shard][j]];
      write.write.document = std::move(group[j].document);
      write.fields = std::move(group[j].fields);
      if (!group[j].committed) {
        if (failure.ok()) failure = group[j].result.status;
        continue;
      }
      group[j].result.token_count = write.result.token_count;
      group[j].result.truncated = write.result.truncated;
      write.result = std::move(group[j].result);
      write.settled = true;
    }
  }
  collection_->context_.metrics->write_commit.Observe(absl::ToDoubleSeconds(absl::Now() - start));
  return failure;
}

absl::Status Collection::Ingest::Finish() {
  if (token_.empty()) return absl::OkStatus();
  absl::Status status = collection_->ForgetMarks(token_);
  finished_ = status.ok();
  return status;
}

IngestPressure Collection::Ingest::Pressure() const {
  IngestPressure pressure;
  const CollectionContext& context = collection_->context_;
  if (!collection_->info_.spec.model.empty()) {
    const encoder::EncoderStats stats = context.encoder->Stats();
    if (stats.queue_capacity > 0) {
      pressure.encoder = Between(
          static_cast<double>(stats.queued_tokens) / static_cast<double>(stats.queue_capacity),
          kEasyEncoder, 1);
    }
  }
  if (context.budget != nullptr && context.budget->limit() > 0) {
    pressure.memory = Between(
        static_cast<double>(context.budget->used()) / static_cast<double>(context.budget->limit()),
        kEasyMemory, 1);
  }
  for (const auto& shard : collection_->shards_) {
    const double easy = EasyTails(shard->tail_capacity(), collection_->info_.spec.dimension);
    pressure.index = std::max(pressure.index, Between(shard->FrozenTails(), easy, 4 * easy));
  }
  return pressure;
}

}  // namespace vecino::engine
