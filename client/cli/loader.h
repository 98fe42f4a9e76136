// Sends records to a collection over a stream that goes on where it was broken off.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <string>

#include "client/cli/progress.h"
#include "client/cli/record_reader.h"
#include "vecino/client.h"

namespace vecino::cli {

struct LoadOptions {
  std::string collection;
  // Names the load, for going on with it after it was broken off; empty: that cannot be.
  std::string resume_token;
  // With neither of the two below: so many documents, or about so many bytes of them, are looked up
  // at once.
  int batch_documents = 256;
  size_t batch_bytes = size_t{2} << 20;
  bool overwrite = false;  // false: documents whose id is stored are skipped
  // Stored ids are not looked for: the server refuses them, one by one. Not with overwrite.
  bool insert_only = false;
  bool fail_fast = false;                       // stop at the first record that fails
  int max_errors = 20;                          // failed records told one by one
  std::chrono::milliseconds retry_for{60'000};  // how long a server that went away is waited for
  Truncate truncate = Truncate::kAuto;
};

struct LoadReport {
  int64_t loaded = 0;     // acknowledged by the server
  int64_t skipped = 0;    // stored already
  int64_t failed = 0;     // malformed, or refused
  int64_t truncated = 0;  // of those loaded: longer than the model's window
  int64_t resumed = 0;    // done by a run before that was broken off, and passed over
  // All records up to and with this line (row, for npy) were dealt with.
  int64_t last_line = 0;
  bool interrupted = false;
  Status status;  // why the load ended early, when it was neither the input's end nor an interrupt
};

// Runs the load. Documents with the same id keep the order of the input: without `overwrite` the
// first stays, with it the last; with `insert_only` the first stays and the others fail. Failed
// records, waits for the server and progress go to `progress`. `position` tells the bytes read so
// far. Blocks until all is done; `interrupted` (set by a signal handler) ends it once what was sent
// is answered: what was read beyond it is for the next run. A load that came to its end leaves
// nothing to go on with.
LoadReport Load(Client& client, RecordReader& reader, const LoadOptions& options,
                const std::string& source, const std::function<int64_t()>& position,
                const std::atomic<bool>& interrupted, Progress& progress);

}  // namespace vecino::cli
