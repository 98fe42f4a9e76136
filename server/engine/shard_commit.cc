// The write path of a shard, from queue to index.
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/engine/shard.h"
#include "server/index/give_way.h"

namespace vecino::engine {
namespace {

// The codes with which a log says that nothing was written (see ShardLog). After any other error it
// is not known what a restart would find.
bool WasNotWritten(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsResourceExhausted(status) ||
         absl::IsNotFound(status) || absl::IsInvalidArgument(status);
}

}  // namespace

// A group commit while it is put together.
struct Shard::Plan {
  std::vector<storage::Mutation> mutations;
  std::vector<ShardWrite*> writes;  // that each mutation is for
  // What the ids of this group will be once it is written; absent: not looked up yet.
  absl::flat_hash_map<std::string, std::optional<storage::IdEntry>> ids;
  uint64_t next_sequence = 0;
  int64_t now_us = 0;
};

void Shard::Write(absl::Span<ShardWrite> writes, const CallContext& context) {
  const absl::Status status = queue_.Run(writes, context.deadline);
  if (status.ok()) return;
  for (ShardWrite& write : writes) write.result.status = status;
}

absl::Status Shard::PlanBatch(absl::Span<ShardWrite> batch, Plan* plan) const {
  std::vector<std::string_view> unknown;
  for (const ShardWrite& write : batch) {
    if (!plan->ids.contains(write.document.id)) unknown.push_back(write.document.id);
  }
  auto found = log_->FindIds(unknown);
  if (!found.ok()) return found.status();
  for (size_t i = 0; i < unknown.size(); ++i) {
    plan->ids.try_emplace(std::string(unknown[i]), (*found)[i]);
  }

  for (ShardWrite& write : batch) {
    index::YieldToSearches();
    std::optional<storage::IdEntry>& entry = plan->ids[write.document.id];
    const bool put = write.kind == storage::Mutation::Kind::kPut;
    if (!entry.has_value() && (!put || write.must_exist)) {
      write.result.status = absl::NotFoundError(absl::StrCat(
          "document `", write.document.id, "` does not exist in `", options_.collection, "`"));
      continue;
    }
    storage::Mutation& mutation = plan->mutations.emplace_back();
    mutation.kind = write.kind;
    mutation.sequence = plan->next_sequence++;
    mutation.replaces = entry.has_value() ? entry->sequence : 0;
    mutation.id = write.document.id;
    write.result.status = absl::OkStatus();
    write.result.token = {options_.number, mutation.sequence};
    write.result.create_time_us = entry.has_value() ? entry->create_time_us : plan->now_us;
    write.result.update_time_us = plan->now_us;
    if (put) {
      mutation.document = std::move(write.document);
      mutation.document.sequence = mutation.sequence;
      mutation.document.create_time_us = write.result.create_time_us;
      mutation.document.update_time_us = plan->now_us;
      entry = storage::IdEntry{mutation.sequence, write.result.create_time_us};
    } else {
      entry = std::nullopt;
    }
    plan->writes.push_back(&write);
  }
  return absl::OkStatus();
}

void Shard::Commit(WriteQueue::Batches batches) {
  const absl::Time start = absl::Now();
  Plan plan;
  plan.next_sequence = applied_.load() + 1;
  plan.now_us = absl::ToUnixMicros(start);
  for (const absl::Span<ShardWrite> batch : batches) {
    // One look-up for each caller, so that a damaged entry stops only who asked for it.
    if (absl::Status status = PlanBatch(batch, &plan); !status.ok()) {
      for (ShardWrite& write : batch) write.result.status = status;
    }
  }
  if (plan.mutations.empty()) return;

  // From here on searches may wait for this thread: it does not yield to them.
  appending_.store(plan.next_sequence - 1, std::memory_order_release);  // D3
  absl::Status status = log_->Append(plan.mutations);
  if (!status.ok()) {
    metrics_->commit_failures.Add();
    if (!WasNotWritten(status)) {
      const std::string where =
          absl::StrCat("shard ", options_.number, " of collection `", options_.collection, "`");
      queue_.Refuse(absl::FailedPreconditionError(
          absl::StrCat(where,
                       " refuses writes because it is not known whether an earlier one was "
                       "done (",
                       status.message(), "); restart the server")));
      status = absl::UnknownError(absl::StrCat("it is not known whether this write to ", where,
                                               " was done: ", status.ToString()));
    }
    for (ShardWrite* write : plan.writes) write->result.status = status;
    SetApplied(applied_.load());
    return;
  }

  // Before searches can find them: what was just written is looked for soon, and reading it back
  // from the store would hold up a search, and what waits behind it on a network thread.
  for (const storage::Mutation& mutation : plan.mutations) {
    if (options_.heads == nullptr || mutation.kind != storage::Mutation::Kind::kPut) continue;
    options_.heads->Put({options_.uid, static_cast<uint32_t>(options_.number), mutation.sequence},
                        mutation.document);
  }
  bool due;
  {
    absl::MutexLock lock(&index_mu_);
    const int64_t tail_rows = index_.Pin()->tail->size();
    for (size_t i = 0; i < plan.mutations.size(); ++i) {
      const storage::Mutation& mutation = plan.mutations[i];
      if (mutation.kind == storage::Mutation::Kind::kPut) {
        fields_.Add(mutation.sequence, std::move(plan.writes[i]->fields));
      }
      Apply({mutation.kind, mutation.sequence, mutation.replaces}, mutation.document.vector);
    }
    last_write_ = start;
    due = TailWantsALook(tail_rows) || HasWork();
  }
  SetApplied(plan.next_sequence - 1);
  int64_t puts = 0;
  for (const storage::Mutation& mutation : plan.mutations) {
    puts += mutation.kind == storage::Mutation::Kind::kPut;
  }
  metrics_->upserts.Add(static_cast<double>(puts));
  metrics_->deletes.Add(static_cast<double>(static_cast<int64_t>(plan.mutations.size()) - puts));
  metrics_->commits.Add();
  if (due && maintenance_due_ != nullptr) maintenance_due_();
}

void Shard::Apply(const storage::Change& change, std::span<const float> vector) {
  if (change.sequence <= applied_.load(std::memory_order_relaxed)) return;  // D2
  // First the new row, then the tombstone: no search sees neither version.
  if (change.kind == storage::Mutation::Kind::kPut && !vector.empty()) {
    index_.Add(change.sequence, vector.data());
  }
  if (change.replaces != 0) {
    index_.Remove(change.replaces);
    fields_.Remove(change.replaces);
  }
  applied_.store(change.sequence, std::memory_order_release);
}

void Shard::SetApplied(uint64_t sequence) {
  absl::MutexLock lock(&applied_mu_);
  appending_.store(sequence, std::memory_order_release);
  applied_changed_.SignalAll();
}

}  // namespace vecino::engine
