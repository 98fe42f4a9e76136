#include "server/engine/event_bus.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace vecino::engine {

EventBus::EventBus() : thread_([this] { Run(); }) {}

EventBus::~EventBus() {
  {
    absl::MutexLock lock(&mu_);
    stopping_ = true;
    changed_.Signal();
  }
  thread_.join();
}

void EventBus::Publish(Event event) {
  event.time = absl::Now();
  absl::MutexLock lock(&mu_);
  for (Watcher* watcher : watchers_) {
    if (!watcher->collection_.empty() && watcher->collection_ != event.collection) continue;
    if (watcher->events_.size() == kRingEvents) {
      watcher->events_.pop_front();
      ++watcher->missed_;
    }
    watcher->events_.push_back(event);
    if (watcher->wake_ != nullptr) due_ = true;
  }
  if (due_) changed_.Signal();
}

absl::StatusOr<std::unique_ptr<EventBus::Watcher>> EventBus::Watch(std::string_view collection) {
  std::unique_ptr<Watcher> watcher(new Watcher(this, std::string(collection)));
  {
    absl::MutexLock lock(&mu_);
    if (watchers_.size() < kMaxWatchers) {
      watchers_.push_back(watcher.get());
      return watcher;
    }
  }
  return absl::ResourceExhaustedError(absl::StrCat(
      kMaxWatchers, " callers watch events already, which is the limit; end one of them"));
}

void EventBus::Run() {
  std::vector<std::function<void()>> wakes;
  mu_.Lock();
  while (!stopping_) {
    due_ = false;
    for (Watcher* watcher : watchers_) {
      if (watcher->events_.empty() || watcher->wake_ == nullptr) continue;
      wakes.push_back(std::exchange(watcher->wake_, nullptr));
    }
    mu_.Unlock();
    for (const std::function<void()>& wake : wakes) wake();
    wakes.clear();
    mu_.Lock();
    while (!due_ && !stopping_) changed_.Wait(&mu_);
  }
  mu_.Unlock();
}

EventBus::Watcher::~Watcher() {
  absl::MutexLock lock(&bus_.mu_);
  std::erase(bus_.watchers_, this);
}

std::optional<EventBus::Watcher::Delivery> EventBus::Watcher::Take() {
  absl::MutexLock lock(&bus_.mu_);
  if (events_.empty()) return std::nullopt;
  Delivery delivery{std::move(events_.front()), std::exchange(missed_, 0)};
  events_.pop_front();
  return delivery;
}

bool EventBus::Watcher::WakeWhenReady(std::function<void()> wake) {
  absl::MutexLock lock(&bus_.mu_);
  if (!events_.empty()) return true;
  wake_ = std::move(wake);
  return false;
}

}  // namespace vecino::engine
