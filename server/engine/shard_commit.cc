// The write path of a shard, from queue to index.
#include <algorithm>
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
  struct Entry {
    std::optional<storage::IdEntry> current;
    bool of_group = false;  // a write of this group made it so
  };
  absl::flat_hash_map<std::string, Entry> ids;
  std::vector<ShardWrite*> refused_by_group;    // because of what a write of this group made
  std::vector<absl::Span<ShardWrite>> batches;  // that were planned
  absl::flat_hash_map<std::string, storage::Mark> marks;  // as they will be, by token
  uint64_t next_sequence = 0;
  int64_t now_us = 0;
};

void Shard::Write(absl::Span<ShardWrite> writes, const CallContext& context) {
  const absl::Status status = queue_.Run(writes, context.deadline);
  if (status.ok()) return;
  for (ShardWrite& write : writes) write.result.status = status;
}

// Whether what the write asks of the document there is holds. current: its last version, if it was
// not deleted; live: and has not expired.
absl::Status Shard::CheckCondition(const ShardWrite& write,
                                   const std::optional<storage::IdEntry>& current,
                                   bool live) const {
  const bool put = write.kind == storage::Mutation::Kind::kPut;
  if (write.carried) {
    return put || current.has_value() ? absl::OkStatus() : absl::NotFoundError("it is gone");
  }
  const auto document = [&] { return absl::StrCat("document `", write.document.id, "` "); };
  if (!write.etag.empty() && (live || (write.expired && current.has_value()))) {
    const std::string etag = EtagOf(options_.uid, current->sequence);
    if (etag == write.etag) return absl::OkStatus();
    return WrongEtag(options_.collection, write.document.id, etag, write.etag);
  }
  if (live) {
    if (!put || write.mode != WriteMode::kInsert) return absl::OkStatus();
    return absl::AlreadyExistsError(
        absl::StrCat(document(), "exists already in `", options_.collection, "`"));
  }
  if (!put || write.mode == WriteMode::kReplace) {
    return absl::NotFoundError(
        absl::StrCat(document(), "does not exist in `", options_.collection, "`"));
  }
  if (write.etag.empty()) return absl::OkStatus();
  return NoEtag(options_.collection, write.document.id, write.etag);
}

absl::Status Shard::PlanBatch(absl::Span<ShardWrite> batch, Plan* plan) const {
  std::vector<std::string_view> unknown;
  for (const ShardWrite& write : batch) {
    if (!plan->ids.contains(write.document.id)) unknown.push_back(write.document.id);
  }
  auto found = log_->FindIds(unknown);
  if (!found.ok()) return found.status();
  for (size_t i = 0; i < unknown.size(); ++i) {
    plan->ids.try_emplace(std::string(unknown[i]), Plan::Entry{(*found)[i]});
  }

  plan->batches.push_back(batch);
  for (ShardWrite& write : batch) {
    index::YieldToSearches();
    if (write.refused) {
      MarkItem(write, plan);
      continue;
    }
    Plan::Entry& entry = plan->ids[write.document.id];
    const bool live = entry.current.has_value() &&
                      !storage::IsExpired(entry.current->expire_time_us, plan->now_us);
    if (absl::Status status = CheckCondition(write, entry.current, live); !status.ok()) {
      write.result.status = std::move(status);
      if (entry.of_group) plan->refused_by_group.push_back(&write);
      MarkItem(write, plan);
      continue;
    }
    const bool put = write.kind == storage::Mutation::Kind::kPut;
    storage::Mutation& mutation = plan->mutations.emplace_back();
    mutation.kind = write.kind;
    mutation.sequence = plan->next_sequence++;
    if (entry.current.has_value()) {
      mutation.replaces = entry.current->sequence;
      mutation.replaces_expire_time_us = entry.current->expire_time_us;
    }
    mutation.id = write.document.id;
    write.result.status = absl::OkStatus();
    write.result.token = {options_.number, mutation.sequence};
    write.result.uid = options_.uid;
    write.result.create_time_us = live ? entry.current->create_time_us : plan->now_us;
    write.result.update_time_us = plan->now_us;
    if (write.carried) {
      write.result.create_time_us = write.document.create_time_us;
      write.result.update_time_us = write.document.update_time_us;
    }
    if (put) {
      mutation.document = std::move(write.document);
      storage::Document& document = mutation.document;
      if (write.ttl_us > 0) document.expire_time_us = plan->now_us + write.ttl_us;
      document.sequence = mutation.sequence;
      document.create_time_us = write.result.create_time_us;
      document.update_time_us = write.result.update_time_us;
      write.result.expire_time_us = document.expire_time_us;
      entry.current =
          storage::IdEntry{mutation.sequence, document.create_time_us, document.expire_time_us};
    } else {
      entry.current = std::nullopt;
    }
    entry.of_group = true;
    plan->writes.push_back(&write);
    MarkItem(write, plan);
  }
  return absl::OkStatus();
}

void Shard::MarkItem(const ShardWrite& write, Plan* plan) const {
  if (write.stream == nullptr || write.stream->token.empty()) return;
  const auto [it, is_new] = plan->marks.try_emplace(write.stream->token);
  storage::Mark& mark = it->second;
  if (is_new) mark = marks_.Get(write.stream->token);
  mark.all_through = std::max(mark.all_through, write.stream->all_through);
  mark.time_us = plan->now_us;
  AddToMark(write.item, write.carried ? 0 : static_cast<int>(write.result.status.code()), &mark);
}

void Shard::Settle(Plan* plan) {
  for (auto& [token, mark] : plan->marks) marks_.Set(std::move(mark));
  for (const absl::Span<ShardWrite> batch : plan->batches) {
    for (ShardWrite& write : batch) write.committed = true;
  }
}

void Shard::Commit(WriteQueue::Batches batches) {
  const absl::Time start = absl::Now();
  Plan plan;
  plan.next_sequence = applied_.load() + 1;
  plan.now_us = NowUs();
  for (const absl::Span<ShardWrite> batch : batches) {
    // One look-up for each caller, so that a damaged entry stops only who asked for it.
    if (absl::Status status = PlanBatch(batch, &plan); !status.ok()) {
      for (ShardWrite& write : batch) write.result.status = status;
    }
  }
  // Marks that tell of failures only are stored, too: the mark of another shard may say that all
  // items up to theirs are done, and nobody would know how they ended.
  if (plan.mutations.empty() && plan.marks.empty()) {
    Settle(&plan);
    return;
  }
  std::vector<storage::Mark> marks;
  marks.reserve(plan.marks.size());
  for (const auto& [token, mark] : plan.marks) marks.push_back(mark);

  // From here on searches may wait for this thread: it does not yield to them.
  appending_.store(plan.next_sequence - 1, std::memory_order_release);  // D3
  absl::Status status = log_->Append(plan.mutations, marks);
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
    for (const absl::Span<ShardWrite> batch : plan.batches) {
      for (ShardWrite& write : batch) {
        if (write.stream != nullptr) write.result.status = status;
      }
    }
    for (size_t i = 0; i < plan.writes.size(); ++i) {
      plan.writes[i]->result.status = status;
      if (plan.mutations[i].kind == storage::Mutation::Kind::kPut) {
        plan.writes[i]->document = std::move(plan.mutations[i].document);
      }
    }
    for (ShardWrite* write : plan.refused_by_group) write->result.status = status;
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
    const int64_t field_bytes = fields_.bytes();
    for (size_t i = 0; i < plan.mutations.size(); ++i) {
      const storage::Mutation& mutation = plan.mutations[i];
      expiries_.Add(mutation.document.expire_time_us, mutation.sequence);
      if (mutation.kind == storage::Mutation::Kind::kPut) {
        fields_.Add(mutation.sequence, std::move(plan.writes[i]->fields));
      }
      Apply({mutation.kind, mutation.sequence, mutation.replaces}, mutation.document.vector);
      expiries_.Remove(mutation.replaces_expire_time_us, mutation.replaces);
    }
    CountMore(fields_.bytes() - field_bytes);
    last_write_ = start;
    due = TailWantsALook(tail_rows) || HasWork();
  }
  SetApplied(plan.next_sequence - 1);
  Settle(&plan);
  int64_t puts = 0, deletes = 0;  // of callers
  for (const ShardWrite* write : plan.writes) {
    if (write->carried) continue;
    (write->kind == storage::Mutation::Kind::kPut ? puts : deletes) += 1;
  }
  metrics_->upserts.Add(static_cast<double>(puts));
  metrics_->deletes.Add(static_cast<double>(deletes));
  metrics_->commits.Add();
  if (due && maintenance_due_ != nullptr) maintenance_due_();
}

void Shard::Apply(const storage::Change& change, std::span<const float> vector) {
  if (change.sequence <= applied_.load(std::memory_order_relaxed)) return;  // D2
  // First the new rows, then the tombstones: no search sees neither version.
  if (change.kind == storage::Mutation::Kind::kPut && !vector.empty()) {
    const size_t passages = vector.size() / static_cast<size_t>(options_.dimension);
    ++with_vector_;
    for (size_t passage = 0; passage < passages; ++passage) {
      const uint64_t label = options_.labels.ToLabel(change.sequence, passage);
      if (label <= loaded_through_) continue;
      index_.Add(label, vector.data() + passage * static_cast<size_t>(options_.dimension));
    }
  }
  if (change.replaces != 0) {
    if (options_.labels.chunked()) {
      with_vector_ -= index_.RemoveRange(options_.labels.First(change.replaces),
                                         options_.labels.Last(change.replaces));
    } else {
      with_vector_ -= index_.Remove(change.replaces);
    }
    fields_.Remove(change.replaces);
  }
  applied_.store(change.sequence, std::memory_order_release);
}

void Shard::SetApplied(uint64_t sequence) {
  absl::MutexLock lock(&applied_mu_);
  appending_.store(sequence, std::memory_order_release);
  applied_changed_.SignalAll();
  if (written_ != nullptr) written_();
}

}  // namespace vecino::engine
