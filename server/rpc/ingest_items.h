// The messages of IngestDocuments and the engine's items.
#pragma once

#include <grpcpp/support/byte_buffer.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/engine/engine.h"
#include "vecino/v1/document_service.pb.h"

namespace vecino::rpc {

struct IngestStart {
  std::string collection;
  std::string given;  // the id that the caller names it by: this one, or an alias
  std::string resume_token;
  engine::Truncate truncate = engine::Truncate::kAuto;
  engine::WriteMode mode = engine::WriteMode::kUpsert;
};

// Reads the first message, and looks up an alias in it. INVALID_ARGUMENT naming the field.
absl::StatusOr<IngestStart> ReadIngestStart(const grpc::ByteBuffer& message,
                                            const engine::Engine& engine);

// Some items, in order.
struct IngestBatch {
  std::vector<engine::IngestWrite> writes;
  // Where each came from.
  struct Origin {
    int64_t bytes = 0;  // its share of its message
    int place = -1;     // in `items`; -1: a message of its own
  };
  std::vector<Origin> origins;
  int64_t bytes = 0;    // sum of the items'
  bool finish = false;  // the load is complete after them
};

// Reads the messages after the first. Thread safety: none.
class IngestReader {
 public:
  explicit IngestReader(const IngestStart& start)
      : collection_(start.collection), given_(start.given), mode_(start.mode) {}

  // Adds the items of a message. Faults of an item settle it. INVALID_ARGUMENT, which ends the
  // stream: a message that is none, or numbers that do not rise. Items before the fault are added.
  absl::Status Read(const grpc::ByteBuffer& message, IngestBatch* batch);

 private:
  absl::Status Add(v1::IngestDocument* document, const std::string& path,
                   IngestBatch::Origin origin, IngestBatch* batch);
  absl::Status Add(const v1::IngestDelete& erase, const std::string& path,
                   IngestBatch::Origin origin, IngestBatch* batch);
  absl::StatusOr<engine::IngestWrite*> AddNumber(int64_t seq, const std::string& path,
                                                 IngestBatch::Origin origin, IngestBatch* batch);

  const std::string collection_, given_;
  const engine::WriteMode mode_;
  int64_t last_seq_ = 0;
  bool finished_ = false;
};

// What became of item i of `batch`, whose result is final. Fields in its status are named by their
// paths in the message.
void WriteIngestResult(const IngestBatch& batch, size_t i, v1::IngestResult* out);

}  // namespace vecino::rpc
