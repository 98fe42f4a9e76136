// Drain, merge, retrain, graph: the work that goes on beside reads and writes.
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/engine/shard.h"
#include "server/engine/shard_work.h"
#include "server/index/faiss_segment.h"
#include "server/index/flat_segment.h"
#include "server/index/give_way.h"
#include "server/index/graph.h"
#include "server/index/training.h"

namespace vecino::engine {
namespace {

// Tails of one drain. More than one when drains lag behind; a build copies them, so not all at
// once.
constexpr int kMaxTailsPerDrain = 8;

// Rows whose merge takes about a second.
constexpr int64_t kLongMergeRows = 200'000;

bool IsLong(const MaintenanceStep& step, const MaintenanceState& state) {
  if (step.kind == MaintenanceStep::Kind::kMerge) {
    int64_t rows = 0;
    for (size_t i = step.first; i < step.first + step.count; ++i) rows += state.segments[i].rows;
    return rows > kLongMergeRows || index::IsFaissKind(state.spec.kind);
  }
  return step.kind == MaintenanceStep::Kind::kRetrain ||
         step.kind == MaintenanceStep::Kind::kCalibrate ||
         step.kind == MaintenanceStep::Kind::kGraph;
}

}  // namespace

void Shard::Tell(Event::Kind kind, std::string message) const {
  if (options_.events == nullptr) return;
  options_.events->Publish({.time = {},
                            .collection = options_.collection,
                            .shard = options_.number,
                            .kind = kind,
                            .message = std::move(message)});
}

void Shard::Request(std::shared_ptr<Operation> operation) {
  operation->Report(options_.number, "waiting", 0, 0);
  {
    absl::MutexLock lock(&index_mu_);
    requests_.push_back(std::move(operation));
  }
  if (maintenance_due_ != nullptr) maintenance_due_();
}

absl::Status Shard::CheckStop(const Work& work) const {
  if (work.stop.stop_requested()) return absl::CancelledError("the server is stopping");
  if (work.operation != nullptr) {
    if (absl::Status status = work.operation->CheckCancelled(); !status.ok()) return status;
  }
  absl::MutexLock lock(&applied_mu_);
  return closed_.ok() ? absl::OkStatus() : absl::CancelledError(closed_.message());
}

absl::Status Shard::Pause(Work* work) {
  if (absl::Status status = CheckStop(*work); !status.ok()) return status;
  if (work->pausing) return absl::OkStatus();
  {
    absl::MutexLock lock(&index_mu_);
    if (index_.Pin()->frozen.empty()) return absl::OkStatus();
  }
  Work drain{.stop = work->stop,
             .operation = nullptr,
             .pausing = true,
             .stage = "",
             .total = 0,
             .file = 0,
             .refused = ""};
  return Drain(&drain);
}

absl::StatusOr<Shard::Maintained> Shard::Maintain(std::stop_token stop, Effort effort) {
  Work work{.stop = stop,
            .operation = nullptr,
            .pausing = false,
            .stage = "",
            .total = 0,
            .file = 0,
            .refused = ""};
  if (stop.stop_requested()) return absl::CancelledError("the server is stopping");
  std::shared_ptr<Operation> operation;
  MaintenanceStep step;
  {
    absl::MutexLock lock(&index_mu_);
    // Deletes fill the change log but no tail.
    if (LogIsLong()) index_.FreezeTail();
    const MaintenanceState state = State();
    step = NextStep(state, options_.maintenance);
    const bool requested = step.kind != MaintenanceStep::Kind::kDrain && !requests_.empty();
    if (step.kind == MaintenanceStep::Kind::kDrain && state.frozen_tails == 0) index_.FreezeTail();
    if (effort == Effort::kShort && (requested || IsLong(step, state))) {
      return Maintained{.worked = false, .wants_long = true, .look_again = absl::InfiniteFuture()};
    }
    if (requested) {
      operation = std::move(requests_.front());
      requests_.pop_front();
    }
  }
  absl::Status status;
  if (operation != nullptr) {
    absl::Status ended = RunOperation(operation, &work);
    if (absl::IsCancelled(ended) && stop.stop_requested() && operation->CheckCancelled().ok()) {
      ended = absl::AbortedError("the server was stopped while it ran; start it again");
    }
    operation->Finish(options_.number, std::move(ended));
  } else {
    status = Step(step, &work);
  }
  bool merged_fields = false;
  work.operation = nullptr;  // it is done, or cancelled
  if (status.ok()) {
    const uint64_t most =
        effort == Effort::kShort ? uint64_t{kLongMergeRows} : fields::FieldIndex::kMostRows;
    const absl::StatusOr<bool> merged = MergeFields(most, work);
    status = merged.status();
    merged_fields = merged.ok() && *merged;
  }
  if (status.ok()) status = SaveManifest(/*files=*/false);
  if (!status.ok()) {
    {
      // A shard that is closed refuses to save; that is no failure to be tried again.
      absl::MutexLock lock(&applied_mu_);
      if (!closed_.ok()) return absl::CancelledError(closed_.message());
    }
    if (!absl::IsCancelled(status)) {
      Tell(Event::Kind::kFailure,
           absl::StrCat("maintenance failed and is tried again: ", status.ToString()));
    }
    return status;
  }
  return Maintained{
      .worked = operation != nullptr || merged_fields || step.kind != MaintenanceStep::Kind::kNone,
      .wants_long = false,
      .look_again = step.look_again};
}

absl::Status Shard::RunOperation(const std::shared_ptr<Operation>& operation, Work* work) {
  work->operation = operation;
  if (absl::Status status = CheckStop(*work); !status.ok()) return status;
  // So that what was written before the request takes part.
  {
    absl::MutexLock lock(&index_mu_);
    index_.FreezeTail();
  }
  while (true) {
    {
      absl::MutexLock lock(&index_mu_);
      if (index_.Pin()->frozen.empty()) break;
    }
    operation->Report(options_.number, "draining", 0, 0);
    if (absl::Status status = Drain(work); !status.ok()) return status;
  }
  size_t segments;
  {
    absl::MutexLock lock(&index_mu_);
    segments = index_.Pin()->segments.size();
  }
  if (segments == 0) return absl::OkStatus();
  return operation->type() == Operation::Type::kRetrain &&
                 options_.index.kind == index::IndexKind::kAuto
             ? Retrain(work)
             : Merge(0, segments, work);
}

absl::Status Shard::Step(const MaintenanceStep& step, Work* work) {
  const absl::Time start = absl::Now();
  const char* what = "";
  Event::Kind kind = Event::Kind::kMerge;
  absl::Status status;
  switch (step.kind) {
    case MaintenanceStep::Kind::kNone:
      return absl::OkStatus();
    case MaintenanceStep::Kind::kDrain:
      return Drain(work);
    case MaintenanceStep::Kind::kMerge:
      what = "merged";
      status = Merge(step.first, step.count, work);
      break;
    case MaintenanceStep::Kind::kRetrain:
      what = "trained";
      kind = Event::Kind::kRetrain;
      status = Retrain(work);
      break;
    case MaintenanceStep::Kind::kCalibrate:
      what = "calibrated";
      kind = Event::Kind::kCalibrate;
      status = Calibrate(work);
      break;
    case MaintenanceStep::Kind::kGraph:
      what = "built a graph";
      kind = Event::Kind::kGraph;
      status = BuildGraph(step.first, work);
      break;
  }
  {
    absl::MutexLock lock(&index_mu_);
    retrain_failed_ = step.kind == MaintenanceStep::Kind::kRetrain && !status.ok();
  }
  if (!status.ok()) return status;
  const std::string choice =
      !work->refused.empty()
          ? work->refused
          : absl::StrCat(
                what, " because ", step.why, "; took ",
                absl::FormatDuration(absl::Trunc(absl::Now() - start, absl::Milliseconds(1))));
  Tell(work->refused.empty() ? kind : Event::Kind::kFailure, choice);
  spdlog::info("shard {} of collection {}: {}", options_.number, options_.collection, choice);
  absl::MutexLock lock(&index_mu_);
  last_choice_ = choice;
  return absl::OkStatus();
}

absl::Status Shard::Drain(Work* work) {
  const absl::Time start = absl::Now();
  std::optional<index::FrozenRows> rows;
  {
    absl::MutexLock lock(&index_mu_);
    rows = index_.FreezeForDrain(kMaxTailsPerDrain);
  }
  if (!rows.has_value()) return absl::OkStatus();
  const int64_t live = rows->live();
  if (absl::Status status = Rebuild(*std::move(rows), /*drain=*/true, work); !status.ok()) {
    return status;
  }
  metrics_->drains.Add();
  metrics_->drain_time.Observe(absl::ToDoubleSeconds(absl::Now() - start));
  Tell(Event::Kind::kDrain,
       absl::StrCat("drained ", live, " rows of the tail into a segment; took ",
                    absl::FormatDuration(absl::Trunc(absl::Now() - start, absl::Milliseconds(1)))));
  return absl::OkStatus();
}

absl::Status Shard::Merge(size_t first, size_t count, Work* work) {
  const absl::Time start = absl::Now();
  std::optional<index::FrozenRows> rows;
  {
    absl::MutexLock lock(&index_mu_);
    rows = index_.FreezeForMerge(first, count);
  }
  if (!rows.has_value()) return absl::OkStatus();
  work->stage = "merging";
  work->total = rows->live();
  if (absl::Status status = Rebuild(*std::move(rows), /*drain=*/false, work); !status.ok()) {
    return status;
  }
  metrics_->merges.Add();
  metrics_->merge_time.Observe(absl::ToDoubleSeconds(absl::Now() - start));
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<const index::Segment>> Shard::BuildSegment(
    const index::FrozenRows& rows, bool drain, Work* work) {
  std::shared_ptr<const index::Generation> generation;
  {
    absl::MutexLock lock(&index_mu_);
    generation = generation_;
  }
  const auto pause = [&] {
    if (work->operation != nullptr) {
      work->operation->Report(options_.number, work->stage, 0, work->total);
    }
    return Pause(work);
  };
  const index::IndexKind kind = options_.index.kind;
  if (kind == index::IndexKind::kAuto && generation != nullptr) {
    index::IvfSegment::Drift drift;
    work->file = files_.Next();
    auto segment = index::IvfSegment::Build(rows, generation, files_.Segment(work->file), pause,
                                            drain ? &drift : nullptr);
    if (!segment.ok()) return segment.status();
    absl::MutexLock lock(&index_mu_);
    recent_.squared_distance += drift.squared_distance;
    recent_.rows += drift.rows;
    return std::shared_ptr<const index::Segment>(*std::move(segment));
  }
  if (!drain && index::IsFaissKind(kind) && rows.live() >= options_.maintenance.min_index_rows) {
    work->file = files_.Next();
    auto segment =
        index::FaissSegment::Build(rows, options_.metric, options_.dimension, options_.unit,
                                   options_.index, files_.Segment(work->file), pause);
    if (!segment.ok()) return segment.status();
    return std::shared_ptr<const index::Segment>(*std::move(segment));
  }
  work->file = 0;
  index::FlatSegmentBuilder builder(options_.metric, options_.dimension);
  absl::Status status = builder.Reserve(rows.live());
  int64_t since_pause = 0;
  if (status.ok()) {
    status = rows.ForEachLive([&](uint64_t label, const float* vector) {
      absl::Status added = builder.Add(label, vector);
      if (added.ok() && ++since_pause % 4096 == 0) added = pause();
      return added;
    });
  }
  if (!status.ok()) return status;
  return builder.Build();
}

absl::Status Shard::Rebuild(index::FrozenRows rows, bool drain, Work* work) {
  int64_t reserved = 0;
  const absl::Cleanup release = [&] {
    if (options_.budget != nullptr) options_.budget->Release(reserved);
  };
  if (options_.budget != nullptr && !drain) {
    const index::SegmentKind kind = index::TrainedKind(options_.index.kind);
    const int64_t bytes =
        PredictIndexBytes(kind, options_.index, rows.live(), options_.dimension, false) +
        PredictBuildBytes(kind, rows.live(), options_.dimension, 0);
    if (absl::Status status = options_.budget->Reserve(bytes, "merging segments"); !status.ok()) {
      return status;
    }
    reserved = bytes;
  }
  auto segment = BuildSegment(rows, drain, work);
  if (!segment.ok()) return segment.status();
  return PublishSegment(std::move(rows), *std::move(segment), nullptr, work);
}

// generation: replaces generation_ in the same moment, unless null.
absl::Status Shard::PublishSegment(index::FrozenRows rows,
                                   std::shared_ptr<const index::Segment> segment,
                                   std::shared_ptr<const index::Generation> generation,
                                   Work* work) {
  const index::Segment* const address = segment.get();
  // FAISS's kinds are calibrated segment by segment.
  const bool calibrated =
      generation != nullptr || (segment != nullptr && index::IsFaissKind(options_.index.kind) &&
                                segment->kind() != index::SegmentKind::kFlat);
  const Place place{.file = files_.in_memory() ? 0 : work->file,
                    .graph_file = 0,
                    .since = absl::Now(),
                    .graph_refused = false};
  // Keeps what is replaced until the lock is free: freeing much memory takes long.
  const std::shared_ptr<const index::View> replaced = index_.Pin();
  absl::Time locked;
  {
    absl::MutexLock lock(&index_mu_);
    locked = absl::Now();
    const int64_t before = index_.Stats().segment_memory.total();
    if (absl::Status status = index_.Publish(std::move(rows), std::move(segment)); !status.ok()) {
      return status;
    }
    if (address != nullptr) places_[address] = place;
    const std::shared_ptr<const index::View> view = index_.Pin();
    absl::flat_hash_map<const index::Segment*, Place> places;
    for (const index::SegmentRows& of_view : view->segments) {
      places[of_view.segment.get()] = places_[of_view.segment.get()];
    }
    places_ = std::move(places);
    if (generation != nullptr) {
      generation_ = std::move(generation);
      recent_ = {};
    }
    MeasureImbalance();
    if (options_.budget != nullptr) {
      options_.budget->Add(index_.Stats().segment_memory.total() - before);
    }
  }
  metrics_->publish_stall.Observe(absl::ToDoubleSeconds(absl::Now() - locked));
  if (calibrated) ForgetRecall();
  return SaveManifest(/*files=*/!files_.in_memory());
}

int Shard::BuildThreads() const {
  return std::max(1, index::SearchedLately() ? options_.build_threads / 2 : options_.build_threads);
}

absl::Status Shard::Retrain(Work* work) {
  const absl::Time start = absl::Now();
  std::optional<index::FrozenRows> rows;
  {
    absl::MutexLock lock(&index_mu_);
    rows = index_.FreezeForMerge(0, index_.Pin()->segments.size());
  }
  if (!rows.has_value()) return absl::OkStatus();
  const int64_t live = rows->live();
  if (live == 0) return PublishSegment(*std::move(rows), nullptr, nullptr, work);
  const int nlist =
      options_.index.nlist > 0 ? options_.index.nlist : index::Generation::DefaultLists(live);
  int64_t reserved = 0;
  const absl::Cleanup release = [&] {
    if (options_.budget != nullptr) options_.budget->Release(reserved);
  };
  if (options_.budget != nullptr) {
    const int64_t bytes = PredictIndexBytes(index::SegmentKind::kIvf, options_.index, live,
                                            options_.dimension, false) +
                          PredictBuildBytes(index::SegmentKind::kIvf, live, options_.dimension,
                                            std::min(live, index::Generation::SampleRows(nlist)));
    if (absl::Status status = options_.budget->Reserve(bytes, "training an index"); !status.ok()) {
      return status;
    }
    reserved = bytes;
  }
  const auto stage = [&](const char* name) {
    work->stage = name;
    work->total = live;
  };
  const auto pause = [&] {
    if (work->operation != nullptr) {
      work->operation->Report(options_.number, work->stage, 0, work->total);
    }
    return Pause(work);
  };
  const uint64_t id = files_.Next();
  stage("training");
  auto generation = index::TrainGeneration(
      *rows, options_.metric, options_.unit, static_cast<size_t>(options_.dimension),
      {.id = id, .nlist = nlist, .expected_rows = live, .threads = BuildThreads()}, pause);
  if (!generation.ok()) return generation.status();
  stage("encoding");
  index::IvfSegment::Drift drift;
  work->file = files_.Next();
  auto segment = index::IvfSegment::Build(*rows, *generation, files_.Segment(work->file), pause,
                                          &drift, BuildThreads());
  if (!segment.ok()) return segment.status();
  (*generation)
      ->SetBase(static_cast<float>(drift.squared_distance / static_cast<double>(drift.rows)),
                static_cast<float>((*segment)->Imbalance()));
  stage("calibrating");
  auto calibration = index::CalibrateIvf({{segment->get()}}, index::kCalibrationQueries, id, pause,
                                         BuildThreads());
  if (!calibration.ok()) return calibration.status();
  (*generation)->SetCalibration(*std::move(calibration));
  if (!files_.in_memory()) {
    if (absl::Status status = (*generation)->Save(files_.Generation(id)); !status.ok()) {
      return status;
    }
  }
  absl::Status status =
      PublishSegment(*std::move(rows), *std::move(segment), *std::move(generation), work);
  if (!status.ok()) return status;
  metrics_->retrains.Add();
  metrics_->retrain_time.Observe(absl::ToDoubleSeconds(absl::Now() - start));
  return absl::OkStatus();
}

absl::Status Shard::Calibrate(Work* work) {
  const absl::Time start = absl::Now();
  std::shared_ptr<const index::Generation> generation;
  std::shared_ptr<const index::View> view;
  {
    absl::MutexLock lock(&index_mu_);
    generation = generation_;
    view = index_.Pin();
  }
  std::vector<index::CalibrationPart> segments;
  for (const index::SegmentRows& rows : view->segments) {
    const index::IvfSegment* ivf = index::AsIvf(*rows.segment);
    if (ivf != nullptr && ivf->generation() == generation)
      segments.push_back({ivf, rows.dead.get()});
  }
  if (segments.empty()) return absl::OkStatus();
  int64_t reserved = 0;
  const absl::Cleanup release = [&] {
    if (options_.budget != nullptr) options_.budget->Release(reserved);
  };
  if (options_.budget != nullptr) {
    const int64_t bytes = index::CalibrationBytes(options_.dimension, generation->nlist());
    if (absl::Status status = options_.budget->Reserve(bytes, "a calibration"); !status.ok()) {
      return status;
    }
    reserved = bytes;
  }
  const auto pause = [&] { return Pause(work); };
  auto calibration = index::CalibrateIvf(segments, index::kCalibrationQueries, files_.next(), pause,
                                         BuildThreads());
  if (!calibration.ok()) return calibration.status();
  if (calibration->queries == 0) {
    // Of fewer than two rows nothing can be learnt.
    const int64_t live = calibration->rows;
    *calibration = generation->calibration();
    calibration->rows = live;
  }
  // In the place of the file with the old one, under the same name.
  if (!files_.in_memory()) {
    const absl::Status saved = generation->Save(files_.Generation(generation->id()), *calibration);
    if (!saved.ok()) return saved;
  }
  generation->SetCalibration(*std::move(calibration));
  ForgetRecall();
  metrics_->calibrations.Add();
  metrics_->calibrate_time.Observe(absl::ToDoubleSeconds(absl::Now() - start));
  return absl::OkStatus();
}

absl::Status Shard::BuildGraph(size_t number, Work* work) {
  const absl::Time start = absl::Now();
  std::shared_ptr<const index::IvfSegment> segment;
  std::optional<index::FrozenRows> hold;  // so that the segment is not merged meanwhile
  {
    absl::MutexLock lock(&index_mu_);
    const std::shared_ptr<const index::View> view = index_.Pin();
    if (number >= view->segments.size()) return absl::OkStatus();
    segment = std::dynamic_pointer_cast<const index::IvfSegment>(view->segments[number].segment);
    hold = index_.FreezeForMerge(number, 1);
  }
  if (segment == nullptr || !hold.has_value()) return absl::OkStatus();
  const auto refuse = [&](const absl::Status& why) {
    absl::MutexLock lock(&index_mu_);
    places_[segment.get()].graph_refused = true;
    work->refused = absl::StrCat("built no graph: ", why.message());
  };
  if (options_.budget != nullptr) {
    const int64_t bytes = PredictIndexBytes(index::SegmentKind::kIvf, options_.index,
                                            segment->size(), options_.dimension, true) -
                          PredictIndexBytes(index::SegmentKind::kIvf, options_.index,
                                            segment->size(), options_.dimension, false);
    if (absl::Status status = options_.budget->Reserve(bytes, "a graph"); !status.ok()) {
      refuse(status);
      return absl::OkStatus();
    }
    options_.budget->Release(bytes);  // counted when it is published
  }
  work->stage = "linking";
  const auto pause = [&] { return Pause(work); };
  const index::GraphRows rows = {.rounded = segment->rounded(),
                                 .vectors = segment->vector(0),
                                 .labels = segment->labels(),
                                 .rows = segment->size()};
  index::Graph::Options options;
  if (options_.index.hnsw_m > 0) options.m = options_.index.hnsw_m;
  if (options_.index.ef_construction > 0) options.ef_construction = options_.index.ef_construction;
  auto built = index::Graph::Build(rows, options, pause);
  if (!built.ok()) return built.status();
  const std::shared_ptr<index::Graph> graph = *std::move(built);
  work->stage = "calibrating";
  auto calibration = index::CalibrateGraph(*segment->WithGraph(graph), index::kCalibrationQueries,
                                           files_.next(), pause);
  if (!calibration.ok()) return calibration.status();
  graph->SetCalibration(*std::move(calibration));
  const uint64_t file = files_.Next();
  if (!files_.in_memory()) {
    if (absl::Status status = graph->Save(files_.Graph(file)); !status.ok()) return status;
  }
  const std::shared_ptr<const index::Segment> with = segment->WithGraph(graph);
  {
    absl::MutexLock lock(&index_mu_);
    Place place = places_[segment.get()];
    if (absl::Status status = index_.ReplaceSegment(segment.get(), with); !status.ok()) {
      return status;
    }
    if (!files_.in_memory()) place.graph_file = file;
    places_.erase(segment.get());
    places_[with.get()] = place;
    if (options_.budget != nullptr) options_.budget->Add(graph->bytes());
    index_.Abandon(*std::move(hold));
  }
  ForgetRecall();
  metrics_->graphs.Add();
  metrics_->graph_time.Observe(absl::ToDoubleSeconds(absl::Now() - start));
  return SaveManifest(/*files=*/!files_.in_memory());
}

}  // namespace vecino::engine
