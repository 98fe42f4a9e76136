// A stream of documents into a collection, that goes on where it was when the connection breaks or
// either side starts anew. No proto or gRPC type is in this header.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "vecino/client.h"

namespace vecino {

struct IngestOptions {
  std::string collection;
  // Names the load, 1 to 128 bytes of UTF-8: another Ingest with the same token, also of another
  // process, goes on behind what this one had done. Empty: a random one, so that each item is done
  // once though connections break, and nobody else can go on.
  std::string resume_token;
  Truncate truncate = Truncate::kAuto;
  WriteMode write_mode = WriteMode::kUpsert;
  // How long the server may be away, or answer nothing but that it cannot now.
  std::chrono::milliseconds retry_for{60'000};
  // When it becomes true, calls that wait give up with CANCELLED, and a server that is away is not
  // waited for. May be null; looked at ten times a second. Outlives the Ingest.
  const std::atomic<bool>* stop = nullptr;
};

// What became of one item.
struct IngestResult {
  int64_t seq = 0;
  Status status;
  std::optional<WriteToken> token;  // absent when it was not done on this connection
  bool truncated = false;
};

// Each item has a number that the caller gives, above those before; with a resume token the same
// item must have the same number in every process. An item is done exactly once, in the order of
// the numbers where the id is the same, and is durable and found by searches when its result comes.
//
// Keeps what is not answered, which is bounded by the window that the server tells.
//
// Thread safety: Write, Delete, Flush, Finish and Close from one thread at a time. The functions
// given to Open are called by a thread of the Ingest, one at a time, and must not call it. None
// throws.
class Ingest {
 public:
  using OnResult = std::function<void(const IngestResult& result)>;
  // The connection broke, or the server cannot now; it is tried again.
  using OnWaiting = std::function<void(const Status& why)>;

  // Blocks until the server has opened the stream. Errors: the server's, UNAVAILABLE after
  // retry_for.
  static Result<std::unique_ptr<Ingest>> Open(Client& client, const IngestOptions& options,
                                              OnResult on_result, OnWaiting on_waiting = nullptr);
  // Gives up what is not answered, unless Finish or Close was called.
  ~Ingest();
  Ingest(const Ingest&) = delete;
  Ingest& operator=(const Ingest&) = delete;

  // Items up to this number were done by whoever had the token before: they need not be written
  // (and are answered without being done when they are).
  int64_t done_through() const;

  // Blocks while the window is full. INVALID_ARGUMENT, and the item is not sent and gets no result,
  // for a string that is not UTF-8, metadata that is no JSON object, a number that does not rise;
  // otherwise why the stream has ended.
  Status Write(int64_t seq, const Document& document);
  Status Delete(int64_t seq, const std::string& id);

  // Blocks until everything is answered, or the stream has ended: then why.
  Status Flush();
  // As Flush; then ends the stream. Finish: the load is complete, and the server forgets the token.
  // Close: it can be taken up.
  Status Finish();
  Status Close();

 private:
  struct Impl;
  explicit Ingest(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace vecino
