#include "storage/rocksdb_status.h"

#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace vecino::storage {
namespace {

absl::StatusCode CodeOfIOError(const rocksdb::Status& status) {
  // A file RocksDB's manifest names is not there: stored data is gone.
  if (status.IsPathNotFound()) return absl::StatusCode::kDataLoss;
  if (status.IsNoSpace() || status.subcode() == rocksdb::Status::kSpaceLimit)
    return absl::StatusCode::kResourceExhausted;
  return absl::StatusCode::kUnavailable;
}

absl::StatusCode CodeOf(const rocksdb::Status& status) {
  switch (status.code()) {
    case rocksdb::Status::kOk:
      return absl::StatusCode::kOk;
    case rocksdb::Status::kNotFound:
      return absl::StatusCode::kNotFound;
    case rocksdb::Status::kCorruption:
      return absl::StatusCode::kDataLoss;
    case rocksdb::Status::kIOError:
      return CodeOfIOError(status);
    case rocksdb::Status::kAborted:
      return status.IsMemoryLimit() ? absl::StatusCode::kResourceExhausted
                                    : absl::StatusCode::kUnavailable;
    case rocksdb::Status::kIncomplete:  // writes are stalled behind a background error
    case rocksdb::Status::kShutdownInProgress:
    case rocksdb::Status::kTimedOut:
    case rocksdb::Status::kBusy:
    case rocksdb::Status::kExpired:
    case rocksdb::Status::kTryAgain:
      return absl::StatusCode::kUnavailable;
    case rocksdb::Status::kNotSupported:  // written with features this build lacks
      return absl::StatusCode::kFailedPrecondition;
    case rocksdb::Status::kInvalidArgument:  // from here on: a mistake of ours
    case rocksdb::Status::kMergeInProgress:
    case rocksdb::Status::kCompactionTooLarge:
    case rocksdb::Status::kColumnFamilyDropped:
    case rocksdb::Status::kMaxCode:
      return absl::StatusCode::kInternal;
  }
  return absl::StatusCode::kInternal;
}

}  // namespace

absl::Status ToStatus(const rocksdb::Status& status, std::string_view doing) {
  const absl::StatusCode code = CodeOf(status);
  if (code == absl::StatusCode::kOk) return absl::OkStatus();
  std::string message = absl::StrCat(std::string(doing), ": ", status.ToString());
  if (code == absl::StatusCode::kResourceExhausted) {
    absl::StrAppend(&message, "; free disk space and try again");
  } else if (code == absl::StatusCode::kDataLoss) {
    absl::StrAppend(&message, "; restore the data folder from a backup");
  }
  return absl::Status(code, message);
}

bool IsLockHeld(const rocksdb::Status& status) {
  // RocksDB has no code of its own for this. The first text is for this process, the second for
  // others.
  return status.IsIOError() &&
         (absl::StrContains(status.ToString(), "lock hold by current process") ||
          absl::StrContains(status.ToString(), "While lock file"));
}

}  // namespace vecino::storage
