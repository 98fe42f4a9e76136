#include "client/cli/loader.h"

#include <absl/base/thread_annotations.h>
#include <absl/synchronization/mutex.h>
#include <absl/time/time.h>

#include <algorithm>
#include <map>
#include <memory>
#include <random>
#include <unordered_set>
#include <utility>
#include <vector>

#include "client/cli/format.h"
#include "client/cli/terminal.h"
#include "vecino/ingest.h"

namespace vecino::cli {
namespace {

using SteadyClock = std::chrono::steady_clock;

// Worth waiting for: the server is away, busy or slow.
bool IsTransient(Code code) {
  return code == Code::kUnavailable || code == Code::kResourceExhausted ||
         code == Code::kDeadlineExceeded || code == Code::kAborted || code == Code::kCancelled;
}

// A record that was read and is not dealt with.
struct Open {
  int64_t line_before = 0;  // of the record before it
  int64_t line = 0;
  int64_t position = 0;  // of the input after it
  std::string id;
};

// Records that are looked up together: documents with different ids.
struct Group {
  std::vector<int64_t> numbers;
  std::vector<Document> documents;
  std::unordered_set<std::string> ids;
  size_t bytes = 0;
};

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
    IngestOptions stream;
    stream.collection = options_.collection;
    stream.resume_token = options_.resume_token;
    stream.truncate = options_.truncate;
    stream.write_mode = options_.insert_only ? WriteMode::kInsert : WriteMode::kUpsert;
    stream.retry_for = options_.retry_for;
    stream.stop = &interrupted_;
    auto opened = Ingest::Open(
        client_, stream, [this](const IngestResult& result) { Account(result); },
        [this](const Status& why) {
          absl::MutexLock lock(&mutex_);
          TellOfWaiting(why);
        });
    if (opened.ok()) {
      stream_ = std::move(opened).value();
      if (stream_->done_through() > 0) {
        absl::MutexLock lock(&mutex_);
        progress_.Message("vecino: going on with a load of " + source_ +
                          " that was broken off: its first " + WithCommas(stream_->done_through()) +
                          " records are done");
      }
      const bool whole = Read(reader, position);
      const Status end = whole && reader.status().ok() ? stream_->Finish() : stream_->Close();
      stream_ = nullptr;
      absl::MutexLock lock(&mutex_);
      if (report_.status.ok()) report_.status = reader.status();
      if (report_.status.ok() && !interrupted_.load()) report_.status = end;
    } else {
      absl::MutexLock lock(&mutex_);
      if (!interrupted_.load()) report_.status = opened.status();
    }
    absl::MutexLock lock(&mutex_);
    report_.interrupted = interrupted_.load();
    report_.last_line = open_.empty() ? last_line_ : open_.begin()->second.line_before;
    if (failed_untold_ > 0) {
      progress_.Message("vecino: … and " + WithCommas(failed_untold_) + " more");
    }
    progress_.Finish();
    return report_;
  }

 private:
  // Reads and sends, in the caller's thread. True when the input has ended and all of it was sent.
  bool Read(RecordReader& reader, const std::function<int64_t()>& position) {
    const int64_t done_through = stream_->done_through();
    Group group;
    Record record;
    int64_t number = 0;  // of the record, from 1: the same in every run
    while (!interrupted_.load() && reader.Next(&record)) {
      ++number;
      // What stands before the first that fails is stored, not dropped with its group; and when
      // one of that fails, it is the first.
      if (options_.fail_fast && !record.error.empty() && !(Send(&group) && Settled())) return false;
      {
        absl::MutexLock lock(&mutex_);
        if (Stopping()) return false;
        const int64_t line_before = last_line_;
        last_line_ = record.line;
        if (!record.error.empty()) {
          FailRecord(record.line, record.error);
          if (Stopping()) return false;
          continue;
        }
        if (number <= done_through) {
          ++report_.resumed;
          continue;
        }
        open_.emplace(number, Open{line_before, record.line, position(), record.document.id});
      }
      if (!LooksUp()) {
        if (!Write(number, record.document)) return false;
        continue;
      }
      // The same id again goes into the next group: by then the first is stored.
      if (group.ids.contains(record.document.id) && !Send(&group)) return false;
      group.bytes += WireSize(record.document);
      group.ids.insert(record.document.id);
      group.numbers.push_back(number);
      group.documents.push_back(std::move(record.document));
      const bool full = group.documents.size() >= static_cast<size_t>(options_.batch_documents) ||
                        group.bytes >= options_.batch_bytes;
      if (full && !Send(&group)) return false;
    }
    return !interrupted_.load() && Send(&group);
  }

  // Whether ids that are stored are looked for before anything is sent.
  bool LooksUp() const { return !options_.overwrite && !options_.insert_only; }

  bool Stopping() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return interrupted_.load() || !report_.status.ok() ||
           (options_.fail_fast && report_.failed > 0);
  }

  // Waits until all that was sent is answered. False when the load is to stop.
  bool Settled() ABSL_LOCKS_EXCLUDED(mutex_) {
    const Status status = stream_->Flush();
    absl::MutexLock lock(&mutex_);
    if (!status.ok() && report_.status.ok() && !interrupted_.load()) report_.status = status;
    return !Stopping();
  }

  // Sends what of the group is not stored, and empties it. False when the load is to stop.
  bool Send(Group* group) ABSL_LOCKS_EXCLUDED(mutex_) {
    if (group->documents.empty()) return true;
    {
      absl::MutexLock lock(&mutex_);
      while (!Stopping() && ended_.ok() && SharesId(*group)) {
        // A signal handler cannot wake a condition, so look now and then.
        changed_.WaitWithTimeout(&mutex_, absl::Milliseconds(100));
      }
      if (Stopping()) return false;
    }
    std::vector<bool> stored(group->documents.size());
    if (!FindStored(*group, &stored)) return false;
    for (size_t i = 0; i < group->documents.size(); ++i) {
      if (stored[i]) {
        absl::MutexLock lock(&mutex_);
        ++report_.skipped;
        Close(group->numbers[i]);
      } else if (!Write(group->numbers[i], group->documents[i])) {
        return false;
      }
    }
    *group = Group();
    return true;
  }

  // Whether a document of the group was sent before and is not answered.
  bool SharesId(const Group& group) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return std::any_of(group.ids.begin(), group.ids.end(),
                       [this](const std::string& id)
                           ABSL_NO_THREAD_SAFETY_ANALYSIS { return ids_in_flight_.contains(id); });
  }

  // Hands the document to the stream. False when the load is to stop.
  bool Write(int64_t number, const Document& document) ABSL_LOCKS_EXCLUDED(mutex_) {
    {
      absl::MutexLock lock(&mutex_);
      if (Stopping()) return false;
      if (LooksUp()) ids_in_flight_.insert(document.id);
    }
    const Status status = stream_->Write(number, document);
    if (status.ok()) return true;
    absl::MutexLock lock(&mutex_);
    if (status.code() == Code::kInvalidArgument) {
      FailRecord(open_.find(number)->second.line, Reason(status));
      Close(number);
      return !Stopping();
    }
    ended_ = status;
    if (!interrupted_.load() && report_.status.ok()) report_.status = status;
    return false;
  }

  // What became of a document; on a thread of the stream.
  void Account(const IngestResult& result) ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    const auto open = open_.find(result.seq);
    if (open == open_.end()) return;
    if (result.status.ok()) {
      ++report_.loaded;
      report_.truncated += result.truncated ? 1 : 0;
    } else {
      FailRecord(open->second.line, Reason(result.status));
    }
    Close(result.seq);
    changed_.SignalAll();
  }

  // The record is dealt with.
  void Close(int64_t number) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    const auto open = open_.find(number);
    position_ = std::max(position_, open->second.position);
    ids_in_flight_.erase(open->second.id);
    open_.erase(open);
    progress_.Update(position_, report_.loaded + report_.skipped);
  }

  // Which documents of the group have ids that are stored. False when the load is to stop.
  bool FindStored(const Group& group, std::vector<bool>* stored) ABSL_LOCKS_EXCLUDED(mutex_) {
    std::vector<std::string> ids;
    ids.reserve(group.documents.size());
    for (const Document& document : group.documents) ids.push_back(document.id);
    constexpr ReadMask kIdsOnly{.text = false, .metadata = false, .vector = false};
    SteadyClock::time_point first_failure;
    for (int attempt = 0;; ++attempt) {
      const auto found = client_.GetBatch(options_.collection, ids, kIdsOnly);
      if (found.ok()) {
        for (size_t i = 0; i < ids.size(); ++i) (*stored)[i] = (*found)[i].has_value();
        return true;
      }
      if (found.status().code() == Code::kInvalidArgument) return FindStoredSingly(ids, stored);
      if (!IsTransient(found.status().code())) {
        absl::MutexLock lock(&mutex_);
        if (report_.status.ok()) report_.status = found.status();
        return false;
      }
      if (!WaitToRetry(found.status(), attempt, &first_failure)) return false;
    }
  }

  // The same, id by id: one of them is not a legal id, and must not hide the others.
  bool FindStoredSingly(const std::vector<std::string>& ids, std::vector<bool>* stored)
      ABSL_LOCKS_EXCLUDED(mutex_) {
    for (size_t i = 0; i < ids.size(); ++i) {
      SteadyClock::time_point first_failure;
      for (int attempt = 0;; ++attempt) {
        const Status status =
            client_.Get(options_.collection, ids[i], {.metadata = false}).status();
        // What is no legal id is refused by the write itself.
        (*stored)[i] = status.ok();
        if (!IsTransient(status.code())) break;
        if (!WaitToRetry(status, attempt, &first_failure)) return false;
      }
    }
    return true;
  }

  // Waits before the next attempt, with exponential backoff and jitter. False when the load is to
  // end: retry_for is over since *first_failure, or Ctrl-C, or the stream has ended.
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
      return false;
    }
    TellOfWaiting(status);
    const double bound =
        std::min(kLongest, kFirst * static_cast<double>(1 << std::min(attempt, 10)));
    const double wait = std::uniform_real_distribution<double>(bound / 2, bound)(random_);
    const absl::Time until = absl::Now() + absl::Seconds(wait);
    while (absl::Now() < until && !interrupted_.load() && report_.status.ok()) {
      changed_.WaitWithDeadline(&mutex_, std::min(until, absl::Now() + absl::Milliseconds(100)));
    }
    return true;
  }

  void TellOfWaiting(const Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    const SteadyClock::time_point now = SteadyClock::now();
    if (now - last_notice_ <= std::chrono::seconds(10)) return;
    last_notice_ = now;
    progress_.Message("vecino: waiting for the server (" + Printable(status.ToString()) +
                      "); trying for " + Duration(options_.retry_for));
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

  // The server's reason without the document's place, which means nothing to who reads the file.
  static std::string Reason(const Status& status) {
    std::string reason = status.ToString();
    constexpr std::string_view kPlace = "document.";
    for (size_t at; (at = reason.find(kPlace)) != std::string::npos;)
      reason.erase(at, kPlace.size());
    return reason;
  }

  static size_t WireSize(const Document& document) {
    constexpr size_t kOverhead = 32;
    return document.id.size() + document.text.size() + document.metadata_json.size() +
           document.vector.size() * sizeof(float) + kOverhead;
  }

  Client& client_;
  const LoadOptions& options_;
  const char* const unit_;
  const std::string source_;
  const std::atomic<bool>& interrupted_;
  std::unique_ptr<Ingest> stream_;  // used by the caller's thread

  absl::Mutex mutex_;
  absl::CondVar changed_;  // anything below
  Progress& progress_ ABSL_GUARDED_BY(mutex_);
  LoadReport report_ ABSL_GUARDED_BY(mutex_);
  std::map<int64_t, Open> open_ ABSL_GUARDED_BY(mutex_);  // by number
  std::unordered_set<std::string> ids_in_flight_ ABSL_GUARDED_BY(mutex_);
  int64_t last_line_ ABSL_GUARDED_BY(mutex_) = 0;  // read
  int64_t position_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t failed_untold_ ABSL_GUARDED_BY(mutex_) = 0;
  Status ended_ ABSL_GUARDED_BY(mutex_);  // not OK: the stream has ended
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
