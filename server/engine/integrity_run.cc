#include "server/engine/integrity_run.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/engine/low_priority.h"
#include "server/engine/shard_check.h"

namespace vecino::engine {
namespace {

// Between reports without a finding.
constexpr absl::Duration kReportInterval = absl::Milliseconds(500);

// For a caller that takes nothing, as when its output waits for somebody to turn the page: what is
// read meanwhile keeps compactions from freeing anything.
constexpr absl::Duration kPatience = absl::Minutes(10);

absl::Status StoppedError() {
  return absl::UnavailableError("the server is stopping; the check was not finished");
}

// Of a snapshot that cannot be read: only what is damaged for good may go.
std::string AdviceOn(const absl::Status& status) {
  if (absl::IsDataLoss(status)) return "delete this snapshot and take another one";
  if (absl::IsFailedPrecondition(status)) return "keep it for the newer program that made it";
  return "look at the disk, then check again";
}

// What a caller holds of a run. Its end does not wait for the thread: it may come on one that must
// not block.
class Handle final : public IntegrityCheck {
 public:
  explicit Handle(std::shared_ptr<IntegrityRun> run) : run_(std::move(run)) {}
  ~Handle() override { run_->Abandon(); }

  bool WakeWhenReady(const std::function<void()>& wake) override {
    return run_->WakeWhenReady(wake);
  }
  absl::StatusOr<std::optional<IntegrityReport>> Next() override { return run_->Next(); }

 private:
  const std::shared_ptr<IntegrityRun> run_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<IntegrityCheck>> IntegrityRuns::Start(IntegrityPlan plan) {
  absl::MutexLock lock(&mu_);
  if (stopped_) return StoppedError();
  std::erase_if(runs_, [](const auto& run) { return run->over(); });
  if (runs_.size() >= static_cast<size_t>(Snapshots::kMaxChecks)) {
    return absl::ResourceExhaustedError(
        absl::StrCat(runs_.size(), " checks run, which is the limit; wait for one of them"));
  }
  runs_.push_back(std::make_shared<IntegrityRun>(std::move(plan)));
  return std::make_unique<Handle>(runs_.back());
}

void IntegrityRuns::AskToStop() {
  absl::MutexLock lock(&mu_);
  stopped_ = true;
  for (const auto& run : runs_) run->AskToStop();
}

void IntegrityRuns::Stop() {
  AskToStop();
  std::vector<std::shared_ptr<IntegrityRun>> runs;
  {
    absl::MutexLock lock(&mu_);
    runs.swap(runs_);
  }
  for (const auto& run : runs) run->Halt();
}

IntegrityRun::IntegrityRun(IntegrityPlan plan)
    : plan_(std::move(plan)),
      waker_([this] { DeliverWakes(); }),
      thread_([this](std::stop_token stop) { Work(stop); }) {}

void IntegrityRun::AskToStop() {
  absl::MutexLock lock(&mu_);
  stopping_ = true;
  changed_.SignalAll();
}

void IntegrityRun::Abandon() {
  absl::MutexLock lock(&mu_);
  stopping_ = true;
  wake_ = nullptr;
  changed_.SignalAll();
}

void IntegrityRun::Halt() {
  AskToStop();
  thread_.request_stop();
  if (thread_.joinable()) thread_.join();
  if (waker_.joinable()) waker_.join();  // it goes with the work
}

bool IntegrityRun::over() const {
  absl::MutexLock lock(&mu_);
  return delivered_;
}

void IntegrityRun::Wake() {
  wake_due_ = true;
  changed_.SignalAll();
}

void IntegrityRun::DeliverWakes() {
  bool last = false;
  while (!last) {
    std::function<void()> wake;
    {
      absl::MutexLock lock(&mu_);
      while (!wake_due_ && !ended_) changed_.Wait(&mu_);
      wake_due_ = false;
      wake = std::exchange(wake_, nullptr);
      last = ended_;
    }
    if (wake != nullptr) wake();
  }
  absl::MutexLock lock(&mu_);
  delivered_ = true;
}

bool IntegrityRun::WakeWhenReady(const std::function<void()>& wake) {
  absl::MutexLock lock(&mu_);
  if (!waiting_.empty() || due_ || ended_) return true;
  wake_ = wake;
  return false;
}

absl::StatusOr<std::optional<IntegrityReport>> IntegrityRun::Next() {
  absl::MutexLock lock(&mu_);
  IntegrityReport report = so_far_;
  if (!waiting_.empty()) {
    report.finding = std::move(waiting_.front());
    waiting_.pop_front();
    changed_.SignalAll();
    return report;
  }
  if (ended_ && !status_.ok()) return status_;
  if (ended_ && !reported_) {
    reported_ = true;
    report.done = true;
    return report;
  }
  if (ended_ && report.findings > 0) {
    return absl::DataLossError(absl::StrCat(
        report.findings, report.findings == 1 ? " thing is wrong" : " things are wrong",
        " with what is stored; each was told of, with what to do"));
  }
  if (ended_ || !due_) return std::nullopt;
  due_ = false;
  return report;
}

void IntegrityRun::Begin(std::string stage) {
  absl::MutexLock lock(&mu_);
  so_far_.stage = std::move(stage);
  due_ = true;
  Wake();
}

void IntegrityRun::Found(IntegrityReport::Finding finding, std::stop_token stop) {
  absl::MutexLock lock(&mu_);
  const absl::Time deadline = absl::Now() + kPatience;
  while (waiting_.size() >= kMaxWaiting && !stopping_ && !stop.stop_requested() && !stalled_) {
    stalled_ = changed_.WaitWithDeadline(&mu_, deadline) && waiting_.size() >= kMaxWaiting;
  }
  ++so_far_.findings;
  waiting_.push_back(std::move(finding));
  Wake();
}

absl::Status IntegrityRun::Progress(uint64_t rows, uint64_t bytes, std::stop_token stop) {
  absl::MutexLock lock(&mu_);
  so_far_.rows += static_cast<int64_t>(rows);
  so_far_.bytes += static_cast<int64_t>(bytes);
  if (const absl::Time now = absl::Now(); now >= next_report_) {
    next_report_ = now + kReportInterval;
    due_ = true;
    Wake();
  }
  if (stopping_ || stop.stop_requested()) return StoppedError();
  if (!stalled_) return absl::OkStatus();
  return absl::DeadlineExceededError(absl::StrCat("the caller took none of ", waiting_.size(),
                                                  " findings for ", absl::FormatDuration(kPatience),
                                                  "; the check was not finished"));
}

void IntegrityRun::Work(std::stop_token stop) {
  LowerPriority();
  absl::Status status = CheckAll(stop);
  plan_.collections.clear();
  absl::MutexLock lock(&mu_);
  status_ = std::move(status);
  ended_ = true;
  Wake();
}

storage::IntegritySink IntegrityRun::SinkOf(const std::string& collection, std::stop_token stop) {
  storage::IntegritySink sink;
  sink.found = [this, collection, stop](storage::IntegrityFinding finding) {
    Found({collection, "", std::move(finding.where), std::move(finding.problem),
           std::move(finding.advice)},
          stop);
  };
  sink.progress = [this, stop](uint64_t rows, uint64_t bytes) {
    return Progress(rows, bytes, stop);
  };
  return sink;
}

absl::Status IntegrityRun::CheckAll(std::stop_token stop) {
  if (plan_.files) {
    Begin("files");
    absl::Status status = plan_.store->CheckFiles(SinkOf("", stop));
    if (!status.ok()) return status;
  }
  for (const auto& collection : plan_.collections) {
    absl::Status status = CheckCollection(*collection, stop);
    if (status.ok()) continue;
    if (!plan_.files || !absl::IsNotFound(status)) return status;
    // One of all that was deleted meanwhile is no fault. Where there is one of its name, as when
    // its embeddings were replaced, that was not looked at.
    const auto now = plan_.store->ListCollections();
    if (!now.ok()) return now.status();
    const bool replaced = std::any_of(
        now->begin(), now->end(),
        [&](const storage::CollectionRecord& record) { return record.id == collection->id(); });
    if (replaced) return status;
  }
  for (const std::string& id : plan_.snapshots) {
    absl::Status status = CheckSnapshot(id, stop);
    if (!status.ok() && !(plan_.files && absl::IsNotFound(status))) return status;
  }
  return absl::OkStatus();
}

absl::Status IntegrityRun::CheckCollection(Collection& collection, std::stop_token stop) {
  const std::string& id = collection.id();
  for (int number = 0; number < collection.shard_count(); ++number) {
    Begin(absl::StrCat("collection `", id, "`, shard ", number));
    absl::Status status =
        CheckShard(*plan_.store, collection.shard(number), collection.uid(), SinkOf(id, stop));
    if (absl::IsNotFound(status)) {
      return absl::NotFoundError(absl::StrCat(
          "collection `", id,
          "` was deleted meanwhile, or its embeddings were replaced; check again what there is"));
    }
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status IntegrityRun::CheckSnapshot(const std::string& id, std::stop_token stop) {
  Begin(absl::StrCat("snapshot `", id, "`"));
  const auto report = [&](const absl::Status& status) {
    Found({"", id, "snapshot files", std::string(status.message()), AdviceOn(status)}, stop);
  };
  const auto manifest = plan_.folder->Read(id);
  if (absl::IsNotFound(manifest.status())) return manifest.status();
  if (!manifest.ok()) {
    report(manifest.status());
    return absl::OkStatus();
  }
  for (const storage::SnapshotFile& file : manifest->files) {
    absl::Status stopped;
    const absl::Status status = plan_.folder->CheckFile(
        id, file, [&](uint64_t, uint64_t bytes) { return stopped = Progress(0, bytes, stop); });
    if (!stopped.ok()) return stopped;
    if (absl::IsNotFound(status)) return status;
    if (!status.ok()) {
      // Files of another that was made under the id meanwhile are no damage.
      const auto now = plan_.folder->Read(id);
      if (now.ok() && now->create_time_us != manifest->create_time_us) {
        return absl::NotFoundError(
            absl::StrCat("snapshot `", id, "` was deleted meanwhile; there is another of its id"));
      }
      if (absl::IsNotFound(now.status())) return now.status();
      report(status);
    }
    if (absl::Status told = Progress(file.rows, 0, stop); !told.ok()) return told;
  }
  return absl::OkStatus();
}

}  // namespace vecino::engine
