// DocumentService.StreamDocuments: the documents of one moment as messages, each with a place to go
// on from.
#pragma once

#include <cstddef>
#include <deque>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/engine/engine.h"
#include "server/rpc/message_stream.h"
#include "vecino/v1/document_service.pb.h"

namespace vecino::rpc {

class DocumentsStream final : public TypedStream<v1::StreamDocumentsResponse> {
 public:
  // Checks the request and takes the snapshot. INVALID_ARGUMENT, and the errors of
  // Engine::OpenDocumentStream.
  static absl::StatusOr<std::unique_ptr<MessageStream>> Open(
      engine::Engine& engine, const v1::StreamDocumentsRequest& request,
      const engine::CallContext& context);

 private:
  DocumentsStream(std::unique_ptr<engine::DocumentStream> documents, engine::CallContext context,
                  std::string scope)
      : documents_(std::move(documents)), context_(std::move(context)), scope_(std::move(scope)) {}

  // One document can take more than kMaxStreamMessageBytes alone: a text of 1 MiB, metadata of
  // 64 KiB that a Struct makes six times as large, a vector of 64 KiB.
  size_t max_message_bytes() const override { return 2 * kMaxStreamMessageBytes; }
  absl::StatusOr<bool> Fill(v1::StreamDocumentsResponse* response) override;

  const std::unique_ptr<engine::DocumentStream> documents_;
  const engine::CallContext context_;
  const std::string scope_;                       // what a resume token is good for
  engine::DocumentChunk chunk_;                   // the last that was read
  std::deque<engine::StreamedDocument> pending_;  // of it, to be sent
};

}  // namespace vecino::rpc
