#include "server/rpc/request_ids.h"

#include <stop_token>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/hash/hash.h"
#include "absl/strings/ascii.h"
#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"
#include "server/rpc/text.h"

namespace vecino::rpc {
namespace {

constexpr char kField[] = "request_id";
constexpr size_t kLongestShown = 64;  // bytes of an id at fault in an error

// The same for equal messages, whatever order their maps are in; for this process only.
uint64_t DigestOf(const google::protobuf::Message& message) {
  std::string bytes;
  {
    google::protobuf::io::StringOutputStream stream(&bytes);
    google::protobuf::io::CodedOutputStream coded(&stream);
    coded.SetSerializationDeterministic(true);
    message.SerializeToCodedStream(&coded);
  }
  return absl::HashOf(message.GetTypeName(), bytes);
}

}  // namespace

absl::Status CheckRequestId(std::string_view id) {
  constexpr std::string_view kForm = "xxxxxxxx-xxxx-4xxx-Vxxx-xxxxxxxxxxxx";
  constexpr std::string_view kVariant = "89abAB";
  bool good = id.size() == kForm.size();
  for (size_t i = 0; good && i < id.size(); ++i) {
    switch (kForm[i]) {
      case 'x':
        good = absl::ascii_isxdigit(static_cast<unsigned char>(id[i]));
        break;
      case 'V':
        good = kVariant.find(id[i]) != std::string_view::npos;
        break;
      default:
        good = id[i] == kForm[i];
    }
  }
  if (good) return absl::OkStatus();
  return engine::InvalidField(
      kField, Concat("must be a UUID of version 4, such as 3f8e0c52-9d4b-4c6e-8a1f-52b7d0e4a913, "
                     "not `",
                     Printable(id, kLongestShown), "`"));
}

absl::Status RequestIds::Run(const std::string& key, const google::protobuf::Message& request,
                             const engine::CallContext& context,
                             google::protobuf::Message* response,
                             absl::FunctionRef<absl::Status()> fn) {
  std::shared_ptr<Entry> entry;
  bool first = false;
  if (absl::Status status = Find(key, DigestOf(request), context, &entry, &first); !status.ok()) {
    return status;
  }
  if (!first) {
    if (response->ParseFromString(entry->reply)) return absl::OkStatus();
    return absl::InternalError("a reply that was kept for a repeated request cannot be read");
  }
  // Also where memory runs out, which is an exception.
  absl::Cleanup fail = [&] { Fail(key, entry.get()); };
  absl::Status status = fn();
  if (!status.ok()) return status;
  Keep(key, response->SerializeAsString(), entry.get());
  std::move(fail).Cancel();
  return absl::OkStatus();
}

absl::Status RequestIds::Find(const std::string& key, uint64_t digest,
                              const engine::CallContext& context, std::shared_ptr<Entry>* entry,
                              bool* first) {
  const auto made = std::make_shared<Entry>();
  made->digest = digest;
  // Runs at once when the caller has gone already, so before the lock is taken.
  const std::stop_callback wake(context.stop, [this] {
    absl::MutexLock lock(&mu_);
    ended_.SignalAll();
  });
  absl::MutexLock lock(&mu_);
  while (true) {
    Forget();
    const auto [it, is_new] = entries_.try_emplace(key, made);
    *entry = it->second;
    *first = is_new;
    if (is_new) return absl::OkStatus();
    if ((*entry)->digest != digest) {
      return engine::InvalidField(
          kField, "is that of another request to this collection; a new request needs a new one");
    }
    while ((*entry)->state == Entry::State::kRunning) {
      if (context.stop.stop_requested()) {
        return absl::CancelledError(
            "the caller went away while a request with the same request_id was done");
      }
      if (absl::Now() >= context.deadline) {
        return absl::DeadlineExceededError(
            "the deadline passed while a request with the same request_id was done");
      }
      ended_.WaitWithDeadline(&mu_, context.deadline);
    }
    if ((*entry)->state == Entry::State::kDone) return absl::OkStatus();
  }
}

void RequestIds::Fail(const std::string& key, Entry* entry) {
  absl::MutexLock lock(&mu_);
  entry->state = Entry::State::kFailed;
  entries_.erase(key);
  ended_.SignalAll();
}

void RequestIds::Keep(const std::string& key, std::string reply, Entry* entry) {
  absl::MutexLock lock(&mu_);
  done_.push_back(key);  // first: it may run out of memory, and nothing is kept then
  entry->reply = std::move(reply);
  entry->forget = clock_() + limits_.age;
  entry->state = Entry::State::kDone;
  bytes_ += BytesOf(key, *entry);
  Forget();
  ended_.SignalAll();
}

void RequestIds::Forget() {
  const absl::Time now = clock_();
  while (!done_.empty()) {
    const auto it = entries_.find(done_.front());
    if (done_.size() <= limits_.replies && bytes_ <= limits_.bytes && now < it->second->forget) {
      return;
    }
    bytes_ -= BytesOf(it->first, *it->second);
    entries_.erase(it);
    done_.pop_front();
  }
}

size_t RequestIds::BytesOf(const std::string& key, const Entry& entry) {
  return sizeof(Entry) + 2 * (sizeof(std::string) + key.size()) + entry.reply.size();
}

size_t RequestIds::size() {
  absl::MutexLock lock(&mu_);
  Forget();
  return done_.size();
}

}  // namespace vecino::rpc
