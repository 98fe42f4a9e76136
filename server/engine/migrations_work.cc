// What is done for a migration until its operation ends.
#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "server/engine/migrations.h"
#include "server/engine/overlap.h"

namespace vecino::engine {
namespace {

// Between looks at what goes on by itself.
constexpr absl::Duration kLook = absl::Milliseconds(50);
// The hidden side counts as built when it lacks no more writes than these.
constexpr int64_t kNear = 512;

// Between attempts at what failed, which may scan all ids or documents each time: doubling.
constexpr absl::Duration kFirstPause = absl::Seconds(1), kLongestPause = absl::Minutes(1);
// Between automatic cut-overs that did not go through, doubling, too. Writes may wait for the first
// one for so long, and then for longer as the pauses get longer: a thirtieth of the time at most.
constexpr absl::Duration kFirstClosed = absl::Seconds(1);
constexpr int kPausePerClosed = 30;
constexpr absl::Duration kFirstCutOverPause = absl::Seconds(30);
constexpr absl::Duration kLongestCutOverPause = absl::Minutes(5);
// How long an automatic cut-over waits for a moment in which nobody writes.
constexpr absl::Duration kQuietWithin = absl::Seconds(30);

// Whether the same call may do better later.
bool MayPass(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsResourceExhausted(status) ||
         absl::IsDeadlineExceeded(status);
}

}  // namespace

bool Migrations::Retry::Waits() const { return absl::Now() < at; }

void Migrations::Retry::Later(absl::Duration first, absl::Duration longest) {
  pause = pause == absl::ZeroDuration() ? first : std::min(2 * pause, longest);
  at = absl::Now() + pause;
}

void Migrations::Work(std::stop_token stop) {
  while (!stop.stop_requested()) {
    std::vector<Migration> open;
    {
      absl::MutexLock lock(&mu_);
      std::set<std::string> known;
      for (const auto& [id, migration] : migrations_) known.insert(migration.state->operation);
      std::erase_if(attempts_, [&](const auto& one) { return !known.contains(one.first); });
      for (const auto& [id, migration] : migrations_) {
        if (migration.operation != nullptr || !migration.state->built) open.push_back(migration);
      }
      if (open.empty()) {
        if (!stopped_) changed_.Wait(&mu_);
        continue;
      }
    }
    for (const Migration& migration : open) Advance(migration, stop);
    absl::MutexLock lock(&mu_);
    if (!stopped_) changed_.WaitWithTimeout(&mu_, kLook);
  }
}

void Migrations::Advance(const Migration& migration, std::stop_token stop) {
  if (stop.stop_requested()) return;
  if (migration.operation != nullptr) {
    migration.operation->Describe(Describe(migration));
    if (absl::Status status = migration.operation->CheckCancelled(); !status.ok()) {
      if (migration.state->switched) {
        Settle(migration, absl::OkStatus());  // it was cut over meanwhile, which is its end
      } else {
        Abandon(migration, status);
      }
      return;
    }
  }
  if (!migration.state->checked) {
    Check(migration, stop);
  } else if (!migration.state->built) {
    Build(migration, stop);
  } else if (migration.state->automatic && !migration.state->switched) {
    CutOver(migration, stop);
  } else {
    Settle(migration, absl::OkStatus());
  }
}

absl::StatusOr<int64_t> Migrations::CountUnembeddable(const Migration& migration,
                                                      std::stop_token stop) const {
  int64_t count = 0;
  const Collection& collection = *migration.active;
  for (int shard = 0; shard < collection.shard_count(); ++shard) {
    int64_t seen = 0;
    const int64_t all = collection.LiveDocuments();
    absl::Status status = collection.log(shard).ScanDocuments(
        0, migration.state->copy_through[static_cast<size_t>(shard)],
        {.text = true, .metadata = false, .vector = false}, [&](const storage::Document& document) {
          count += document.has_vector && document.text.empty();
          if (++seen % 4096 != 0) return absl::OkStatus();
          if (stop.stop_requested()) return absl::CancelledError("the server is stopping");
          if (migration.operation == nullptr) return absl::OkStatus();
          migration.operation->Report(shard, "checking", seen, all);
          return migration.operation->CheckCancelled();
        });
    if (!status.ok()) return status;
  }
  return count;
}

void Migrations::Check(const Migration& migration, std::stop_token stop) {
  Retry& retry = attempts_[migration.state->operation].work;
  if (retry.Waits()) return;
  absl::Cleanup later = [&retry] { retry.Later(kFirstPause, kLongestPause); };
  if (!migration.state->allow_vectorless) {
    const auto count = CountUnembeddable(migration, stop);
    // Cancelled or stopped: the next look says which. Damaged: a person must know.
    if (!count.ok()) {
      if (!absl::IsCancelled(count.status()) && !MayPass(count.status())) {
        Abandon(migration, count.status());
      }
      return;
    }
    if (*count > 0) {
      Abandon(migration,
              absl::FailedPreconditionError(absl::StrCat(
                  *count, " documents of collection `", migration.collection,
                  "` have a vector of their caller's and no text, so no model can embed them anew; "
                  "give them texts, or set allow_vectorless: then no search by meaning finds "
                  "them once it is cut over")));
      return;
    }
  }
  absl::MutexLock lock(parts_.definitions);
  const auto now = Again(migration);
  if (!now.ok()) return;
  MigrationState state = *now->state;
  state.checked = true;
  if (absl::Status status = Put(*now, std::move(state)); !status.ok()) return;  // again later
  retry = {};
  std::move(later).Cancel();
  auto follower = std::make_shared<Follower>(now->active, now->hidden, now->state->copy_through);
  absl::MutexLock entry(&mu_);
  migrations_.find(now->collection)->second.follower = std::move(follower);
}

void Migrations::Build(const Migration& migration, std::stop_token stop) {
  const Follower& follower = *migration.follower;
  const bool failing = !follower.problem().ok();
  for (int shard = 0; migration.operation != nullptr && shard < migration.active->shard_count();
       ++shard) {
    const Follower::Shard progress = follower.Progress(shard);
    const char* const stage = failing ? "waiting" : progress.copying ? "embedding" : "catching up";
    migration.operation->Report(shard, stage, migration.hidden->shard(shard).LiveDocuments(),
                                migration.active->shard(shard).LiveDocuments());
  }
  if (follower.Copying() || follower.Lag() > kNear) return;
  Attempts& attempts = attempts_[migration.state->operation];
  if (attempts.work.Waits()) return;
  absl::Cleanup later = [&attempts] { attempts.work.Later(kFirstPause, kLongestPause); };
  CallContext context;
  context.stop = stop;
  std::optional<MigrationOverlap> overlap;
  auto measured = MeasureOverlap(*migration.active, *migration.hidden, migration.state->queries,
                                 migration.state->top_k, context, &attempts.overlap_queries);
  if (measured.ok()) {
    overlap = *measured;
  } else if (MayPass(measured.status()) || absl::IsCancelled(measured.status())) {
    return;  // again later
  } else {
    // As where the server has lost the old model: that is no reason to stay with it.
    spdlog::warn("collection {}: the overlap of its embeddings cannot be measured: {}",
                 migration.collection, measured.status().ToString());
  }
  absl::MutexLock lock(parts_.definitions);
  const auto now = Again(migration);
  if (!now.ok()) return;
  MigrationState state = *now->state;
  state.built = true;
  state.copy_through.clear();
  state.overlap = overlap;
  if (absl::Status status = Put(*now, std::move(state)); !status.ok()) return;  // again later
  attempts = {};
  std::move(later).Cancel();
  std::string figures = "the overlap is not known";
  if (overlap.has_value()) {
    figures =
        absl::StrFormat("top-%d overlap %.3f, rank-biased %.3f, of %d queries", overlap->top_k,
                        overlap->overlap, overlap->rank_biased, overlap->samples);
  }
  Tell(now->collection, absl::StrCat("the new embeddings of collection `", now->collection,
                                     "` are ready: ", figures));
}

void Migrations::CutOver(const Migration& migration, std::stop_token stop) {
  const MigrationState& state = *migration.state;
  if (state.min_overlap > 0 &&
      (!state.overlap.has_value() || state.overlap->overlap < state.min_overlap)) {
    Settle(migration,
           absl::FailedPreconditionError(absl::StrCat(
               "the new embeddings of collection `", migration.collection, "` are ready, but ",
               state.overlap.has_value()
                   ? absl::StrFormat("the overlap is %.3f, under min_overlap %.3f",
                                     state.overlap->overlap, state.min_overlap)
                   : "the overlap could not be measured",
               "; switch by hand, or finish the migration to drop them")));
    return;
  }
  Attempts& attempts = attempts_[state.operation];
  if (attempts.cut_over.Waits() || migration.follower->Lag() > kNear) return;
  // The longest write that is under way is waited for with the gate open.
  if (attempts.quiet_by == absl::InfiniteFuture()) attempts.quiet_by = absl::Now() + kQuietWithin;
  if (!migration.active->gate().WaitQuiet(absl::Now() + kLook) && absl::Now() < attempts.quiet_by) {
    return;
  }
  attempts.quiet_by = absl::InfiniteFuture();
  CallContext context;
  context.stop = stop;
  const absl::Duration closed =
      std::clamp(2 * attempts.cut_over.pause / kPausePerClosed, kFirstClosed, kMostClosed);
  const absl::Status status = Switch(*migration.active, MigrationSide::kNew, context, closed);
  if (MayPass(status)) attempts.cut_over.Later(kFirstCutOverPause, kLongestCutOverPause);
  if (MayPass(status) || absl::IsCancelled(status)) return;  // again later
  // A purge or a patch that runs ends at some time.
  if (absl::IsFailedPrecondition(status) &&
      !parts_.operations->FindChanging(*migration.active).empty()) {
    return;
  }
  Settle(migration, status);
}

void Migrations::Settle(const Migration& migration, const absl::Status& status) {
  {
    absl::MutexLock lock(&mu_);
    const auto at = migrations_.find(migration.collection);
    if (at == migrations_.end() || at->second.operation != migration.operation) return;
    at->second.operation = nullptr;
  }
  if (migration.operation == nullptr) return;
  if (const auto info = Info(*migration.active); info.has_value()) {
    migration.operation->Describe(*info);
    for (int shard = 0; shard < migration.active->shard_count(); ++shard) {
      const int64_t documents = migration.active->shard(shard).LiveDocuments();
      migration.operation->Report(shard, "done", documents, documents);
    }
  }
  migration.operation->End(status);
}

void Migrations::Abandon(const Migration& migration, const absl::Status& why) {
  Retry& retry = attempts_[migration.state->operation].end;
  if (retry.Waits()) return;
  {
    absl::MutexLock lock(parts_.definitions);
    const auto now = Again(migration);
    if (!now.ok()) return;
    const absl::Status status =
        End(*now, absl::IsCancelled(why) ? "was cancelled" : "was given up");
    if (!status.ok()) {
      spdlog::warn("collection {}: the migration cannot be ended for now: {}", migration.collection,
                   status.ToString());
      retry.Later(kFirstPause, kLongestPause);
      return;
    }
  }
  if (migration.operation != nullptr) migration.operation->End(why);
}

}  // namespace vecino::engine
