// A new generation: trained, encoded, measured against the old one, and put in its place or
// dropped.
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/engine/drift.h"
#include "server/engine/retrain_gate.h"
#include "server/engine/shard.h"
#include "server/engine/shard_work.h"
#include "server/index/give_way.h"
#include "server/index/training.h"
#include "server/index/trial.h"

namespace vecino::engine {
namespace {

using OutcomeKind = Operation::Outcome::Kind;

// Rounds of encoding what drains brought meanwhile. Each takes a fraction of the one before.
constexpr int kMostRounds = 3;
// Queries of callers that a trial takes at most.
constexpr size_t kLiveQueries = 500;

}  // namespace

// What is made on the way. Files are deleted with it, unless they were published.
struct Shard::Retraining {
  explicit Retraining(Shard* shard) : shard(*shard) {}
  ~Retraining() {
    made.clear();
    for (const std::string& path : strays) shard.files_.Delete(path);
  }

  Shard& shard;
  std::vector<Made> made;  // of the frozen segments, then of those that drains put behind
  std::shared_ptr<index::Generation> generation;
  std::shared_ptr<const index::Generation> old_generation;  // null: there is none
  index::IvfSegment::Drift base;                            // of the frozen rows
  index::IvfSegment::Drift recent;                          // of those that came meanwhile
  std::vector<std::string> strays;                          // paths of files that were begun
  GateFigures figures;
  Operation::Outcome outcome;
};

int Shard::BuildThreads() const {
  return std::max(1, index::SearchedLately() ? options_.build_threads / 2 : options_.build_threads);
}

void Shard::BeginStage(const char* stage, int64_t total, Work* work) {
  work->stage = stage;
  work->total = total;
  work->done = nullptr;
  if (work->operation != nullptr) work->operation->Report(options_.number, stage, 0, total);
  Tell(Event::Kind::kRetrainStage,
       total > 0 ? absl::StrCat(stage, ", ", total, " rows") : std::string(stage));
  if (options_.hooks.at) options_.hooks.at(stage);
}

absl::Status Shard::PauseRetrain(Work* work) {
  if (work->operation != nullptr) {
    const int64_t done = work->done ? work->done(&work->total) : 0;
    work->operation->Report(options_.number, work->stage, std::min(done, work->total), work->total);
  }
  if (options_.hooks.at) options_.hooks.at(work->stage);
  return Pause(work);
}

absl::Status Shard::TrainStage(Retraining* run, int nlist, uint64_t id, Work* work) {
  const index::FrozenRows& rows = run->made.front().built.rows;
  BeginStage("training", rows.live(), work);
  index::Generation::TrainOptions::Progress progress;
  work->done = [&](int64_t* total) {
    if (progress.total.load() > 0) *total = progress.total.load();
    return progress.done.load();
  };
  const absl::Cleanup forget = [&] { work->done = nullptr; };
  uint64_t seed = index::Generation::TrainOptions().seed;
  {
    absl::MutexLock lock(&index_mu_);
    seed += static_cast<uint64_t>(retrain_strikes_);  // not the same build again
  }
  auto generation = index::TrainGeneration(
      rows, options_.metric, options_.unit, static_cast<size_t>(options_.dimension),
      {.id = id,
       .nlist = nlist,
       .expected_rows = rows.live(),
       .seed = seed,
       .threads = BuildThreads(),
       .progress = &progress},
      [&] { return PauseRetrain(work); }, options_.hooks.spoil);
  if (!generation.ok()) return generation.status();
  run->generation = *std::move(generation);
  return absl::OkStatus();
}

// Encodes the rows of run->made.back().
absl::Status Shard::EncodeStage(Retraining* run, index::IvfSegment::Drift* drift, Work* work) {
  Made& made = run->made.back();
  std::atomic<int64_t> steps = 0;
  work->done = [&](int64_t*) { return steps.load() / index::IvfSegment::kSteps; };
  const absl::Cleanup forget = [&] { work->done = nullptr; };
  made.file = files_.Next();
  if (!files_.in_memory()) run->strays.push_back(files_.Segment(made.file));
  auto segment = index::IvfSegment::Build(
      made.built.rows, run->generation, files_.Segment(made.file),
      [&] { return PauseRetrain(work); }, drift, BuildThreads(), &steps);
  if (!segment.ok()) return segment.status();
  made.built.segment = *std::move(segment);
  return absl::OkStatus();
}

// Encodes what drains have put behind the rows under the old generation meanwhile, until less than
// a tail's worth is left: that is encoded anew by a merge, once the build is in place.
absl::Status Shard::CatchUpStage(Retraining* run, Work* work) {
  for (int round = 0; round < kMostRounds; ++round) {
    std::optional<index::FrozenRows> more;
    Swiftly([&] {
      absl::MutexLock lock(&index_mu_);
      more = index_.FreezeBehind(run->made.back().built.rows);
    });
    if (!more.has_value()) break;
    const int64_t rows = more->live();
    BeginStage("catching up", rows, work);
    run->made.push_back({.built = {*std::move(more), nullptr}, .file = 0});
    if (absl::Status status = EncodeStage(run, &run->recent, work); !status.ok()) return status;
    if (rows <= index_.options().tail_capacity) break;
  }
  return absl::OkStatus();
}

absl::Status Shard::ValidateStage(Retraining* run, uint64_t id, Work* work) {
  BeginStage("validating", 0, work);
  const auto pause = [&] { return PauseRetrain(work); };
  std::vector<const index::FrozenRows*> rows;
  std::vector<index::SegmentRows> after;
  for (const Made& made : run->made) {
    rows.push_back(&made.built.rows);
    if (made.built.segment == nullptr) continue;
    after.push_back(
        {made.built.segment, std::make_shared<index::Tombstones>(made.built.segment->size())});
  }
  std::vector<float> live;
  if (options_.recent_queries) live = options_.recent_queries(kLiveQueries);
  live.resize(live.size() / options_.dimension * options_.dimension);
  const auto d = static_cast<size_t>(options_.dimension);
  auto trial = index::Trial::Make(rows, options_.metric, d, live, id, pause, BuildThreads());
  if (!trial.ok()) return trial.status();
  GateFigures& figures = run->figures;
  figures.queries = trial->queries();
  const index::IndexSpec spec = index_spec();
  figures.target = spec.recall_target;
  if (figures.queries == 0) return absl::OkStatus();
  index::SearchParams params;
  params.recall_target = figures.target;
  params.nprobe = spec.nprobe;
  params.ef = spec.ef_search;
  auto pair = trial->Compare(trial->before(), after, params, pause, BuildThreads());
  if (!pair.ok()) return pair.status();
  figures.recall_before = pair->a.recall;
  figures.recall_after = pair->b.recall;
  figures.rows_before = pair->a.rows_scanned;
  figures.rows_after = pair->b.rows_scanned;
  figures.seconds_before = pair->a.seconds;
  figures.seconds_after = pair->b.seconds;
  if (figures.first) return absl::OkStatus();
  for (const auto& [kind, what] :
       {std::pair(index::Trial::Kind::kBest, "the best row"),
        std::pair(index::Trial::Kind::kFiltered, "rows under a filter that one in ten passes")}) {
    auto other = trial->Compare(trial->before(), after, params, pause, BuildThreads(), kind);
    if (!other.ok()) return other.status();
    if (other->a.recall == 0 && other->b.recall == 0) continue;  // nothing to look for
    figures.others.push_back({what, other->a.recall, other->b.recall});
  }
  return MeasureEqualRecall(*trial, after, params, run, work);
}

// One that finds more, to the noise, is searched less and less widely, until it finds as much as
// the other. Of the new one that is only of interest where it compares more.
absl::Status Shard::MeasureEqualRecall(const index::Trial& trial,
                                       const std::vector<index::SegmentRows>& after,
                                       const index::SearchParams& params, Retraining* run,
                                       Work* work) {
  GateFigures& figures = run->figures;
  const double loss = options_.maintenance.gate_recall_loss;
  if (run->generation == nullptr || figures.rows_before <= 0) return absl::OkStatus();
  const bool old_finds_more = figures.recall_before > figures.recall_after + loss;
  if (!old_finds_more &&
      figures.rows_after <= options_.maintenance.gate_cost * figures.rows_before) {
    return absl::OkStatus();
  }
  const index::Generation* const generation =
      old_finds_more ? run->old_generation.get() : run->generation.get();
  if (generation == nullptr) return absl::OkStatus();
  const std::vector<index::SegmentRows>& side = old_finds_more ? trial.before() : after;
  const double wanted = old_finds_more ? figures.recall_after + loss : figures.recall_before - loss;
  double recall = old_finds_more ? figures.recall_before : figures.recall_after;
  double compared = old_finds_more ? figures.rows_before : figures.rows_after;
  double& result =
      old_finds_more ? figures.rows_before_at_equal_recall : figures.rows_at_equal_recall;
  const int k = index::Trial::kK + 1;
  index::SearchParams narrow = params;
  // As many rows are scored again: what is missed for want of these is not found by more lists.
  narrow.rerank = static_cast<int>(
      std::ceil(generation->calibration()
                    .table.For(index::RecallTable::How::kCodes, figures.target, k, 1)
                    .rerank));
  double breadth = generation->BreadthFor(figures.target, k);
  while (breadth > 1 && recall > wanted) {
    breadth = std::max(1.0, std::floor(0.7 * breadth));
    narrow.breadth = static_cast<int>(breadth);
    auto less = trial.Compare(
        {}, side, narrow, [&] { return PauseRetrain(work); }, BuildThreads());
    if (!less.ok()) return less.status();
    if (less->b.recall <= wanted) {
      const double share = (recall - wanted) / (recall - less->b.recall);
      result = compared * std::pow(less->b.rows_scanned / compared, std::clamp(share, 0.0, 1.0));
      break;
    }
    recall = less->b.recall;
    compared = result = less->b.rows_scanned;
  }
  return absl::OkStatus();
}

void Shard::EndRetrain(const Operation::Outcome& outcome, absl::Duration took, Work* work) {
  if (work->operation != nullptr) work->operation->ReportOutcome(options_.number, outcome);
  const MaintenancePolicy& policy = options_.maintenance;
  absl::MutexLock lock(&index_mu_);
  const bool rejected = outcome.kind == OutcomeKind::kRejected;
  // One for recall that follows another one: that one did not help.
  const bool in_vain = !rejected && work->for_recall && last_retrain_for_recall_;
  retrain_strikes_ = rejected || in_vain ? retrain_strikes_ + 1 : 0;
  last_retrain_for_recall_ = !rejected && work->for_recall;
  const int doublings = std::min(std::max(retrain_strikes_ - 1, 0), 20);
  const absl::Duration backoff = std::min(
      policy.max_retrain_wait, std::max(policy.retrain_wait, took) * (int64_t{1} << doublings));
  const absl::Time now = absl::Now();
  retrain_not_before_ = rejected ? now + backoff : absl::InfinitePast();
  recall_not_before_ = now + (retrain_strikes_ > 0 ? backoff : took);
}

absl::Status Shard::Retrain(Work* work) {
  const absl::Time start = absl::Now();
  std::optional<index::FrozenRows> frozen;
  Retraining run(this);
  MaintenanceState state;
  Swiftly([&] {
    absl::MutexLock lock(&index_mu_);
    frozen = index_.FreezeForMerge(0, index_.Pin()->segments.size());
    run.old_generation = generation_;
    run.figures.rows_cheapest = cheapest_rows_;
    state = State();
  });
  if (!frozen.has_value()) return absl::OkStatus();
  run.figures.first = run.old_generation == nullptr;
  run.figures.drifted = HasDrifted(state, options_.maintenance);
  run.figures.unchanged = AreRowsUnchanged(state, options_.maintenance);
  if (!run.figures.unchanged) run.figures.rows_cheapest = 0;
  const int64_t live = frozen->live();
  run.made.push_back({.built = {*std::move(frozen), nullptr}, .file = 0});
  if (live == 0) {
    EndRetrain({.kind = OutcomeKind::kNotNeeded, .reason = "no row is left"}, absl::Now() - start,
               work);
    return Publish(std::move(run.made), nullptr, {}, nullptr);
  }
  const int lists =
      options_.index.nlist > 0 ? options_.index.nlist : index::Generation::DefaultLists(live);
  const int nlist = options_.hooks.nlist > 0 ? options_.hooks.nlist : lists;
  int64_t reserved = 0;
  const absl::Cleanup release = [&] {
    if (options_.budget != nullptr) options_.budget->Release(reserved);
  };
  if (options_.budget != nullptr) {
    const int64_t bytes =
        PredictRetrainBytes(options_.index, live, options_.dimension, BuildThreads());
    if (absl::Status status = options_.budget->Reserve(bytes, "training an index"); !status.ok()) {
      return status;
    }
    reserved = bytes;
  }
  const uint64_t id = files_.Next();
  absl::Status status = TrainStage(&run, nlist, id, work);
  if (!status.ok()) return status;
  BeginStage("encoding", live, work);
  if (status = EncodeStage(&run, &run.base, work); !status.ok()) return status;
  const auto rows = static_cast<double>(run.base.rows);
  const auto* segment = index::AsIvf(*run.made.front().built.segment);
  run.generation->SetBase(
      static_cast<float>(run.base.squared_distance / rows),
      static_cast<float>(segment->Imbalance()),
      static_cast<float>(run.base.squared_code_error / static_cast<double>(run.base.coded_rows)),
      segment->last_label());
  if (status = CatchUpStage(&run, work); !status.ok()) return status;

  BeginStage("calibrating", 0, work);
  std::vector<index::CalibrationPart> parts;
  for (const Made& made : run.made) {
    if (made.built.segment != nullptr) parts.push_back({index::AsIvf(*made.built.segment)});
  }
  auto calibration = index::CalibrateIvf(
      parts, index::kCalibrationQueries, id, [&] { return PauseRetrain(work); }, BuildThreads());
  if (!calibration.ok()) return calibration.status();
  run.generation->SetCalibration(*std::move(calibration));

  if (status = ValidateStage(&run, id, work); !status.ok()) return status;
  if (!Passes(&run, start, work)) return absl::OkStatus();
  if (status = CatchUpStage(&run, work); !status.ok()) return status;
  if (!files_.in_memory()) {
    run.strays.push_back(files_.Generation(id));
    if (status = run.generation->Save(run.strays.back()); !status.ok()) return status;
  }
  return GoLive(&run, start, work);
}

bool Shard::Passes(Retraining* run, absl::Time start, Work* work) {
  GateFigures& figures = run->figures;
  figures.min_recall = work->operation == nullptr ? 0 : work->operation->min_recall();
  work->figures = DescribeFigures(figures);
  run->outcome = {.kind = OutcomeKind::kNone,
                  .reason = WhyRejected(figures, options_.maintenance),
                  .recall_before = figures.recall_before,
                  .recall_after = figures.recall_after,
                  .rows_before = std::llround(figures.rows_before),
                  .rows_after = std::llround(figures.rows_after)};
  if (run->outcome.reason.empty()) {
    // Shown while it is put in place; how it ended is told when it has.
    if (work->operation != nullptr) work->operation->ReportOutcome(options_.number, run->outcome);
    return true;
  }
  run->outcome.kind = OutcomeKind::kRejected;
  work->rejected = run->outcome.reason;
  GateFigures without_caller = figures;
  without_caller.min_recall = 0;
  if (WhyRejected(without_caller, options_.maintenance).empty()) {
    // It would have been good enough for everybody else: no reason to wait with the next one.
    work->operation->ReportOutcome(options_.number, run->outcome);
  } else {
    EndRetrain(run->outcome, absl::Now() - start, work);
  }
  metrics_->retrains_rejected.Add();
  if (options_.hooks.at) options_.hooks.at("rejected");
  return false;
}

absl::Status Shard::GoLive(Retraining* run, absl::Time start, Work* work) {
  if (absl::Status status = CheckStop(*work); !status.ok()) return status;
  bool published = false;
  absl::Status status;
  {
    // No tuning writes a file of the old generation while that goes.
    absl::MutexLock lock(&calibration_mu_);
    status = Publish(std::move(run->made), run->generation, run->recent, &published);
  }
  if (!published) return status;
  run->strays.clear();
  run->outcome.kind = OutcomeKind::kPublished;
  {
    absl::MutexLock lock(&index_mu_);
    cheapest_rows_ = CheapestOf(run->figures, options_.maintenance);
  }
  EndRetrain(run->outcome, absl::Now() - start, work);
  metrics_->retrains.Add();
  metrics_->retrain_time.Observe(absl::ToDoubleSeconds(absl::Now() - start));
  if (options_.hooks.at) options_.hooks.at("published");
  return status;
}

// Those of FAISS train when they are built: all of it is one stage.
absl::Status Shard::RetrainFaiss(Work* work) {
  const absl::Time start = absl::Now();
  std::optional<index::FrozenRows> frozen;
  Retraining run(this);
  run.figures.first = true;
  {
    absl::MutexLock lock(&index_mu_);
    const std::shared_ptr<const index::View> view = index_.Pin();
    frozen = index_.FreezeForMerge(0, view->segments.size());
    for (const index::SegmentRows& rows : view->segments) {
      run.figures.first = run.figures.first && rows.segment->kind() == index::SegmentKind::kFlat;
    }
  }
  if (!frozen.has_value()) return absl::OkStatus();
  const int64_t live = frozen->live();
  const index::SegmentKind kind = index::TrainedKind(options_.index.kind);
  int64_t reserved = 0;
  const absl::Cleanup release = [&] {
    if (options_.budget != nullptr) options_.budget->Release(reserved);
  };
  if (options_.budget != nullptr) {
    const int64_t bytes = PredictIndexBytes(kind, options_.index, live, options_.dimension, false) +
                          PredictBuildBytes(kind, live, options_.dimension, 0);
    if (absl::Status status = options_.budget->Reserve(bytes, "training an index"); !status.ok()) {
      return status;
    }
    reserved = bytes;
  }
  BeginStage("training", live, work);
  auto segment = BuildSegment(*frozen, /*drain=*/false, work);
  if (!segment.ok()) return segment.status();
  if (work->file != 0 && !files_.in_memory()) run.strays.push_back(files_.Segment(work->file));
  run.made.push_back({.built = {*std::move(frozen), *std::move(segment)}, .file = work->file});
  if (absl::Status status = ValidateStage(&run, files_.next(), work); !status.ok()) return status;
  return Passes(&run, start, work) ? GoLive(&run, start, work) : absl::OkStatus();
}

absl::Status Shard::RunRetrain(Work* work) {
  const std::shared_ptr<const index::View> view = index_.Pin();
  int64_t rows = 0;
  for (const index::SegmentRows& one : view->segments)
    rows += one.segment->size() - one.dead->dead();
  const bool faiss = index::IsFaissKind(options_.index.kind);
  bool few = rows < options_.maintenance.min_index_rows;
  if (!faiss) {
    absl::MutexLock lock(&index_mu_);
    few = rows == 0 || (generation_ == nullptr && rows <= options_.maintenance.exact_rows);
  }
  if (few) {
    work->operation->ReportOutcome(
        options_.number,
        {.kind = OutcomeKind::kNotNeeded,
         .reason = absl::StrCat("its ", rows, " rows are compared one by one, which is exact")});
    return view->segments.empty() ? absl::OkStatus() : Merge(0, view->segments.size(), work);
  }
  const absl::Time start = absl::Now();
  absl::Status status = faiss ? RetrainFaiss(work) : Retrain(work);
  if (!status.ok() || work->figures.empty()) return status;
  const bool rejected = !work->rejected.empty();
  const std::string choice = absl::StrCat(
      "trained because operation ", work->operation->id(), " asked for it; ",
      rejected ? absl::StrCat("rejected, the old index serves on: ", work->rejected, " (",
                              work->figures, ")")
               : work->figures,
      "; took ", absl::FormatDuration(absl::Trunc(absl::Now() - start, absl::Milliseconds(1))));
  Tell(rejected ? Event::Kind::kRetrainRejected : Event::Kind::kRetrain, choice);
  spdlog::info("shard {} of collection {}: {}", options_.number, options_.collection, choice);
  absl::MutexLock lock(&index_mu_);
  last_choice_ = choice;
  return absl::OkStatus();
}

}  // namespace vecino::engine
