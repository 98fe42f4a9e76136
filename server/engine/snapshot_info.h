// Snapshots, and checks of stored data, as the engine tells of them. Plain values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace vecino::engine {

struct SnapshotInfo {
  struct Collection {
    std::string id;
    int64_t documents = 0;
  };
  std::string id;
  absl::Time create_time;      // the moment that it shows
  std::string server_version;  // that wrote it
  std::vector<Collection> collections;
  int64_t documents = 0;  // of all of them
  int64_t bytes = 0;      // on the disk
  absl::Status damage;    // why it cannot be restored, when its manifest cannot be read
};

// What an operation on a snapshot does, and what came of it.
struct SnapshotWork {
  std::vector<std::string> collections;  // ids; of kRestore those that are made
  std::optional<SnapshotInfo> made;      // of kSnapshot, when done
};

struct RestoreRequest {
  std::string snapshot;
  std::string source;      // id of one of its collections; empty: all
  std::string collection;  // id that it becomes; empty: as it was. Only with one collection
};

struct IntegrityRequest {
  std::string collection;  // id or alias; empty: see snapshot
  std::string snapshot;    // id; both empty: every collection, every table file and snapshot
};

// What a check says next: a finding, or how far it is.
struct IntegrityReport {
  struct Finding {
    std::string collection;  // id; empty: of none
    std::string snapshot;    // id; empty: of none
    std::string where;       // a file, or a row
    std::string problem;     // what is wrong
    std::string advice;      // what to do
  };
  std::optional<Finding> finding;
  // So far.
  std::string
      stage;  // "files", "documents of collection `c`, shard 0", "index of …", "snapshot `s`"
  int64_t rows = 0, bytes = 0, findings = 0;
  bool done = false;  // the last report
};

}  // namespace vecino::engine
