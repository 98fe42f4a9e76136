// DocumentService.StreamDocuments: the documents of one moment as messages, each with a place to go
// on from.
#pragma once

#include <algorithm>
#include <cstddef>
#include <deque>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "server/engine/engine.h"
#include "server/rpc/message_stream.h"
#include "vecino/v1/document_service.pb.h"

namespace vecino::rpc {

class DocumentsStream final : public TypedStream<v1::StreamDocumentsResponse> {
 public:
  // Checks the request and takes the snapshot. Only a document of its own makes a message larger
  // than kMaxStreamMessageBytes, up to `max_reply_bytes`, or 2 MiB if that is more.
  // INVALID_ARGUMENT, and the errors of Engine::OpenDocumentStream.
  static absl::StatusOr<std::unique_ptr<MessageStream>> Open(
      engine::Engine& engine, const v1::StreamDocumentsRequest& request, size_t max_reply_bytes,
      const engine::CallContext& context);

 private:
  DocumentsStream(std::unique_ptr<engine::DocumentStream> documents, engine::CallContext context,
                  std::string scope, size_t max_reply_bytes)
      : documents_(std::move(documents)),
        context_(std::move(context)),
        scope_(std::move(scope)),
        max_message_bytes_(std::max(max_reply_bytes, kLeastBytes)) {}

  // A document without the vectors of its passages always fits: a text of 1 MiB, metadata of 64 KiB
  // that a Struct makes six times as large, a vector of 64 KiB, places of 4,096 passages of 16
  // bytes. With the vectors of as many passages it is of any size.
  static constexpr size_t kLeastBytes = 2 * kMaxStreamMessageBytes;

  size_t max_message_bytes() const override { return max_message_bytes_; }
  absl::StatusOr<bool> Fill(v1::StreamDocumentsResponse* response) override;

  const std::unique_ptr<engine::DocumentStream> documents_;
  const engine::CallContext context_;
  const std::string scope_;  // what a resume token is good for
  const size_t max_message_bytes_;
  engine::DocumentChunk chunk_;                   // the last that was read
  std::deque<engine::StreamedDocument> pending_;  // of it, to be sent
};

}  // namespace vecino::rpc
