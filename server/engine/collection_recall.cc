// How well a collection's searches find what is there.
#include <algorithm>
#include <random>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/engine/collection_query.h"
#include "server/engine/recall_interval.h"
#include "server/engine/recall_measure.h"
#include "server/engine/validation.h"
#include "server/index/give_way.h"
#include "server/index/search_kinds.h"
#include "server/index/training.h"

namespace vecino::engine {
namespace {

// Documents that a probe looks for.
constexpr int kProbeK = 10;

// Probes of which there are enough.
constexpr int64_t kEnoughProbes = 2 * kEnoughRecallSamples;

// Queries that are measured in one pass over the rows. A view is kept for so long.
constexpr size_t kAtOnce = 16;

// Sums of one estimate.
class Measurement {
 public:
  void Add(const MaybeRecall& recall, double share, absl::Time now) {
    if (!recall.has_value()) return;
    sums_.Add(*recall);
    shares_ += share;
    oldest_ = std::min(oldest_, now);
    newest_ = now;
  }
  RecallEstimate Estimate(const RecallRequest& request, double target, RecallSource source) const {
    RecallEstimate estimate;
    estimate.source = source;
    estimate.min_k = estimate.max_k = request.top_k;
    estimate.recall_target = target;
    SetMeasured(sums_, &estimate);
    if (sums_.searches == 0) return estimate;
    const double share = shares_ / static_cast<double>(sums_.searches);
    const index::SearchKind kind =
        index::DescribeSearchKind(index::SearchKindOf(request.top_k, share));
    estimate.above_share = kind.above_share;
    estimate.up_to_share = kind.up_to_share;
    estimate.oldest = oldest_;
    estimate.newest = newest_;
    return estimate;
  }

 private:
  RecallSums sums_;
  double shares_ = 0;
  absl::Time oldest_ = absl::InfiniteFuture(), newest_ = absl::InfinitePast();
};

absl::Status CheckQueries(const RecallRequest& request) {
  const size_t queries = request.vectors.size() + request.texts.size();
  if (queries > static_cast<size_t>(RecallRequest::kMaxQueries)) {
    return InvalidField(
        request.vectors.empty() ? "texts" : "vectors",
        absl::StrCat("brings ", queries, " queries with those of the other, at most ",
                     RecallRequest::kMaxQueries, " are measured in one call"));
  }
  if (request.samples < 0 || request.samples > RecallRequest::kMaxSamples) {
    return InvalidField("samples", absl::StrCat("is ", request.samples, ", must be 1 to ",
                                                RecallRequest::kMaxSamples));
  }
  if (queries > 0 && request.samples > 0) {
    return InvalidField("samples", "cannot stand beside queries of your own; leave one out");
  }
  for (size_t i = 0; i < request.texts.size(); ++i) {
    const std::string path = absl::StrCat("texts[", i, "]");
    if (request.texts[i].empty()) return InvalidField(path, "is empty");
    if (absl::Status status = CheckText(path, request.texts[i]); !status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace

void Collection::BeginSample(const Query& query, int k, RecallTask* sample) const {
  *sample = {};
  sample->search.vector = query.vector;
  sample->search.k = k;
  sample->search.aim_k = AimedAt(k);
  sample->filter = query.filter;
  sample->target = query.params.recall_target;
  sample->time = absl::Now();
  sample->book = recall_;
  sample->shards.reserve(shards_.size());
  sample->search.hits.reserve(shards_.size());
}

std::vector<PinnedShard> Collection::PinShards() const {
  std::vector<PinnedShard> pinned;
  for (const auto& shard : shards_) pinned.push_back({shard, shard->Pin()});
  return pinned;
}

std::vector<Collection::StoredRow> Collection::PickRows(absl::Span<const PinnedShard> shards,
                                                        size_t count, bool held_out) {
  // All parts of all views, one behind the other.
  struct Part {
    size_t shard = 0;
    int64_t end = 0;  // rows up to its last
    const index::SegmentRows* segment = nullptr;
    const index::Tail* tail = nullptr;
    int64_t rows = 0;
  };
  std::vector<Part> parts;
  int64_t all = 0;
  for (size_t s = 0; s < shards.size(); ++s) {
    const index::View& view = *shards[s].pinned.view;
    const auto add = [&](int64_t rows, const index::SegmentRows* segment, const index::Tail* tail) {
      if (rows == 0) return;
      all += rows;
      parts.push_back({s, all, segment, tail, rows});
    };
    for (const index::SegmentRows& rows : view.segments) add(rows.segment->size(), &rows, nullptr);
    for (const auto& tail : view.frozen) add(tail->size(), nullptr, tail.get());
    add(view.tail->size(), nullptr, view.tail.get());
  }
  std::vector<StoredRow> picked;
  if (all == 0) return picked;
  static thread_local std::mt19937_64 random(std::random_device{}());
  const size_t dimension = static_cast<size_t>(shards.front().shard->dimension());
  const auto take = [&](int64_t row) {
    const auto part = std::upper_bound(parts.begin(), parts.end(), row,
                                       [](int64_t at, const Part& one) { return at < one.end; });
    const int64_t slot = row - (part->end - part->rows);
    const uint64_t label = part->segment != nullptr ? part->segment->segment->label(slot)
                                                    : part->tail->label(static_cast<int>(slot));
    if (held_out && !index::IsHeldOut(label)) return;
    const bool dead = part->segment != nullptr ? part->segment->dead->IsDead(slot)
                                               : part->tail->tombstones().IsDead(slot);
    const uint64_t sequence = shards[part->shard].shard->labels().SequenceOf(label);
    const std::vector<uint64_t>& expired = shards[part->shard].pinned.expired;
    if (dead || sequence > shards[part->shard].pinned.applied ||
        std::binary_search(expired.begin(), expired.end(), sequence)) {
      return;
    }
    const float* const vector = part->segment != nullptr
                                    ? part->segment->segment->vector(slot)
                                    : part->tail->vector(static_cast<int>(slot));
    picked.push_back({{part->shard, sequence}, {vector, vector + dimension}});
  };
  // Selection sampling (Knuth 3.4.2 S) where most rows are wanted; otherwise blindly, for as long
  // as that finds what is live.
  if (static_cast<int64_t>(4 * count) >= all) {
    std::vector<int64_t> rows(static_cast<size_t>(all));
    for (size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<int64_t>(i);
    std::shuffle(rows.begin(), rows.end(), random);
    for (size_t i = 0; i < rows.size() && picked.size() < count; ++i) take(rows[i]);
    return picked;
  }
  std::uniform_int_distribution<int64_t> any(0, all - 1);
  absl::flat_hash_set<int64_t> tried;
  for (size_t attempt = 0; attempt < 64 * count && picked.size() < count; ++attempt) {
    if (const int64_t row = any(random); tried.insert(row).second) take(row);
  }
  return picked;
}

absl::Status Collection::AnswerPinned(absl::Span<const PinnedShard> shards, size_t first,
                                      const Query& query,
                                      absl::FunctionRef<absl::Status()> checkpoint,
                                      AnsweredSearch* search) const {
  index::SearchParams params = query.params;
  params.k = search->k + (search->itself.has_value() ? 1 : 0);
  search->aim_k = AimedAt(search->k);
  for (size_t s = 0; s < shards.size(); ++s) {
    const PinnedShard& one = shards[s];
    params.aim_k = search->aim_k;
    // It stands before what is to be found.
    const bool here = search->itself.has_value() && search->itself->shard == first + s;
    if (params.aim_k > 0 && here) ++params.aim_k;
    auto hits = SearchFiltered(
        *one.shard, query.filter.get(), params, [&](const index::SearchParams& filled) {
          return one.shard->SearchPinned(one.pinned, search->vector.data(), filled, checkpoint);
        });
    if (!hits.ok()) return hits.status();
    search->hits.push_back(*std::move(hits));
  }
  return absl::OkStatus();
}

bool Collection::ProbeRecall(absl::FunctionRef<absl::Status()> checkpoint) const {
  const absl::Time now = absl::Now();
  if (recall_->Estimate(RecallSource::kLive, now).enough()) return false;
  if (recall_->Estimate(RecallSource::kStoredDocuments, now).samples >= kEnoughProbes) return false;
  if (std::none_of(shards_.begin(), shards_.end(),
                   [](const auto& shard) { return shard->IsApproximate(); })) {
    return false;
  }
  const std::vector<PinnedShard> pinned = PinShards();
  std::vector<StoredRow> rows = PickRows(pinned, 1);
  if (rows.empty()) return false;
  Query query;
  query.params.recall_target = index_spec().recall_target;
  AnsweredSearch search{.vector = std::move(rows.front().vector),
                        .k = kProbeK,
                        .hits = {},
                        .itself = rows.front().itself};
  if (!AnswerPinned(pinned, 0, query, checkpoint, &search).ok()) return false;
  const auto measured = MeasureRecall(pinned, nullptr, context_.filters, {&search, 1}, checkpoint);
  if (!measured.ok() || !measured->searches.front().recall.has_value()) return false;
  const MeasuredSearches::One& one = measured->searches.front();
  RecallSample sample{.time = now,
                      .k = kProbeK,
                      .share = 1,
                      .recall = *one.recall,
                      .target = query.params.recall_target};
  recall_->Add(RecallSource::kStoredDocuments, sample);
  for (size_t s = 0; s < pinned.size(); ++s) {
    if (!one.shards[s].has_value()) continue;
    sample.recall = *one.shards[s];
    shards_[s]->AddRecall(RecallSource::kStoredDocuments, sample, pinned[s].pinned.epoch);
  }
  return true;
}

absl::Status Collection::ReadRecallRequest(const RecallRequest& request, Query* query) const {
  if (absl::Status status = CheckQueries(request); !status.ok()) return status;
  SearchRequest like;  // for the checks and for what follows from effort and filter
  like.top_k = request.top_k;
  like.filter = request.filter;
  like.recall_target = request.recall_target;
  like.exact = request.exact;
  like.nprobe = request.nprobe;
  like.ef_search = request.ef_search;
  like.rerank = request.rerank;
  if (absl::Status status = CheckTopK("top_k", like.top_k); !status.ok()) return status;
  if (absl::Status status = CheckEffort(like); !status.ok()) return status;
  auto filter = ReadFilter(request.filter);
  if (!filter.ok()) return filter.status();
  query->filter = *std::move(filter);
  SetEffort(like, query);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<AnsweredSearch>> Collection::GivenSearches(
    const RecallRequest& request, const CallContext& context) const {
  std::vector<AnsweredSearch> searches;
  const auto add = [&](std::vector<float> vector) {
    searches.push_back({std::move(vector), request.top_k, {}, std::nullopt});
  };
  for (size_t i = 0; i < request.vectors.size(); ++i) {
    std::vector<float> vector = request.vectors[i];
    absl::Status status = PrepareVector(absl::StrCat("vectors[", i, "]"), info_.spec.metric,
                                        info_.spec.dimension, &vector);
    if (!status.ok()) return status;
    add(std::move(vector));
  }
  if (request.texts.empty()) return searches;
  if (absl::Status status = CheckModel(); !status.ok()) return status;
  std::vector<TextQuery> texts;
  for (const std::string& text : request.texts) texts.push_back({text, Truncate::kAuto});
  std::vector<const TextQuery*> pointers;
  for (const TextQuery& text : texts) pointers.push_back(&text);
  auto embedded = EmbedQueries(pointers, context);
  if (!embedded.ok()) return embedded.status();
  for (size_t i = 0; i < embedded->size(); ++i) {
    encoder::EmbedResult& result = (*embedded)[i];
    const std::string path = absl::StrCat("texts[", i, "]");
    if (absl::IsInvalidArgument(result.status)) {
      return InvalidField(path, std::string(result.status.message()));
    }
    if (!result.status.ok()) return result.status;
    absl::Status status =
        PrepareVector(path, info_.spec.metric, info_.spec.dimension, &result.vector);
    if (!status.ok()) return status;
    add(std::move(result.vector));
  }
  return searches;
}

absl::StatusOr<RecallEvaluation> Collection::EvaluateRecall(const RecallRequest& request,
                                                            const CallContext& context) const {
  Query query;
  if (absl::Status status = ReadRecallRequest(request, &query); !status.ok()) return status;
  auto given = GivenSearches(request, context);
  if (!given.ok()) return given.status();
  std::vector<AnsweredSearch> searches = *std::move(given);
  const bool stored = request.vectors.empty() && request.texts.empty();
  if (stored) {
    const int wanted = request.samples > 0 ? request.samples : RecallRequest::kDefaultSamples;
    for (StoredRow& row : PickRows(PinShards(), static_cast<size_t>(wanted))) {
      searches.push_back({std::move(row.vector), request.top_k, {}, row.itself});
    }
  }

  const auto check = [&]() -> absl::Status {
    index::YieldToSearches();
    return CheckCall(context, "all was measured");
  };
  Measurement of_all;
  std::vector<Measurement> of_shards(shards_.size());
  RecallEvaluation evaluation;
  for (size_t first = 0; first < searches.size(); first += kAtOnce) {
    const auto some = absl::MakeSpan(searches).subspan(first, kAtOnce);
    const std::vector<PinnedShard> pinned = PinShards();
    const absl::Time start = absl::Now();
    for (AnsweredSearch& search : some) {
      if (absl::Status status = AnswerPinned(pinned, 0, query, check, &search); !status.ok()) {
        return status;
      }
    }
    const absl::Time answered = absl::Now();
    auto measured = MeasureRecall(pinned, query.filter.get(), context_.filters, some, check);
    if (!measured.ok()) return measured.status();
    evaluation.search_time += answered - start;
    evaluation.exact_time += absl::Now() - answered;
    for (const MeasuredSearches::One& one : measured->searches) {
      of_all.Add(one.recall, measured->share, answered);
      for (size_t s = 0; s < one.shards.size(); ++s) {
        of_shards[s].Add(one.shards[s], measured->shard_shares[s], answered);
      }
    }
  }
  if (!searches.empty()) {
    evaluation.search_time /= static_cast<int64_t>(searches.size());
    evaluation.exact_time /= static_cast<int64_t>(searches.size());
  }
  // 0: it does not go by one.
  const double target = query.IsMeasurable() ? query.params.recall_target : 0;
  const RecallSource source = stored ? RecallSource::kStoredDocuments : RecallSource::kGiven;
  evaluation.recall = of_all.Estimate(request, target, source);
  for (const Measurement& shard : of_shards) {
    evaluation.shards.push_back(shard.Estimate(request, target, source));
  }
  return evaluation;
}

}  // namespace vecino::engine
