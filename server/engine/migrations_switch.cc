// How the two sides of a migration change places.
#include <algorithm>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/engine/migrations.h"

namespace vecino::engine {
namespace {

// Writes that the hidden side may lack when those that come are made to wait: about a second's.
constexpr int64_t kNear = 512;
// How long a switch tries to come so near.
constexpr absl::Duration kApproach = absl::Seconds(10);

}  // namespace

absl::Status Migrations::Switch(const Collection& collection, MigrationSide to,
                                const CallContext& context, absl::Duration closed) {
  static_assert(kMostClosed < WriteGate::kMaxWait);
  const auto before = Find(collection);
  if (!before.ok()) {
    return absl::FailedPreconditionError(
        absl::StrCat("collection `", collection.id(), "` is in no migration"));
  }
  if (before->state->built && before->follower != nullptr && before->side() != to) {
    CallContext patience = context;
    patience.deadline = std::min(context.deadline, absl::Now() + kApproach);
    absl::Status near = before->follower->WaitFor(kNear, patience);
    if (!near.ok() && absl::Now() < context.deadline && !context.stop.stop_requested()) {
      return absl::UnavailableError(
          absl::StrCat("the other embeddings of collection `", before->collection, "` lack ",
                       before->follower->Lag(), " writes: ", near.message(), "; try again"));
    }
    if (!near.ok()) return near;
  }
  absl::MutexLock lock(parts_.definitions);
  const auto migration = Again(*before);
  if (!migration.ok()) return absl::FailedPreconditionError("the migration has ended meanwhile");
  if (!migration->state->built) {
    return absl::FailedPreconditionError(
        absl::StrCat("the new embeddings of collection `", migration->collection,
                     "` are still being made; wait for operation ", migration->state->operation));
  }
  if (migration->side() == to) return absl::OkStatus();
  return SwitchHeld(*migration, std::min(context.deadline, absl::Now() + closed));
}

absl::Status Migrations::SwitchHeld(const Migration& migration, absl::Time deadline) {
  if (const std::string running = parts_.operations->FindChanging(*migration.active);
      !running.empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat("operation ", running, " changes documents of collection `",
                     migration.collection, "`; wait for it or cancel it first"));
  }
  WriteGate& gate = migration.active->gate();
  if (absl::Status status = gate.Close(deadline); !status.ok()) {
    return absl::UnavailableError(absl::StrCat(status.message(), "; try again"));
  }
  absl::Cleanup reopen = [&gate] { gate.Open(); };
  CallContext patience;
  patience.deadline = deadline;
  if (absl::Status status = migration.follower->WaitFor(0, patience); !status.ok()) {
    return absl::UnavailableError(absl::StrCat("the other embeddings of collection `",
                                               migration.collection,
                                               "` lack writes: ", status.message(), "; try again"));
  }
  const int64_t lost = migration.hidden->WithoutVector() - migration.active->WithoutVector();
  if (lost > 0 && !migration.state->allow_vectorless) {
    return absl::FailedPreconditionError(absl::StrCat(
        lost, " documents of collection `", migration.collection,
        "` would lose their vector: they have no text that the other side's model could embed, or "
        "it has none; give them one, or migrate anew with allow_vectorless"));
  }
  if (absl::Status status = SwitchQuiet(migration); !status.ok()) return status;
  std::move(reopen).Cancel();
  migration.hidden->gate().Open();
  gate.Move();
  const char* const what = migration.state->switched ? "went back" : "was cut over";
  Tell(migration.collection,
       absl::StrCat("collection `", migration.collection, "` ", what, " to embeddings by model `",
                    migration.hidden->info().spec.model, "`, dimension ",
                    migration.hidden->info().spec.dimension));
  return absl::OkStatus();
}

absl::Status Migrations::SwitchQuiet(const Migration& migration) {
  Collection& from = *migration.active;
  Collection& to = *migration.hidden;
  std::vector<uint64_t> through;
  for (int shard = 0; shard < to.shard_count(); ++shard) {
    through.push_back(to.log(shard).LastSequence());
    to.shard(shard).HoldChanges(through.back());  // M2
  }
  MigrationState next = *migration.state;
  next.switched = !next.switched;
  next.switch_time = absl::Now();
  next.copy_through.clear();
  // Who finds the other side before all is done waits.
  absl::Status status = to.gate().Close(absl::InfiniteFuture());
  if (status.ok()) {
    status = parts_.operations->WhileQuiet([&] {
      absl::Status stored = parts_.store->SwitchMigration(from.uid(), EncodeMigrationState(next),
                                                          kFollowerToken, through);
      if (!stored.ok()) return stored;
      to.TakeMarks(&from, through);
      parts_.registry->Replace(migration.hidden);
      parts_.aliases->Retarget(from, migration.hidden);
      return stored;
    });
  }
  if (!status.ok()) {
    for (int shard = 0; shard < to.shard_count(); ++shard) {
      to.shard(shard).HoldChanges(Shard::kNoHold);
    }
    to.gate().Move();
    return status;
  }
  migration.follower->Stop();
  for (int shard = 0; shard < from.shard_count(); ++shard) {
    from.shard(shard).HoldChanges(Shard::kNoHold);
  }
  auto follower =
      std::make_shared<Follower>(migration.hidden, migration.active, std::vector<uint64_t>());
  absl::MutexLock lock(&mu_);
  Migration& entry = migrations_.find(migration.collection)->second;
  entry.active = migration.hidden;
  entry.hidden = migration.active;
  entry.state = std::make_shared<const MigrationState>(std::move(next));
  entry.follower = std::move(follower);
  return absl::OkStatus();
}

}  // namespace vecino::engine
