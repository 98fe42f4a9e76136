// Measures how widely a collection's index must be searched, and has its shards go by that.
#include <time.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/engine/collection_query.h"
#include "server/engine/operation_estimate.h"
#include "server/engine/tuning.h"
#include "server/engine/validation.h"
#include "server/index/give_way.h"
#include "server/index/search_report.h"

namespace vecino::engine {
namespace {

// Held-out documents fewer than this are joined by others.
constexpr size_t kEnoughHeldOut = 100;

// Of one core, for estimates: as operation_estimate.cc.
constexpr double kProductsPerSecond = 5e9;
constexpr double kSearchSeconds = 5e-10;  // a row and dimension of what a search compares
constexpr double kMeanScanned = 0.1;      // share of the rows that the settings compare, the mean

double ThreadSeconds() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

// Adds what one search of a shard looked at.
void Add(const index::SearchReport& report, RungFigures* rung) {
  ++rung->searches;
  rung->rows += static_cast<double>(report.scanned);
  rung->exact = rung->exact && report.exact;
  rung->breadth += static_cast<double>(report.nprobe > 0 ? report.nprobe
                                       : report.ef > 0   ? report.ef
                                                         : report.rescored);
}

}  // namespace

struct Collection::TuneRun {
  std::vector<TuningRung> rungs;
  std::vector<AnsweredSearch> queries;
  int live_queries = 0;
  bool left_out = false;  // whether any query is a stored document
  Query query;            // filter and effort
  std::vector<RungFigures> of_all;
  std::vector<std::vector<RungFigures>> of_shards;  // by place in the tuning's shards
  double share = 1;
  std::vector<double> shard_shares;
};

std::vector<PinnedShard> Collection::PinShards(absl::Span<const int> numbers) const {
  std::vector<PinnedShard> pinned;
  for (const int number : numbers) {
    const auto& shard = shards_[static_cast<size_t>(number)];
    pinned.push_back({shard, shard->Pin()});
  }
  return pinned;
}

absl::StatusOr<Tuning> Collection::PrepareTuning(const TuneRequest& request,
                                                 const CallContext& context) const {
  Tuning tuning;
  tuning.request = request;
  RecallRequest& search = tuning.request.search;
  Query query;
  if (absl::Status status = ReadRecallRequest(search, &query); !status.ok()) return status;
  tuning.filter = query.filter;
  if (search.recall_target == 0) search.recall_target = index_spec().recall_target;
  if (search.samples == 0) search.samples = TuneRequest::kDefaultSamples;
  auto shards = CheckShards("shards", request.shards, shard_count());
  if (!shards.ok()) return shards.status();
  tuning.request.shards = *std::move(shards);
  int64_t rows = 0;
  for (const int number : tuning.request.shards) {
    const Shard& shard = *shards_[static_cast<size_t>(number)];
    rows += shard.LiveDocuments() - shard.WithoutVector();
  }
  if (rows <= 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("collection `", info_.spec.id,
                     "` has no documents with a vector in these shards; write some before tuning"));
  }
  auto given = GivenSearches(search, context);
  if (!given.ok()) return given.status();
  tuning.given = *std::move(given);
  return tuning;
}

absl::StatusOr<OperationEstimate> Collection::EstimateTuning(const TuneRequest& request,
                                                             const CallContext& context) const {
  const auto prepared = PrepareTuning(request, context);
  if (!prepared.ok()) return prepared.status();
  const Tuning& tuning = *prepared;
  OperationEstimate estimate;
  for (const int number : tuning.request.shards) {
    const ShardStats shard = shards_[static_cast<size_t>(number)]->Stats();
    estimate.rows += LiveRows(shard, info_.spec.chunking.has_value());
  }
  const auto rungs = static_cast<double>(TuningLadder(false).size());
  const auto queries = static_cast<double>(
      tuning.given.empty() ? std::min<int64_t>(tuning.request.search.samples, estimate.rows)
                           : static_cast<int64_t>(tuning.given.size()));
  const double cells = static_cast<double>(estimate.rows) * info_.spec.dimension;
  estimate.duration = absl::Seconds(queries * cells / kProductsPerSecond +
                                    rungs * queries * kMeanScanned * cells * kSearchSeconds);
  // Queries, and one pass' answers and copies of its queries; the rest is in what searches keep.
  const double vector = 4.0 * info_.spec.dimension;
  const size_t shards = tuning.request.shards.size();
  const int k = tuning.request.search.top_k;
  const double searches =
      rungs * static_cast<double>(QueriesAtOnce(TuningLadder(false).size(), shards, k));
  const double hits = searches * static_cast<double>(shards) * k * sizeof(ShardHit);
  estimate.peak_bytes =
      static_cast<int64_t>(queries * (vector + 16 * rungs) + searches * vector + hits);
  return estimate;
}

// Callers' latest queries for half of what is wanted, as far as there are any, and rows that no
// training saw.
void Collection::ChooseQueries(const Tuning& tuning, TuneRun* run) const {
  if (!tuning.given.empty()) {
    run->queries = tuning.given;
    return;
  }
  const int k = tuning.request.search.top_k;
  const auto wanted = static_cast<size_t>(tuning.request.search.samples);
  const auto d = static_cast<size_t>(info_.spec.dimension);
  const std::vector<float> live = recall_->RecentQueries(wanted / 2);
  for (size_t i = 0; i + d <= live.size(); i += d) {
    run->queries.push_back({{live.data() + i, live.data() + i + d}, k, {}, std::nullopt});
  }
  run->live_queries = static_cast<int>(run->queries.size());
  const std::vector<PinnedShard> pinned = PinShards(tuning.request.shards);
  const size_t stored = wanted - run->queries.size();
  std::vector<StoredRow> rows = PickRows(pinned, stored, /*held_out=*/true);
  if (rows.size() < std::min(stored, kEnoughHeldOut)) rows = PickRows(pinned, stored);
  run->left_out = !rows.empty();
  for (StoredRow& row : rows) run->queries.push_back({std::move(row.vector), k, {}, row.itself});
}

// Measures `count` queries from `first` on, all settings over the same rows. A view is kept for so
// long.
absl::Status Collection::MeasureRungs(const Tuning& tuning, size_t first, size_t count,
                                      absl::FunctionRef<absl::Status()> checkpoint,
                                      TuneRun* run) const {
  const auto some = absl::MakeConstSpan(run->queries).subspan(first, count);
  const std::vector<PinnedShard> pinned = PinShards(tuning.request.shards);
  const size_t rungs = run->rungs.size();
  std::vector<AnsweredSearch> searches;  // by query, then by setting
  for (const AnsweredSearch& query : some) {
    for (size_t r = 0; r < rungs; ++r) {
      searches.push_back(query);
      searches.back().same_query = r > 0;
      if (const auto of = static_cast<int>(pinned.size()); of < shard_count() && !chunked()) {
        searches.back().merged_k = index::RowsOfShard(query.k, shard_count(), of);
      }
    }
  }
  index::Corrections factors;
  Query query = run->query;
  for (size_t r = 0; r < rungs; ++r) {
    const TuningRung& rung = run->rungs[r];
    if (rung.knob > 0) {
      query.params.nprobe = query.params.ef = rung.knob;
    } else {
      query.params.recall_target = rung.target;
    }
    for (size_t kind = 0; kind < index::kSearchKinds; ++kind) factors.Set(kind, rung.factor);
    query.params.corrections = &factors;  // and not those of live searches
    for (size_t q = 0; q < some.size(); ++q) {
      AnsweredSearch& search = searches[q * rungs + r];
      double seconds = 0;
      index::SearchReport all;
      for (size_t s = 0; s < pinned.size(); ++s) {
        index::SearchReport report;
        query.params.report = &report;
        // A row that is left out is looked for in its own shard only, and is one hit of that.
        const double start = ThreadSeconds();
        absl::Status status =
            AnswerPinned(absl::MakeConstSpan(pinned).subspan(s, 1), s, query, checkpoint, &search);
        if (!status.ok()) return status;
        seconds += ThreadSeconds() - start;
        Add(report, &run->of_shards[s][r]);
        all.scanned += report.scanned;
        all.nprobe += report.nprobe;
        all.ef = std::max(all.ef, report.ef);
        all.rescored += report.rescored;
        all.exact = all.exact && report.exact;
      }
      const auto shards = static_cast<int>(pinned.size());
      all.nprobe = (all.nprobe + shards - 1) / shards;
      Add(all, &run->of_all[r]);
      run->of_all[r].seconds.push_back(seconds);
    }
  }
  auto measured =
      MeasureRecall(pinned, tuning.filter.get(), context_.filters, searches, checkpoint);
  if (!measured.ok()) return measured.status();
  run->share = measured->share;
  run->shard_shares = measured->shard_shares;
  for (size_t i = 0; i < searches.size(); ++i) {
    const MeasuredSearches::One& one = measured->searches[i];
    if (one.recall.has_value()) run->of_all[i % rungs].recalls.Add(*one.recall);
    for (size_t s = 0; s < one.shards.size(); ++s) {
      if (one.shards[s].has_value()) run->of_shards[s][i % rungs].recalls.Add(*one.shards[s]);
    }
  }
  return absl::OkStatus();
}

absl::Status Collection::CheckInUse(const Tuning& tuning) const {
  if (tuning.find == nullptr) return absl::OkStatus();
  const auto now = tuning.find();
  if (!now.ok()) return now.status();
  if (now->get() == this) return absl::OkStatus();
  return absl::AbortedError(
      absl::StrCat("collection `", info_.spec.id,
                   "` was made anew or its embeddings were switched meanwhile, and what would be "
                   "tuned is not in use; start it again"));
}

void Collection::Tune(const Tuning& tuning, Operation* operation, std::stop_token stop) const {
  const IndexSpec spec = index_spec();
  const auto check = [&]() -> absl::Status {
    index::GiveWay();
    if (stop.stop_requested()) return CutShortByStop();
    return operation->CheckCancelled();
  };
  const auto check_all = [&]() -> absl::Status {
    if (absl::Status status = check(); !status.ok()) return status;
    absl::Status status = CheckInUse(tuning);
    if (!status.ok()) return absl::IsUnavailable(status) ? CutShortByStop() : status;
    // Settings are chosen by whether the policy says nprobe or ef_search, and searched with them.
    const IndexSpec now = index_spec();
    if (now.nprobe == spec.nprobe && now.ef_search == spec.ef_search) return status;
    return absl::AbortedError(absl::StrCat("nprobe or ef_search of collection `", info_.spec.id,
                                           "` was changed while it was measured; tune it again"));
  };
  const std::vector<int>& shards = tuning.request.shards;
  const auto end = [&](const absl::Status& why) {
    for (const int shard : shards) operation->Finish(shard, why);
  };
  if (absl::Status status = check_all(); !status.ok()) return end(status);
  // Before anything is pinned: what is measured is of these, or is not stored.
  std::vector<Shard::TuningBasis> bases;
  for (const int shard : shards)
    bases.push_back(shards_[static_cast<size_t>(shard)]->BeginTuning());
  TuneRun run;
  const RecallRequest& asked = tuning.request.search;
  run.query.filter = tuning.filter;
  run.query.params.exact = spec.kind == IndexKind::kFlat;
  run.rungs = TuningLadder(spec.nprobe > 0 || spec.ef_search > 0);
  // Every search compares every row: the others would be the same again, each a full scan.
  if (run.query.params.exact) run.rungs.resize(1);
  ChooseQueries(tuning, &run);
  const auto begin = [&] {
    run.of_all.assign(run.rungs.size(), {});
    run.of_shards.assign(shards.size(), std::vector<RungFigures>(run.rungs.size()));
  };
  const auto report = [&](size_t done) {
    for (const int shard : shards) {
      operation->Report(shard, "measuring", static_cast<int64_t>(done),
                        static_cast<int64_t>(run.queries.size()));
    }
  };
  begin();
  for (size_t first = 0, count = 0; first < run.queries.size(); first += count) {
    count = QueriesAtOnce(run.rungs.size(), shards.size(), asked.top_k);
    report(first);
    if (context_.hooks.at) context_.hooks.at("measuring");
    if (absl::Status status = check_all(); !status.ok()) return end(status);
    if (absl::Status status = MeasureRungs(tuning, first, count, check, &run); !status.ok()) {
      return end(status);
    }
    // What is exact at the least target is so at every other.
    if (first == 0 && run.rungs.size() > 1 && run.of_all.front().exact) {
      run.rungs.resize(1);
      run.of_all.resize(1);
      for (auto& figures : run.of_shards) figures.resize(1);
    }
  }
  report(run.queries.size());
  if (run.queries.empty() || run.of_all.front().recalls.searches == 0) {
    return end(absl::FailedPreconditionError(
        absl::StrCat("collection `", info_.spec.id,
                     "` has no documents that may be found, so there is nothing to measure; "
                     "write some, or tune under another filter")));
  }
  TuningResult result = MakeTuningResult(run.of_all, asked.recall_target);
  result.queries = static_cast<int>(run.of_all.front().recalls.searches);
  result.live_queries = run.live_queries;
  result.share = run.share;
  if (context_.hooks.at) context_.hooks.at("storing");
  if (absl::Status status = check_all(); !status.ok()) return end(status);
  operation->DescribeTuning(std::move(result));
  for (size_t s = 0; s < shards.size(); ++s) {
    const TunedKind kind = {.k = asked.top_k,
                            .k_searched = asked.top_k + (run.left_out ? 1 : 0),
                            .shards = chunked() ? 1 : shard_count(),
                            .share = run.shard_shares[s],
                            .filtered = tuning.filter != nullptr,
                            .target = asked.recall_target,
                            .rungs = run.rungs,
                            .figures = run.of_shards[s]};
    Operation::Outcome outcome;
    const absl::Status status =
        shards_[static_cast<size_t>(shards[s])]->StoreTuning(bases[s], kind, &outcome);
    operation->ReportOutcome(shards[s], std::move(outcome));
    operation->Finish(shards[s], status);
  }
}

}  // namespace vecino::engine
