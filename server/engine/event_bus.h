// What maintenance and administration do, told to whoever watches.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace vecino::engine {

struct Event {
  enum class Kind {
    kDrain,
    kMerge,
    kRetrain,
    kRetrainStage,     // a retrain goes on to another stage
    kRetrainRejected,  // its build was not good enough; the old index serves on
    kCalibrate,
    kGraph,
    kFailure,
    kCollectionCreated,
    kCollectionUpdated,
    kCollectionDeleted,
    kAliasChanged,
    kOperationStarted,
    kOperationEnded,
    kMigration,
  };

  absl::Time time;         // set by Publish
  std::string collection;  // id; empty: of the server
  std::optional<int> shard;
  Kind kind = Kind::kFailure;
  std::string message;  // what happened and why, in a sentence
};

// Hands each event to every watcher. Events are news, not a record: nothing is kept for those who
// come later, and a watcher that does not read loses the oldest ones.
//
// Producers run at the lowest priority, so a lock that one of them holds may be held for long. The
// bus' lock is taken by producers and watchers only; who waits for an event is woken by a thread of
// the bus, not by a producer, which so never touches the locks of whoever waits.
//
// Thread safety: all methods are safe from any thread. None waits for a reader.
class EventBus {
 public:
  static constexpr size_t kRingEvents = 1024;  // that one watcher may be behind
  static constexpr size_t kMaxWatchers = 64;

  class Watcher {
   public:
    ~Watcher();
    Watcher(const Watcher&) = delete;
    Watcher& operator=(const Watcher&) = delete;

    struct Delivery {
      Event event;
      int64_t missed = 0;  // events lost right before this one
    };
    // The next event, in order; nullopt when there is none yet.
    std::optional<Delivery> Take();
    // True when Take has one now. Otherwise `wake` is called once, from a thread of the bus, when
    // it has, unless the watcher went before; then perhaps a moment later still. It must not block.
    bool WakeWhenReady(std::function<void()> wake);

   private:
    friend class EventBus;
    Watcher(EventBus* bus, std::string collection)
        : bus_(*bus), collection_(std::move(collection)) {}

    EventBus& bus_;
    const std::string collection_;  // empty: of all
    // Guarded by the bus' lock.
    std::deque<Event> events_;
    int64_t missed_ = 0;  // before events_.front()
    std::function<void()> wake_;
  };

  EventBus();
  ~EventBus();  // no watcher may be left

  // Adds the time. Does nothing when nobody watches.
  void Publish(Event event);
  // The same for an event of no shard; collection empty: of the server.
  void Publish(Event::Kind kind, std::string collection, std::string message) {
    Publish({.time = {},
             .collection = std::move(collection),
             .shard = std::nullopt,
             .kind = kind,
             .message = std::move(message)});
  }
  // collection: id, or empty for events of all. RESOURCE_EXHAUSTED when kMaxWatchers watch.
  absl::StatusOr<std::unique_ptr<Watcher>> Watch(std::string_view collection);

 private:
  void Run();

  absl::Mutex mu_;
  absl::CondVar changed_;
  std::vector<Watcher*> watchers_ ABSL_GUARDED_BY(mu_);
  bool due_ ABSL_GUARDED_BY(mu_) = false;  // a watcher is to be woken
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::thread thread_;
};

}  // namespace vecino::engine
