// Snapshots, and checks of what a server stores, as the client has them. Plain values.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "vecino/types.h"

namespace vecino {

struct SnapshotCollection {
  std::string id;
  int64_t documents = 0;
};

// A copy of collections at one moment.
struct Snapshot {
  std::string id;
  std::chrono::system_clock::time_point create_time;  // the moment that it shows
  std::string server_version;                         // that made it
  std::vector<SnapshotCollection> collections;        // by id
  int64_t documents = 0;                              // of all of them
  int64_t bytes = 0;                                  // of its files
  std::string damage;  // why it cannot be restored, when its manifest cannot be read; else empty
};

// A snapshot that is made, or restored.
struct SnapshotOperation {
  enum class Type { kCreate, kRestore };
  std::string snapshot;  // its id
  std::string id;
  Type type = Type::kCreate;
  std::vector<std::string> collections;                         // ids of those copied, or made
  std::chrono::system_clock::time_point create_time, end_time;  // end: the epoch until it is done
  bool done = false, cancel_requested = false;
  Status status;      // when done
  std::string stage;  // "waiting", "checking", "copying", "indexing", "done", "cancelled", "failed"
  int64_t rows_done = 0, rows_total = 0;  // of the stage; total about, 0: not known
  std::optional<Snapshot> made;           // kCreate, once it succeeded
};

// Something that is wrong with what is stored.
struct IntegrityFinding {
  std::string collection, snapshot;  // id of what it is of; both empty: of the store as a whole
  std::string location;              // a file, or a row, in words
  std::string problem;
  std::string advice;  // what to do about it
};

// What a check says: something it found, or how far it is.
struct IntegrityReport {
  std::optional<IntegrityFinding> finding;
  std::string stage;                          // what is looked at
  int64_t rows = 0, bytes = 0, findings = 0;  // so far
  bool done = false;                          // the last one
};

// An error ends the check and is its result.
using IntegrityFn = std::function<Status(const IntegrityReport& report)>;

}  // namespace vecino
