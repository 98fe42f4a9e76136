#include "server/rpc/ingest_session.h"

#include <algorithm>
#include <iterator>
#include <limits>
#include <utility>

#include "absl/time/clock.h"
#include "server/rpc/message_stream.h"
#include "server/rpc/text.h"
#include "server/rpc/wire.h"

namespace vecino::rpc {
namespace {

// As many batches of 256 texts keep the model's threads busy to the last text of each.
constexpr int kMaxWork = 4;
constexpr size_t kCutItems = 256;
constexpr int64_t kCutBytes = 2 << 20;
// With fewer messages than this another worker is not worth its while.
constexpr size_t kWorthMessages = 32;
constexpr int64_t kWorthBytes = 256 << 10;
constexpr size_t kCommitItems = 1024;
// Of an answer; far from what a reply may have.
constexpr size_t kAnswerItems = 1000;
constexpr size_t kAnswerBytes = 512 << 10;
// Between attempts while the engine is full, growing.
constexpr absl::Duration kFirstWait = absl::Milliseconds(20), kLongestWait = absl::Seconds(1);
// Longer is no passing fullness.
constexpr absl::Duration kPatience = absl::Seconds(60);
// Of a store that refuses to write: the disk is full, which the caller should hear of.
constexpr absl::Duration kStorePatience = absl::Seconds(3), kStorePatienceAtStop = absl::Seconds(1);

}  // namespace

void IngestSession::Supersede() {
  absl::MutexLock lock(&mu_);
  Fail(absl::AbortedError(Concat("another stream goes on with resume_token `", start_.resume_token,
                                 "`; this one ends")));
  Pump();
}

bool IngestSession::HasRoom() const {
  const int64_t items = items_ + static_cast<int64_t>(raw_.size());
  if (items == 0) return true;
  return items < window_.documents() && bytes_ + raw_bytes_ < window_.bytes();
}

void IngestSession::Take(grpc::ByteBuffer message) {
  raw_bytes_ += static_cast<int64_t>(message.Length());
  raw_.push_back(std::move(message));
}

bool IngestSession::WorthCutting() const {
  if (raw_.empty() || cutting_) return false;
  if (running() == 0) return true;
  return running() < kMaxWork && refused_.empty() &&
         (raw_.size() >= kWorthMessages || raw_bytes_ >= kWorthBytes);
}

void IngestSession::Begin() {
  switch (phase_) {
    case Phase::kBegin: {
      if (raw_.empty()) return;
      phase_ = Phase::kOpening;
      grpc::ByteBuffer message = std::move(raw_.front());
      raw_.pop_front();
      raw_bytes_ -= static_cast<int64_t>(message.Length());
      Run([this, message = std::move(message)] { ReadStart(message); });
      return;
    }
    case Phase::kOpening:
      return;
    case Phase::kOpen:
      break;
  }
  if (WorthCutting()) {
    cutting_ = true;
    Run([this] { CutAndPrepare(); });
  }
  if (finish_ && raw_.empty() && uncommitted_ == 0 && forgotten_ == Forgotten::kNo) {
    forgotten_ = Forgotten::kRunning;
    Run([this] { Forget(); });
  }
}

bool IngestSession::Busy() const {
  return phase_ == Phase::kOpening || !raw_.empty() || cutting_ || uncommitted_ > 0 ||
         (finish_ && forgotten_ != Forgotten::kYes);
}

void IngestSession::ReadStart(const grpc::ByteBuffer& message) {
  absl::StatusOr<IngestStart> start = ReadIngestStart(message, handlers_.engine());
  {
    absl::MutexLock lock(&mu_);
    if (!start.ok()) return Fail(start.status());
    start_ = *std::move(start);
    opening_since_ = absl::Now();
  }
  if (!start_.resume_token.empty()) {
    handlers_.TakeOver(start_.collection, start_.resume_token,
                       std::static_pointer_cast<IngestSession>(shared_from_this()));
  }
  OpenStream();
}

void IngestSession::OpenStream() {
  auto stream =
      handlers_.engine().OpenIngest(start_.collection, start_.resume_token, start_.truncate);
  absl::MutexLock lock(&mu_);
  if (absl::IsAborted(stream.status())) {
    // The stream that this one takes over from finishes what it is at.
    Refused(stream.status(), kPatience, &opening_since_);
    return;
  }
  if (!stream.ok()) return Fail(stream.status());
  refusals_ = 0;
  window_ = IngestWindow();
  stream_ = *std::move(stream);
  reader_.emplace(start_);
  handlers_.Opened();
  done_through_ = static_cast<int64_t>(
      std::min<uint64_t>(stream_->done_through(), std::numeric_limits<int64_t>::max()));
  committed_through_ = stream_->done_through();
  window_.Done(stream_->Pressure().Highest(), handlers_.ByteShare());
  phase_ = Phase::kOpen;
}

void IngestSession::CutAndPrepare() {
  std::vector<grpc::ByteBuffer> messages;
  auto batch = std::make_shared<Batch>();
  absl::Status status;
  // The messages stand in the queue until they are counted as items: S3.
  size_t taken = 0;
  {
    absl::MutexLock lock(&mu_);
    int64_t bytes = 0;
    for (const grpc::ByteBuffer& message : raw_) {
      if (messages.size() == kCutItems || bytes >= kCutBytes) break;
      bytes += static_cast<int64_t>(message.Length());
      messages.push_back(message);  // counts slices, copies nothing
    }
  }
  while (status.ok() && taken < messages.size() && batch->writes.size() < kCutItems) {
    status = reader_->Read(messages[taken++], batch.get());
  }
  const auto items = static_cast<int64_t>(batch->writes.size());
  {
    absl::MutexLock lock(&mu_);
    for (size_t i = 0; i < taken; ++i) {
      raw_bytes_ -= static_cast<int64_t>(raw_.front().Length());
      raw_.pop_front();
    }
    items_ += items;
    uncommitted_ += items;
    bytes_ += batch->bytes;
    batch->number = next_number_;
    if (items > 0) ++next_number_;
    finish_ = finish_ || batch->finish;
    cutting_ = false;
    if (!status.ok()) {
      Fail(std::move(status));
    } else {
      Pump();  // another worker may cut, and more may be read
    }
  }
  if (items > 0) Prepare(std::move(batch));
}

void IngestSession::Prepare(std::shared_ptr<Batch> batch) {
  const absl::Status status = stream_->Prepare(absl::MakeSpan(batch->writes), context());
  {
    absl::MutexLock lock(&mu_);
    if (absl::IsResourceExhausted(status)) {
      Refused(status, kPatience, &batch->refused);
      refused_.push_back(std::move(batch));
      return;
    }
    if (!status.ok()) return Fail(status);
    batch->refused = absl::InfiniteFuture();
    prepared_.emplace(batch->number, std::move(batch));
  }
  CommitReady();
}

void IngestSession::CommitReady() {
  while (true) {
    std::vector<std::shared_ptr<Batch>> group;
    std::vector<engine::IngestWrite> writes;
    uint64_t done_through = 0;
    {
      absl::MutexLock lock(&mu_);
      if (committing_ || commit_refused_) return;
      for (auto it = prepared_.begin(); it != prepared_.end(); ++it) {
        const Batch& batch = *it->second;
        if (batch.number != next_commit_ + static_cast<int64_t>(group.size())) break;
        if (!group.empty() && writes.size() + batch.writes.size() > kCommitItems) break;
        group.push_back(it->second);
        for (engine::IngestWrite& write : it->second->writes) writes.push_back(std::move(write));
      }
      if (group.empty()) return;
      committing_ = true;
      done_through = committed_through_;
    }
    const absl::Status status = stream_->Commit(absl::MakeSpan(writes), done_through, context());
    const double pressure = status.ok() ? stream_->Pressure().Highest() : 0;
    auto from = std::make_move_iterator(writes.begin());
    for (const auto& batch : group) {
      for (engine::IngestWrite& write : batch->writes) write = *from++;
    }
    absl::MutexLock lock(&mu_);
    committing_ = false;
    if (absl::IsResourceExhausted(status)) {
      commit_refused_ = true;
      Refused(status, going_away() ? kStorePatienceAtStop : kStorePatience,
              &group.front()->refused);
      return;
    }
    if (!status.ok()) return Fail(status);
    for (const auto& batch : group) {
      prepared_.erase(batch->number);
      ++next_commit_;
      AddResults(*batch);
    }
    refusals_ = 0;
    window_.Done(pressure, handlers_.ByteShare());
    Pump();
  }
}

void IngestSession::AddResults(const Batch& batch) {
  for (size_t i = 0; i < batch.writes.size(); ++i) {
    Ready& ready = ready_.emplace_back();
    WriteIngestResult(batch, i, &ready.result);
    ready.bytes = batch.origins[i].bytes;
  }
  uncommitted_ -= static_cast<int64_t>(batch.writes.size());
  committed_through_ = std::max(committed_through_, batch.writes.back().item);
}

void IngestSession::Refused(const absl::Status& status, absl::Duration patience,
                            absl::Time* since) {
  const absl::Time now = absl::Now();
  *since = std::min(*since, now);
  if (now - *since >= patience) return Fail(status);
  window_.Refused();
  const int doublings = std::min(refusals_++, 10);
  WakeAt(now + std::min(kLongestWait, kFirstWait * (1 << doublings)));
}

void IngestSession::Woken() {
  if (failing()) return;
  if (phase_ == Phase::kOpening) {
    Run([this] { OpenStream(); });
    return;
  }
  for (std::shared_ptr<Batch>& batch : refused_) {
    Run([this, batch = std::move(batch)] { Prepare(batch); });
  }
  refused_.clear();
  if (commit_refused_) {
    commit_refused_ = false;
    Run([this] { CommitReady(); });
  }
}

void IngestSession::Forget() {
  const absl::Status status = stream_->Finish();
  absl::MutexLock lock(&mu_);
  if (!status.ok()) return Fail(status);
  forgotten_ = Forgotten::kYes;
}

void IngestSession::Settled() {
  // The next stream with the token waits for this.
  if (stream_ != nullptr) handlers_.Closed();
  stream_ = nullptr;
  raw_.clear();
  refused_.clear();
  prepared_.clear();
}

bool IngestSession::Answer(grpc::ByteBuffer* message) {
  if (phase_ != Phase::kOpen) return false;
  const bool go_away = going_away() && !told_going_away_;
  // When everything is answered the caller is told of a window that has grown again, too.
  if (told_first_ && !go_away && ready_.empty() && !window_.WorthTelling()) return false;
  v1::IngestDocumentsResponse response;
  if (!told_first_ || window_.WorthTelling()) {
    response.mutable_window()->set_documents(window_.documents());
    response.mutable_window()->set_bytes(window_.bytes());
    window_.Told();
  }
  size_t bytes = 0;
  for (size_t i = 0; i < kAnswerItems && bytes < kAnswerBytes && !ready_.empty(); ++i) {
    Ready& ready = ready_.front();
    bytes += ready.result.ByteSizeLong();
    done_through_ = std::max<int64_t>(done_through_, ready.result.seq());
    written_bytes_ += ready.bytes;
    ++written_items_;
    *response.add_results() = std::move(ready.result);
    ready_.pop_front();
  }
  response.set_done_through(done_through_);
  response.set_going_away(go_away);
  told_first_ = true;
  told_going_away_ = told_going_away_ || go_away;
  absl::Status status =
      WriteMessage(response, kMaxStreamMessageBytes, "this is a fault of the server", message);
  if (status.ok()) return true;
  Fail(std::move(status));
  return false;
}

void IngestSession::Answered() {
  items_ -= written_items_;
  bytes_ -= written_bytes_;
  written_items_ = written_bytes_ = 0;
}

}  // namespace vecino::rpc
