// Snapshots whose answers a test sets, and which remember what they were asked.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "server/engine/snapshots.h"

namespace vecino::rpc {

// Gives its reports, then how it ends.
class FakeCheck final : public engine::IntegrityCheck {
 public:
  FakeCheck(std::vector<engine::IntegrityReport> reports, absl::Status end)
      : reports_(reports.begin(), reports.end()), end_(std::move(end)) {}
  bool WakeWhenReady(const std::function<void()>&) override { return true; }
  absl::StatusOr<std::optional<engine::IntegrityReport>> Next() override {
    if (reports_.empty()) {
      if (!end_.ok()) return end_;
      return std::nullopt;
    }
    engine::IntegrityReport report = std::move(reports_.front());
    reports_.pop_front();
    return report;
  }

 private:
  std::deque<engine::IntegrityReport> reports_;
  const absl::Status end_;
};

class FakeSnapshots final : public engine::Snapshots {
 public:
  absl::Status failure;                          // of every method, unless OK
  std::vector<engine::SnapshotInfo> infos;       // in order of id
  std::vector<engine::Operation::Info> running;  // in order of creation
  std::vector<engine::IntegrityReport> reports;
  absl::Status end;  // of a check

  // What they were asked last.
  std::string id, operation;
  std::vector<std::string> collections;
  engine::RestoreRequest restore;
  engine::IntegrityRequest verify;
  absl::Duration timeout;

  absl::StatusOr<engine::Operation::Info> Create(std::string_view i,
                                                 std::span<const std::string> c) override {
    id = std::string(i);
    collections.assign(c.begin(), c.end());
    if (!failure.ok()) return failure;
    return running.at(0);
  }
  absl::StatusOr<std::vector<engine::SnapshotInfo>> List(std::string_view after,
                                                         int limit) const override {
    if (!failure.ok()) return failure;
    std::vector<engine::SnapshotInfo> found;
    for (const engine::SnapshotInfo& info : infos) {
      if (info.id > after && static_cast<int>(found.size()) < limit) found.push_back(info);
    }
    return found;
  }
  absl::Status Delete(std::string_view i) override {
    id = std::string(i);
    return failure;
  }
  absl::StatusOr<engine::Operation::Info> Restore(const engine::RestoreRequest& request) override {
    restore = request;
    if (!failure.ok()) return failure;
    return running.at(0);
  }
  absl::StatusOr<std::unique_ptr<engine::IntegrityCheck>> Verify(
      const engine::IntegrityRequest& request) override {
    verify = request;
    if (!failure.ok()) return failure;
    return std::make_unique<FakeCheck>(reports, end);
  }
  absl::StatusOr<engine::Operation::Info> GetOperation(std::string_view snapshot,
                                                       std::string_view i) const override {
    for (const auto& info : running) {
      if (info.collection == snapshot && info.id == i) return info;
    }
    return absl::NotFoundError("no such operation");
  }
  absl::StatusOr<std::vector<engine::Operation::Info>> ListOperations(std::string_view snapshot,
                                                                      std::string_view after,
                                                                      int limit) const override {
    std::vector<engine::Operation::Info> found;
    for (const auto& info : running) {
      if (info.collection == snapshot && info.id > after &&
          static_cast<int>(found.size()) < limit) {
        found.push_back(info);
      }
    }
    return found;
  }
  absl::Status CancelOperation(std::string_view snapshot, std::string_view i) override {
    id = std::string(snapshot);
    operation = std::string(i);
    return failure;
  }
  absl::Status DeleteOperation(std::string_view snapshot, std::string_view i) override {
    return CancelOperation(snapshot, i);
  }
  absl::StatusOr<engine::Operation::Info> WaitOperation(std::string_view snapshot,
                                                        std::string_view i, absl::Duration t,
                                                        const engine::CallContext&) const override {
    const_cast<FakeSnapshots*>(this)->timeout = t;
    return GetOperation(snapshot, i);
  }
};

}  // namespace vecino::rpc
