#include "server/engine/document_jobs.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "server/engine/low_priority.h"

namespace vecino::engine {

DocumentJobs::DocumentJobs(std::string what)
    : what_(std::move(what)), thread_([this](std::stop_token stop) { Work(stop); }) {}

DocumentJobs::~DocumentJobs() { Stop(); }

absl::Status DocumentJobs::Add(Job job) {
  absl::MutexLock lock(&mu_);
  if (stopped_) return absl::UnavailableError("the server is stopping; try again");
  if (waiting_.size() >= kMaxWaiting) {
    return absl::ResourceExhaustedError(
        absl::StrCat(kMaxWaiting, " ", what_, " wait already; wait for some of them to be done"));
  }
  waiting_.push_back(std::move(job));
  changed_.Signal();
  return absl::OkStatus();
}

absl::StatusOr<Operation::Info> DocumentJobs::Start(
    absl::StatusOr<std::shared_ptr<Operation>> operation, Job job) {
  if (!operation.ok()) return operation.status();
  job.operation = *operation;
  if (absl::Status status = Add(std::move(job)); !status.ok()) {
    (*operation)->End(status);
    return status;
  }
  return (*operation)->Snapshot();
}

void DocumentJobs::Stop() {
  {
    absl::MutexLock lock(&mu_);
    stopped_ = true;
    changed_.SignalAll();
  }
  thread_.request_stop();
  if (thread_.joinable()) thread_.join();
}

void DocumentJobs::Work(std::stop_token stop) {
  LowerPriority();
  while (true) {
    Job job;
    {
      absl::MutexLock lock(&mu_);
      while (waiting_.empty() && !stopped_) changed_.Wait(&mu_);
      if (waiting_.empty()) return;
      job = std::move(waiting_.front());
      waiting_.pop_front();
      if (stopped_) {
        job.operation->End(CutShortByStop());
        continue;
      }
    }
    if (job.tuning.has_value()) {
      job.collection->Tune(*job.tuning, job.operation.get(), stop);
      continue;
    }
    for (const int shard : job.operation->shards()) {
      absl::Status status =
          job.collection->ChangeShard(shard, job.filter, job.patch, *job.operation, stop);
      if (stop.stop_requested() && absl::IsCancelled(status)) status = CutShortByStop();
      job.operation->Finish(shard, status);
    }
  }
}

}  // namespace vecino::engine
