// Client's stream of documents: what is not answered is kept, and sent again over a new connection.
#include <algorithm>
#include <condition_variable>
#include <cstdio>
#include <deque>
#include <mutex>
#include <random>
#include <thread>
#include <utility>

#include "client/conversions.h"
#include "client/error_details.h"
#include "client/impl.h"
#include "client/vecino/ingest.h"

namespace vecino {
namespace {

using Clock = std::chrono::steady_clock;
using Stream = grpc::ClientReaderWriter<v1::IngestDocumentsRequest, v1::IngestDocumentsResponse>;

// Of one message: far below any server's limit, and enough that messages cost little.
constexpr int kMessageItems = 256;
constexpr int64_t kMessageBytes = 512 << 10;
constexpr std::chrono::milliseconds kLook{100};  // at `stop`

// Worth another connection: the server is away or busy, or the connection broke midway.
bool IsTransient(Code code) {
  return code == Code::kUnavailable || code == Code::kResourceExhausted ||
         code == Code::kCancelled || code == Code::kInternal || code == Code::kUnknown ||
         code == Code::kDeadlineExceeded;
}

std::string RandomToken() {
  std::random_device random;
  char text[40];
  std::snprintf(text, sizeof text, "client-%08x%08x%08x", random(), random(), random());
  return text;
}

// The server names fields by their path in the message; the caller knows one document.
std::string WithoutPlace(std::string text) {
  for (const std::string_view start : {"items.items[", "document.document"}) {
    for (size_t at; (at = text.find(start)) != std::string::npos;) {
      size_t end = at + start.size();
      if (start.back() == '[') {
        end = text.find_first_not_of("0123456789", end);
        if (end == std::string::npos || text.compare(end, 2, "].") != 0) break;
        text.erase(at, end + 2 - at);
      } else {
        text.replace(at, start.size(), "document");
      }
    }
  }
  return text;
}

Status WithoutPlace(const Status& status) {
  return Status(status.code(), WithoutPlace(status.message()), WithoutPlace(status.field()));
}

}  // namespace

struct Ingest::Impl {
  struct Item {
    int64_t seq = 0;
    int64_t bytes = 0;
    bool answered = false;
    v1::IngestItem message;
  };
  enum class Goal { kMore, kClose, kFinish };

  v1::DocumentService::Stub* documents = nullptr;
  ClientOptions client;
  IngestOptions options;
  OnResult on_result;
  OnWaiting on_waiting;

  mutable std::mutex mutex;
  std::condition_variable changed;  // anything below
  bool opened = false;
  bool over = false;  // no thread sends or reads any more
  Status end;         // why, when it is over
  bool giving_up = false;
  Goal goal = Goal::kMore;
  int64_t opened_through = 0;
  int64_t last_seq = 0;
  int64_t window_items = 1, window_bytes = 1;

  std::deque<Item> items;                  // not answered, and answered ones behind such
  size_t sent = 0;                         // of items, from the front, over the connection at hand
  int64_t open_items = 0, open_bytes = 0;  // not answered
  grpc::ClientContext* context = nullptr;  // of the connection at hand
  bool going_away = false, read_all = false;
  bool said = false;  // that it is over, over the connection at hand
  int failures = 0;   // in a row
  Clock::time_point failing_since;

  std::thread driver;

  bool Stopped() const { return giving_up || (options.stop != nullptr && options.stop->load()); }

  // The driver: one connection after another.
  void Drive();
  Status Converse();
  void Send(Stream& stream);
  void Read(Stream& stream);
  void Apply(const v1::IngestDocumentsResponse& response);
  bool WaitToRetry(const Status& status);

  Status Add(int64_t seq, v1::IngestItem message);
  Status Flush(std::unique_lock<std::mutex>& lock);
  Status End(Goal how);
};

void Ingest::Impl::Drive() {
  while (true) {
    const Status status = Converse();
    {
      const std::lock_guard lock(mutex);
      const bool done = items.empty() && (goal == Goal::kClose || (said && status.ok()));
      if (done || giving_up || !(status.ok() || IsTransient(status.code()))) {
        over = true;
        end = done ? Status() : giving_up ? Status(Code::kCancelled, "given up") : status;
        changed.notify_all();
        return;
      }
    }
    const Status why =
        status.ok() ? Status(Code::kUnavailable, "the server ended the stream") : status;
    if (WaitToRetry(why)) continue;
    const std::lock_guard lock(mutex);
    over = true;
    end = why;
    changed.notify_all();
    return;
  }
}

bool Ingest::Impl::WaitToRetry(const Status& status) {
  std::chrono::nanoseconds wait;
  {
    const std::lock_guard lock(mutex);
    const auto now = Clock::now();
    if (failures++ == 0) failing_since = now;
    // A server that says it goes away is on its way back, and one that was reached may be at once.
    wait = internal::Backoff(client, failures);
    if (Stopped() || now + wait - failing_since > options.retry_for) return false;
  }
  if (on_waiting) on_waiting(status);
  std::unique_lock lock(mutex);
  const auto until = Clock::now() + wait;
  while (Clock::now() < until && !Stopped() && goal != Goal::kClose) {
    changed.wait_until(lock, std::min<Clock::time_point>(until, Clock::now() + kLook));
  }
  return !Stopped();
}

// One connection, until it ends; the status of the stream.
Status Ingest::Impl::Converse() {
  grpc::ClientContext call;
  {
    const std::lock_guard lock(mutex);
    if (giving_up) return Status(Code::kCancelled, "given up");
    // Nobody waits for anything.
    if (goal == Goal::kClose && items.empty()) return Status();
    context = &call;
    sent = 0;
    going_away = read_all = said = false;
  }
  const auto stream = documents->IngestDocuments(&call);
  v1::IngestDocumentsRequest start;
  start.mutable_start()->set_parent(internal::CollectionName(options.collection));
  start.mutable_start()->set_resume_token(options.resume_token);
  start.mutable_start()->set_truncate(internal::ToProto(options.truncate));
  start.mutable_start()->set_write_mode(internal::ToProto(options.write_mode));
  v1::IngestDocumentsResponse first;
  if (stream->Write(start) && stream->Read(&first)) {
    {
      const std::lock_guard lock(mutex);
      if (!opened) opened_through = first.done_through();
      opened = true;
      if (open_items == 0) failures = 0;
    }
    Apply(first);
    std::thread reader([&] { Read(*stream); });
    Send(*stream);
    reader.join();
  }
  const grpc::Status status = stream->Finish();
  const std::lock_guard lock(mutex);
  context = nullptr;
  return internal::FromGrpc(status);
}

void Ingest::Impl::Send(Stream& stream) {
  v1::IngestDocumentsRequest request;
  bool half_closed = false;
  while (!half_closed) {
    request.Clear();
    {
      std::unique_lock lock(mutex);
      const auto at_end = [this] { return goal != Goal::kMore && items.empty(); };
      changed.wait(lock, [&] {
        return read_all || giving_up || going_away || sent < items.size() || at_end();
      });
      if (read_all || giving_up) return;
      if (going_away || at_end()) {
        half_closed = true;
        said = !going_away;
        if (said && goal == Goal::kFinish) request.mutable_finish();
      } else {
        int64_t bytes = 0;
        auto& list = *request.mutable_items()->mutable_items();
        while (sent < items.size() && list.size() < kMessageItems && bytes < kMessageBytes) {
          const Item& item = items[sent++];
          if (item.answered) continue;
          bytes += item.bytes;
          *list.Add() = item.message;
        }
        if (list.empty()) continue;
      }
    }
    if (request.message_case() != v1::IngestDocumentsRequest::MESSAGE_NOT_SET &&
        !stream.Write(request)) {
      return;
    }
    if (half_closed) stream.WritesDone();
  }
}

void Ingest::Impl::Read(Stream& stream) {
  v1::IngestDocumentsResponse response;
  while (stream.Read(&response)) Apply(response);
  const std::lock_guard lock(mutex);
  read_all = true;
  changed.notify_all();
}

void Ingest::Impl::Apply(const v1::IngestDocumentsResponse& response) {
  std::vector<IngestResult> results;
  {
    const std::lock_guard lock(mutex);
    if (response.has_window()) {
      window_items = std::max(1, response.window().documents());
      window_bytes = std::max<int64_t>(1, response.window().bytes());
    }
    going_away = going_away || response.going_away();
    if (response.results_size() > 0) failures = 0;
    for (const v1::IngestResult& message : response.results()) {
      const auto item =
          std::lower_bound(items.begin(), items.end(), message.seq(),
                           [](const Item& one, int64_t seq) { return one.seq < seq; });
      if (item == items.end() || item->seq != message.seq() || item->answered) continue;
      IngestResult& result = results.emplace_back();
      result.seq = message.seq();
      result.status = WithoutPlace(internal::FromRpc(message.status()));
      if (message.has_write_token()) result.token = internal::FromProto(message.write_token());
      result.truncated = message.truncated();
      item->answered = true;
    }
  }
  for (const IngestResult& result : results) on_result(result);
  const std::lock_guard lock(mutex);
  // Only now, so that who waits for all answers finds that all were told.
  open_items -= static_cast<int64_t>(results.size());
  while (!items.empty() && items.front().answered) {
    open_bytes -= items.front().bytes;
    items.pop_front();
    if (sent > 0) --sent;
  }
  changed.notify_all();
}

Status Ingest::Impl::Add(int64_t seq, v1::IngestItem message) {
  const auto bytes = static_cast<int64_t>(message.ByteSizeLong());
  std::unique_lock lock(mutex);
  if (goal != Goal::kMore) return Status(Code::kFailedPrecondition, "the stream was closed");
  if (seq <= last_seq) {
    return Status(Code::kInvalidArgument,
                  "seq " + std::to_string(seq) + " after " + std::to_string(last_seq) +
                      ": each must be above those before, and at least 1",
                  "seq");
  }
  const auto room = [&] {
    return open_items == 0 || (open_items < window_items && open_bytes + bytes <= window_bytes);
  };
  while (!over && !Stopped() && !room()) changed.wait_for(lock, kLook);
  if (over) return end.ok() ? Status(Code::kCancelled, "the stream has ended") : end;
  if (Stopped()) return Status(Code::kCancelled, "stopped");
  last_seq = seq;
  items.push_back({.seq = seq, .bytes = bytes, .answered = false, .message = std::move(message)});
  ++open_items;
  open_bytes += bytes;
  changed.notify_all();
  return Status();
}

Status Ingest::Impl::Flush(std::unique_lock<std::mutex>& lock) {
  // Also when stopped: what the server has is waited for. Where there is none, the driver gives up.
  while (!over && open_items > 0) changed.wait_for(lock, kLook);
  return over ? end : Status();
}

Status Ingest::Impl::End(Goal how) {
  {
    std::unique_lock lock(mutex);
    if (goal == Goal::kMore) {
      if (Status status = Flush(lock); !status.ok()) return status;
      goal = how;
      changed.notify_all();
    }
    while (!over) changed.wait_for(lock, kLook);
  }
  if (driver.joinable()) driver.join();
  return end;
}

Ingest::Ingest(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Ingest::~Ingest() {
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->giving_up = true;
    if (impl_->context != nullptr && !impl_->over) impl_->context->TryCancel();
    impl_->changed.notify_all();
  }
  if (impl_->driver.joinable()) impl_->driver.join();
}

Result<std::unique_ptr<Ingest>> Ingest::Open(Client& client, const IngestOptions& options,
                                             OnResult on_result, OnWaiting on_waiting) {
  if (Status status = internal::CheckUtf8(options.collection, "start.parent"); !status.ok()) {
    return status;
  }
  if (Status status = internal::CheckUtf8(options.resume_token, "start.resume_token");
      !status.ok()) {
    return status;
  }
  auto impl = std::make_unique<Impl>();
  impl->documents = client.impl_->documents.get();
  impl->client = client.impl_->options;
  impl->options = options;
  if (impl->options.resume_token.empty()) impl->options.resume_token = RandomToken();
  impl->on_result = std::move(on_result);
  impl->on_waiting = std::move(on_waiting);
  std::unique_ptr<Ingest> ingest(new Ingest(std::move(impl)));
  Impl& held = *ingest->impl_;
  held.driver = std::thread([&held] { held.Drive(); });
  std::unique_lock lock(held.mutex);
  while (!held.over && !held.opened) held.changed.wait_for(lock, kLook);
  if (held.opened) return ingest;
  Status end = held.end;
  lock.unlock();
  return end;
}

int64_t Ingest::done_through() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->opened_through;
}

Status Ingest::Write(int64_t seq, const Document& document) {
  v1::IngestItem message;
  v1::IngestDocument& item = *message.mutable_document();
  Status status = internal::ToProto(document, "document", item.mutable_document());
  if (!status.ok()) return status;
  item.set_seq(seq);
  return impl_->Add(seq, std::move(message));
}

Status Ingest::Delete(int64_t seq, const std::string& id) {
  if (Status status = internal::CheckUtf8(id, "delete.id"); !status.ok()) return status;
  v1::IngestItem message;
  message.mutable_delete_()->set_seq(seq);
  message.mutable_delete_()->set_id(id);
  return impl_->Add(seq, std::move(message));
}

Status Ingest::Flush() {
  std::unique_lock lock(impl_->mutex);
  return impl_->Flush(lock);
}

Status Ingest::Finish() { return impl_->End(Impl::Goal::kFinish); }
Status Ingest::Close() { return impl_->End(Impl::Goal::kClose); }

}  // namespace vecino
