// Requests that bring a `request_id` (AIP-155): a repeat gets the first reply again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "google/protobuf/message.h"
#include "server/engine/types.h"

namespace vecino::rpc {

// INVALID_ARGUMENT, naming the field `request_id`, unless `id` is a UUID of version 4 in its usual
// form of 36 characters.
absl::Status CheckRequestId(std::string_view id);

// A reply is kept until one of these is passed; then the oldest goes.
struct RequestIdLimits {
  size_t replies = 10'000;
  size_t bytes = size_t{64} << 20;  // serialized, with about what it takes to keep them
  absl::Duration age = absl::Minutes(10);
};

// Replies by the id of their request, in memory: a restart forgets them.
//
// Thread safety: all methods are safe from any thread.
class RequestIds {
 public:
  using Clock = std::function<absl::Time()>;

  explicit RequestIds(
      RequestIdLimits limits = {}, Clock clock = [] { return absl::Now(); })
      : limits_(limits), clock_(std::move(clock)) {}

  // Calls `fn`, which fills *response, and keeps the reply when it is OK, under `key`; or sets
  // *response to the reply that is kept. While another call with the key runs, it waits for that
  // one's end: CANCELLED, DEADLINE_EXCEEDED. An error of `fn` is returned and not kept: whoever
  // comes next, or waits, does the work itself. INVALID_ARGUMENT when `request`, all of it, is not
  // the one that the key stands for.
  absl::Status Run(const std::string& key, const google::protobuf::Message& request,
                   const engine::CallContext& context, google::protobuf::Message* response,
                   absl::FunctionRef<absl::Status()> fn);

  // Replies that are kept now.
  size_t size();

 private:
  // Whoever runs or waits holds one, so that it outlives its place in the table.
  struct Entry {
    enum class State { kRunning, kDone, kFailed };
    State state = State::kRunning;  // under mu_
    uint64_t digest = 0;            // of the request
    std::string reply;              // does not change from kDone on
    absl::Time forget;              // from kDone on: when
  };
  using Table = absl::flat_hash_map<std::string, std::shared_ptr<Entry>>;

  // Who is first gets an entry that is kRunning, others the one that is kDone.
  absl::Status Find(const std::string& key, uint64_t digest, const engine::CallContext& context,
                    std::shared_ptr<Entry>* entry, bool* first);
  void Fail(const std::string& key, Entry* entry);
  void Keep(const std::string& key, std::string reply, Entry* entry);
  void Forget() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  static size_t BytesOf(const std::string& key, const Entry& entry);

  const RequestIdLimits limits_;
  const Clock clock_;

  absl::Mutex mu_;
  absl::CondVar ended_;  // a call ended, or a caller that waits went away
  Table entries_ ABSL_GUARDED_BY(mu_);
  std::deque<std::string> done_ ABSL_GUARDED_BY(mu_);  // keys of those kDone, oldest first
  size_t bytes_ ABSL_GUARDED_BY(mu_) = 0;              // of those kDone
};

}  // namespace vecino::rpc
