// Opens document streams, and sees that they are few and do not live for ever.
#pragma once

#include <memory>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/engine/collection.h"
#include "server/engine/document_stream.h"
#include "storage/store.h"

namespace vecino::engine {

// Each stream holds a snapshot of the store, which keeps what was replaced or deleted since on the
// disk. So their number and their age are limited: a snapshot that has come of age is given back by
// a thread of this object, whether or not its reader ever asks for more.
//
// Thread safety: all methods are safe from any thread.
class DocumentStreams {
 public:
  struct Options {
    int max_open = 16;
    absl::Duration max_age = absl::Hours(1);  // infinite: no limit
  };

  // `store` must outlive it.
  DocumentStreams(const Options& options, const storage::Store* store);
  ~DocumentStreams();  // no stream may be left

  // INVALID_ARGUMENT (slice, position, filter), RESOURCE_EXHAUSTED when max_open hold a snapshot.
  absl::StatusOr<std::unique_ptr<DocumentStream>> Open(std::shared_ptr<const Collection> collection,
                                                       const DocumentStreamRequest& request);
  // Those that hold a snapshot.
  int open() const;

 private:
  class Lease;
  class Stream;

  int OpenLocked() const ABSL_SHARED_LOCKS_REQUIRED(mu_);

  void Run();

  const Options options_;
  const storage::Store& store_;
  mutable absl::Mutex mu_;
  absl::CondVar changed_;
  std::vector<Lease*> leases_ ABSL_GUARDED_BY(mu_);
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::thread thread_;
};

}  // namespace vecino::engine
