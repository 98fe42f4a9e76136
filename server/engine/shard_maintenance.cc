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

namespace vecino::engine {
namespace {

// Of one drain's tails. More than one tail when drains lag behind; a build copies them, so not all
// at once.
constexpr int64_t kMaxRowsPerDrain = 65'536, kMaxBytesPerDrain = int64_t{512} << 20;
constexpr int64_t kMaxTailsPerDrain = 32;
// Beside long work no small segments are merged, so they are not made of every tail. Tails that are
// small because vectors are long, or as a setting wants it, do not wait for others.
constexpr int kRowsPerPause = 8192, kTailsPerPause = 4;

int TailsPerDrain(const index::ShardIndexOptions& options) {
  const int64_t row_bytes = static_cast<int64_t>(sizeof(float)) * options.dimension;
  const int64_t rows = std::min(kMaxRowsPerDrain, kMaxBytesPerDrain / row_bytes);
  return static_cast<int>(std::clamp<int64_t>(rows / options.tail_capacity, 1, kMaxTailsPerDrain));
}

int TailsPerPause(const index::ShardIndexOptions& options) {
  const int tails = kRowsPerPause / options.tail_capacity;
  return tails > kTailsPerPause ? 1 : std::max(tails, 1);
}

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

void Shard::Swiftly(absl::FunctionRef<void()> fn) const {
  options_.swaps != nullptr ? options_.swaps->Run(fn) : fn();
}

void Shard::Request(std::shared_ptr<Operation> operation) {
  operation->Report(options_.number, "waiting", 0, 0);
  {
    absl::MutexLock lock(&index_mu_);
    requests_.push_back(std::move(operation));
  }
  if (maintenance_due_ != nullptr) maintenance_due_();
}

void Shard::FailRequests(const absl::Status& why) {
  std::deque<std::shared_ptr<Operation>> requests;
  {
    absl::MutexLock lock(&index_mu_);
    requests.swap(requests_);
  }
  for (const auto& operation : requests) operation->Finish(options_.number, why);
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
  const auto enough = static_cast<size_t>(TailsPerPause(index_.options()));
  if (work->pausing || index_.Pin()->frozen.size() < enough) return absl::OkStatus();
  Work drain;
  drain.stop = work->stop;
  drain.pausing = true;
  return Drain(&drain);
}

absl::StatusOr<Shard::Maintained> Shard::Maintain(std::stop_token stop, Effort effort) {
  Work work;
  work.stop = stop;
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
  absl::Status no_room;      // for fields to be merged: the rest is done all the same
  work.operation = nullptr;  // it is done, or cancelled
  if (status.ok()) {
    const uint64_t most =
        effort == Effort::kShort ? uint64_t{kLongMergeRows} : fields::FieldIndex::kMostRows;
    const absl::StatusOr<bool> merged = MergeFields(most, work);
    merged_fields = merged.ok() && *merged;
    (absl::IsResourceExhausted(merged.status()) ? no_room : status) = merged.status();
  }
  if (status.ok()) status = SaveManifest(/*files=*/false);
  if (status.ok()) status = no_room;
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
    if (index_.Pin()->frozen.empty()) break;
    operation->Report(options_.number, "draining", 0, 0);
    if (absl::Status status = Drain(work); !status.ok()) return status;
  }
  if (operation->type() == Operation::Type::kRetrain) return RunRetrain(work);
  const size_t segments = index_.Pin()->segments.size();
  return segments == 0 ? absl::OkStatus() : Merge(0, segments, work);
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
      work->for_recall = step.for_recall;
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
  const absl::Duration took = absl::Trunc(absl::Now() - start, absl::Milliseconds(1));
  std::string choice = work->refused;
  if (!work->rejected.empty()) {
    kind = Event::Kind::kRetrainRejected;
    choice = absl::StrCat("trained because ", step.why,
                          "; rejected, the old index serves on: ", work->rejected, " (",
                          work->figures, "); took ", absl::FormatDuration(took));
  } else if (!choice.empty()) {
    kind = Event::Kind::kFailure;
  } else {
    choice = absl::StrCat(what, " because ", step.why,
                          work->figures.empty() ? "" : absl::StrCat("; ", work->figures), "; took ",
                          absl::FormatDuration(took));
  }
  Tell(kind, choice);
  spdlog::info("shard {} of collection {}: {}", options_.number, options_.collection, choice);
  absl::MutexLock lock(&index_mu_);
  last_choice_ = choice;
  return absl::OkStatus();
}

absl::Status Shard::Drain(Work* work) {
  const absl::Time start = absl::Now();
  std::optional<index::FrozenRows> rows;
  Swiftly([&] {
    absl::MutexLock lock(&index_mu_);
    rows = index_.FreezeForDrain(TailsPerDrain(index_.options()));
  });
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
  Swiftly([&] {
    absl::MutexLock lock(&index_mu_);
    rows = index_.FreezeForMerge(first, count);
  });
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
    recent_ += drift;
    return std::shared_ptr<const index::Segment>(*std::move(segment));
  }
  if (!drain && index::IsFaissKind(kind) && rows.live() >= options_.maintenance.min_index_rows) {
    work->file = files_.Next();
    auto segment =
        index::FaissSegment::Build(rows, options_.metric, options_.dimension, options_.unit,
                                   index_spec(), files_.Segment(work->file), pause);
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
  const uint64_t file = work->file;
  bool published = false;
  std::vector<Made> made;
  made.push_back({.built = {std::move(rows), *std::move(segment)}, .file = file});
  absl::Status status = Publish(std::move(made), nullptr, {}, &published);
  if (!published && file != 0) files_.Delete(files_.Segment(file));
  return status;
}

absl::Status Shard::Publish(std::vector<Made> made,
                            std::shared_ptr<const index::Generation> generation,
                            const index::IvfSegment::Drift& recent, bool* published) {
  // All that takes long is done before the lock is taken and after it is given back.
  const absl::Time now = absl::Now();
  std::shared_ptr<const index::Generation> current = generation;
  const std::shared_ptr<const index::View> view = index_.Pin();
  {
    absl::MutexLock lock(&index_mu_);
    if (current == nullptr) current = generation_;
  }
  // Only this thread puts segments into the view or takes them out.
  std::vector<const index::Segment*> segments;
  for (const index::SegmentRows& rows : view->segments) segments.push_back(rows.segment.get());
  std::vector<const index::Segment*> replaced;
  std::vector<std::pair<const index::Segment*, Place>> places;
  int64_t bytes = 0;
  bool calibrated = generation != nullptr;
  std::vector<index::ShardIndex::Built> built;
  for (Made& one : made) {
    for (const index::FrozenRows::Source& source : one.built.rows.sources()) {
      if (source.segment.segment == nullptr) continue;
      replaced.push_back(source.segment.segment.get());
      bytes -= source.segment.segment->memory().total();
      std::erase(segments, replaced.back());
    }
    if (const index::Segment* segment = one.built.segment.get(); segment != nullptr) {
      segments.push_back(segment);
      places.push_back({segment,
                        {.file = files_.in_memory() ? 0 : one.file,
                         .graph_file = 0,
                         .since = now,
                         .graph_refused = false}});
      bytes += segment->memory().total();
      // FAISS's kinds are calibrated segment by segment.
      calibrated = calibrated || (index::IsFaissKind(options_.index.kind) &&
                                  segment->kind() != index::SegmentKind::kFlat);
    }
    built.push_back(std::move(one.built));
  }
  const double imbalance = ImbalanceOf(segments, current.get());
  auto replacement = index_.Prepare(std::move(built));
  if (!replacement.ok()) return replacement.status();
  if (absl::Status status = index_.CatchUp(&*replacement); !status.ok()) return status;
  absl::Duration stall;
  absl::Status status;
  Swiftly([&] {
    absl::MutexLock lock(&index_mu_);
    const absl::Time locked = absl::Now();
    if (status = index_.Publish(&*replacement); !status.ok()) return;
    for (const index::Segment* segment : replaced) places_.erase(segment);
    for (const auto& [segment, place] : places) places_[segment] = place;
    if (generation != nullptr) {
      generation_.swap(generation);
      recent_ = recent;
      live_recall_ = {};
      published_at_ = now;
    }
    imbalance_ = imbalance;
    CountMore(bytes);
    stall = absl::Now() - locked;
  });
  if (!status.ok()) return status;
  if (published != nullptr) *published = true;
  metrics_->publish_stall.Observe(absl::ToDoubleSeconds(stall));
  replacement = absl::CancelledError("done");  // frees what was replaced
  if (calibrated) ForgetRecall();
  return SaveManifest(/*files=*/!files_.in_memory());
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
  absl::MutexLock lock(&calibration_mu_);
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
  index::Graph::Options options;
  if (options_.index.hnsw_m > 0) options.m = options_.index.hnsw_m;
  if (options_.index.ef_construction > 0) options.ef_construction = options_.index.ef_construction;
  auto built =
      index::BuildGraph(*segment, options, index::kCalibrationQueries, files_.next(), pause);
  if (!built.ok()) return built.status();
  const std::shared_ptr<index::Graph> graph = *std::move(built);
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
    CountMemory();
    index_.Abandon(*std::move(hold));
  }
  ForgetRecall();
  metrics_->graphs.Add();
  metrics_->graph_time.Observe(absl::ToDoubleSeconds(absl::Now() - start));
  return SaveManifest(/*files=*/!files_.in_memory());
}

}  // namespace vecino::engine
