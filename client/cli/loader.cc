#include "client/cli/loader.h"

#include <absl/base/thread_annotations.h>
#include <absl/synchronization/mutex.h>
#include <absl/time/time.h>

#include <algorithm>
#include <deque>
#include <map>
#include <random>
#include <set>
#include <thread>
#include <unordered_set>
#include <utility>
#include <vector>

#include "client/cli/format.h"
#include "client/cli/terminal.h"

namespace vecino::cli {
namespace {

using SteadyClock = std::chrono::steady_clock;

// Worth waiting for: the server is away, busy or slow.
bool IsTransient(Code code) {
  return code == Code::kUnavailable || code == Code::kResourceExhausted ||
         code == Code::kDeadlineExceeded || code == Code::kAborted || code == Code::kCancelled;
}

// Every later batch would fail the same way.
bool IsHopeless(Code code) {
  return code == Code::kNotFound || code == Code::kPermissionDenied ||
         code == Code::kUnauthenticated || code == Code::kUnimplemented ||
         code == Code::kFailedPrecondition || code == Code::kDataLoss;
}

struct Batch {
  std::vector<int64_t> lines;  // of the documents
  std::vector<Document> documents;
  std::unordered_set<std::string> ids;
  size_t bytes = 0;       // about what it takes on the wire
  int64_t position = 0;   // of the input after it
  int64_t last_line = 0;  // read when the batch was closed
  int64_t number = 0;     // 0, 1, 2, … in the order of the input
};

size_t WireSize(const Document& document) {
  constexpr size_t kOverhead = 32;
  return document.id.size() + document.text.size() + document.metadata_json.size() +
         document.vector.size() * sizeof(float) + kOverhead;
}

class Loader {
 public:
  Loader(Client& client, const LoadOptions& options, const char* unit, std::string source,
         const std::atomic<bool>& interrupted, Progress& progress)
      : client_(client),
        options_(options),
        unit_(unit),
        source_(Printable(source)),
        interrupted_(interrupted),
        progress_(progress) {}

  LoadReport Run(RecordReader& reader, const std::function<int64_t()>& position) {
    std::vector<std::thread> workers;
    workers.reserve(options_.concurrency);
    for (int i = 0; i < options_.concurrency; ++i) workers.emplace_back([this] { Work(); });
    Read(reader, position);
    {
      absl::MutexLock lock(&mutex_);
      closed_ = true;
      changed_.SignalAll();
    }
    for (std::thread& worker : workers) worker.join();
    absl::MutexLock lock(&mutex_);
    if (report_.status.ok()) report_.status = reader.status();
    report_.interrupted = interrupted_.load();
    report_.last_line = LastDone();
    if (failed_untold_ > 0) {
      progress_.Message("vecino: … and " + WithCommas(failed_untold_) + " more");
    }
    progress_.Finish();
    return report_;
  }

 private:
  // Reads and batches, in the caller's thread.
  void Read(RecordReader& reader, const std::function<int64_t()>& position) {
    Batch batch;
    Record record;
    int64_t line = 0;
    const auto submit = [&] {
      batch.position = position();
      batch.last_line = line;
      const bool going_on = Submit(std::move(batch));
      batch = Batch();
      return going_on;
    };
    while (!interrupted_.load() && reader.Next(&record)) {
      line = record.line;
      if (!record.error.empty()) {
        absl::MutexLock lock(&mutex_);
        FailRecord(record.line, record.error);
        if (Stopping()) break;
        continue;
      }
      // The same id again goes into the next batch, so that the two are written one after the
      // other.
      if (batch.ids.contains(record.document.id) && !submit()) return;
      batch.bytes += WireSize(record.document);
      batch.ids.insert(record.document.id);
      batch.lines.push_back(record.line);
      batch.documents.push_back(std::move(record.document));
      const bool full = batch.documents.size() >= static_cast<size_t>(options_.batch_documents) ||
                        batch.bytes >= options_.batch_bytes;
      if (full && !submit()) return;
    }
    submit();
  }

  // Queues a batch when there is room and no batch before it holds one of its ids; false when the
  // load is to stop.
  bool Submit(Batch batch) ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    while (!Stopping() && (unfinished_.size() >= MostUnfinished() || SharesId(batch))) {
      // A signal handler cannot wake a condition, so look now and then.
      changed_.WaitWithTimeout(&mutex_, absl::Milliseconds(100));
    }
    if (Stopping()) return false;
    batch.number = next_number_++;
    ids_in_flight_.insert(batch.ids.begin(), batch.ids.end());
    unfinished_.insert(batch.number);
    queue_.push_back(std::move(batch));
    changed_.SignalAll();
    return true;
  }

  // As many queued as in flight, so that no worker waits for the reader.
  size_t MostUnfinished() const { return static_cast<size_t>(options_.concurrency) * 2; }

  bool SharesId(const Batch& batch) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return std::any_of(batch.ids.begin(), batch.ids.end(),
                       [this](const std::string& id)
                           ABSL_NO_THREAD_SAFETY_ANALYSIS { return ids_in_flight_.contains(id); });
  }

  bool Stopping() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return interrupted_.load() || !report_.status.ok() ||
           (options_.fail_fast && report_.failed > 0);
  }

  // A worker: sends batches until there are none.
  void Work() ABSL_LOCKS_EXCLUDED(mutex_) {
    for (;;) {
      Batch batch;
      {
        absl::MutexLock lock(&mutex_);
        while (queue_.empty() && !closed_) changed_.Wait(&mutex_);
        if (queue_.empty() || interrupted_.load() || !report_.status.ok()) return;
        batch = std::move(queue_.front());
        queue_.pop_front();
      }
      const int64_t number = batch.number;
      const int64_t position = batch.position;
      const int64_t last_line = batch.last_line;
      const std::unordered_set<std::string> ids = std::move(batch.ids);
      const bool done = Send(std::move(batch));
      absl::MutexLock lock(&mutex_);
      for (const std::string& id : ids) ids_in_flight_.erase(id);
      unfinished_.erase(number);
      if (done) {
        done_lines_[number] = last_line;
        ForgetDone();
      }
      position_ = std::max(position_, position);
      progress_.Update(position_, report_.loaded + report_.skipped);
      changed_.SignalAll();
    }
  }

  // Writes what of the batch is to be written. False when it was given up.
  bool Send(Batch batch) ABSL_LOCKS_EXCLUDED(mutex_) {
    const WriteMode mode = options_.insert_only ? WriteMode::kInsert : WriteMode::kUpsert;
    if (!options_.overwrite && !options_.insert_only && !DropStored(&batch)) return false;
    bool sent_before = false;  // an attempt without a reply may have written some of it
    SteadyClock::time_point first_failure;
    for (int attempt = 0; !batch.documents.empty(); ++attempt) {
      Result<std::vector<WriteResult>> results =
          client_.UpsertBatch(options_.collection, batch.documents, options_.truncate, mode);
      Status transient;
      if (results.ok()) {
        const size_t before = batch.documents.size();
        transient = Account(*results, sent_before, &batch);
        if (batch.documents.size() < before) attempt = 0, first_failure = {};
        if (batch.documents.empty()) return true;
      } else if (IsTransient(results.status().code())) {
        transient = results.status();
        sent_before = true;
      } else {
        return Refuse(batch, results.status());
      }
      if (!WaitToRetry(transient, attempt, &first_failure)) return false;
    }
    return true;
  }

  // Counts what became of each document and leaves those in *batch that are to be sent again;
  // returns why. sent_before: what exists already may be of this load.
  Status Account(const std::vector<WriteResult>& results, bool sent_before, Batch* batch)
      ABSL_LOCKS_EXCLUDED(mutex_) {
    Status transient;
    size_t kept = 0;
    absl::MutexLock lock(&mutex_);
    for (size_t i = 0; i < results.size(); ++i) {
      const Status& status = results[i].status;
      if (status.ok()) {
        ++report_.loaded;
        report_.truncated += results[i].truncated ? 1 : 0;
      } else if (status.code() == Code::kAlreadyExists && (sent_before || results[i].repeated)) {
        ++report_.skipped;
      } else if (IsTransient(status.code())) {
        transient = status;
        batch->lines[kept] = batch->lines[i];
        if (kept != i) batch->documents[kept] = std::move(batch->documents[i]);
        ++kept;
      } else {
        FailRecord(batch->lines[i], Reason(status));
      }
    }
    batch->lines.resize(kept);
    batch->documents.resize(kept);
    return transient;
  }

  // Takes the documents out of *batch whose ids are stored. False when the server does not answer.
  bool DropStored(Batch* batch) ABSL_LOCKS_EXCLUDED(mutex_) {
    std::vector<std::string> ids;
    ids.reserve(batch->documents.size());
    for (const Document& document : batch->documents) ids.push_back(document.id);
    constexpr ReadMask kIdsOnly{.text = false, .metadata = false, .vector = false};
    SteadyClock::time_point first_failure;
    for (int attempt = 0;; ++attempt) {
      const auto stored = client_.GetBatch(options_.collection, ids, kIdsOnly);
      if (stored.ok()) {
        Drop([&](size_t i) { return (*stored)[i].has_value(); }, batch);
        return true;
      }
      if (stored.status().code() == Code::kInvalidArgument) return DropStoredSingly(batch);
      if (!IsTransient(stored.status().code())) return Refuse(*batch, stored.status());
      if (!WaitToRetry(stored.status(), attempt, &first_failure)) return false;
    }
  }

  // The same, id by id: one of them is not a legal id, and must not hide the others.
  bool DropStoredSingly(Batch* batch) ABSL_LOCKS_EXCLUDED(mutex_) {
    std::vector<bool> stored(batch->documents.size());
    for (size_t i = 0; i < batch->documents.size(); ++i) {
      SteadyClock::time_point first_failure;
      for (int attempt = 0;; ++attempt) {
        const Status status =
            client_.Get(options_.collection, batch->documents[i].id, {.metadata = false}).status();
        stored[i] = status.ok();
        if (!IsTransient(status.code())) break;
        if (!WaitToRetry(status, attempt, &first_failure)) return false;
      }
    }
    // What is no legal id is refused by the write itself.
    Drop([&](size_t i) { return stored[i]; }, batch);
    return true;
  }

  template <typename Stored>
  void Drop(const Stored& stored, Batch* batch) ABSL_LOCKS_EXCLUDED(mutex_) {
    size_t kept = 0;
    const size_t size = batch->documents.size();
    for (size_t i = 0; i < size; ++i) {
      if (stored(i)) continue;
      batch->lines[kept] = batch->lines[i];
      if (kept != i) batch->documents[kept] = std::move(batch->documents[i]);
      ++kept;
    }
    batch->lines.resize(kept);
    batch->documents.resize(kept);
    absl::MutexLock lock(&mutex_);
    report_.skipped += static_cast<int64_t>(size - kept);
  }

  // A whole batch was refused for good. True when the load goes on.
  bool Refuse(const Batch& batch, const Status& status) ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    if (IsHopeless(status.code())) {
      if (report_.status.ok()) report_.status = status;
      changed_.SignalAll();
      return false;
    }
    for (const int64_t line : batch.lines) FailRecord(line, status.ToString());
    return true;
  }

  // Waits before the next attempt, with exponential backoff and jitter. False when the load is to
  // end: retry_for is over since *first_failure, or Ctrl-C, or another worker gave up.
  bool WaitToRetry(const Status& status, int attempt, SteadyClock::time_point* first_failure)
      ABSL_LOCKS_EXCLUDED(mutex_) {
    constexpr double kFirst = 0.1;  // seconds
    constexpr double kLongest = 5;
    const SteadyClock::time_point now = SteadyClock::now();
    if (*first_failure == SteadyClock::time_point()) *first_failure = now;
    absl::MutexLock lock(&mutex_);
    if (interrupted_.load() || !report_.status.ok()) return false;
    if (now - *first_failure >= options_.retry_for) {
      report_.status = status;
      changed_.SignalAll();
      return false;
    }
    if (now - last_notice_ > std::chrono::seconds(10)) {
      last_notice_ = now;
      progress_.Message("vecino: waiting for the server (" + Printable(status.ToString()) +
                        "); trying for " + Duration(options_.retry_for));
    }
    const double bound =
        std::min(kLongest, kFirst * static_cast<double>(1 << std::min(attempt, 10)));
    const double wait = std::uniform_real_distribution<double>(bound / 2, bound)(random_);
    const absl::Time until = absl::Now() + absl::Seconds(wait);
    while (absl::Now() < until && !interrupted_.load() && report_.status.ok()) {
      changed_.WaitWithDeadline(&mutex_, std::min(until, absl::Now() + absl::Milliseconds(100)));
    }
    return true;
  }

  void FailRecord(int64_t line, const std::string& reason) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    ++report_.failed;
    if (report_.failed > options_.max_errors) {
      ++failed_untold_;
    } else {
      progress_.Message(source_ + ": " + unit_ + " " + std::to_string(line) + ": " +
                        Printable(reason));
    }
    changed_.SignalAll();
  }

  // The server's reason without the place in the batch, which means nothing to who reads the file.
  static std::string Reason(const Status& status) {
    std::string reason = status.ToString();
    constexpr std::string_view kPlace = "documents[";
    for (size_t at; (at = reason.find(kPlace)) != std::string::npos;) {
      const size_t end = reason.find_first_not_of("0123456789", at + kPlace.size());
      if (end == std::string::npos || reason.compare(end, 2, "].") != 0) break;
      reason.erase(at, end + 2 - at);
    }
    return reason;
  }

  void ForgetDone() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    while (!done_lines_.empty() && done_lines_.begin()->first == first_undone_) {
      last_done_line_ = done_lines_.begin()->second;
      done_lines_.erase(done_lines_.begin());
      ++first_undone_;
    }
  }
  int64_t LastDone() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return last_done_line_; }

  Client& client_;
  const LoadOptions& options_;
  const char* const unit_;
  const std::string source_;
  const std::atomic<bool>& interrupted_;

  absl::Mutex mutex_;
  absl::CondVar changed_;  // anything below
  Progress& progress_ ABSL_GUARDED_BY(mutex_);
  LoadReport report_ ABSL_GUARDED_BY(mutex_);
  std::deque<Batch> queue_ ABSL_GUARDED_BY(mutex_);
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;  // nothing more will be queued
  std::unordered_set<std::string> ids_in_flight_ ABSL_GUARDED_BY(mutex_);
  std::set<int64_t> unfinished_ ABSL_GUARDED_BY(mutex_);  // numbers of batches queued or being sent
  int64_t next_number_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<int64_t, int64_t> done_lines_ ABSL_GUARDED_BY(mutex_);  // of batches after first_undone_
  int64_t first_undone_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t last_done_line_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t position_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t failed_untold_ ABSL_GUARDED_BY(mutex_) = 0;
  SteadyClock::time_point last_notice_ ABSL_GUARDED_BY(mutex_);
  std::mt19937 random_ ABSL_GUARDED_BY(mutex_){std::random_device{}()};
};

}  // namespace

LoadReport Load(Client& client, RecordReader& reader, const LoadOptions& options,
                const std::string& source, const std::function<int64_t()>& position,
                const std::atomic<bool>& interrupted, Progress& progress) {
  return Loader(client, options, reader.unit(), source, interrupted, progress)
      .Run(reader, position);
}

}  // namespace vecino::cli
