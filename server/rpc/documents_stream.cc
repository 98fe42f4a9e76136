#include "server/rpc/documents_stream.h"

#include <iterator>
#include <utility>
#include <vector>

#include "google/protobuf/arena.h"
#include "server/rpc/conversions.h"
#include "server/rpc/page_token.h"
#include "server/rpc/resource_names.h"
#include "server/rpc/text.h"

namespace vecino::rpc {
namespace {

constexpr char kKind[] = "StreamDocuments";
// Leaves room for the resume token, and for what a message has around its documents.
constexpr size_t kAroundBytes = 4096;
constexpr size_t kDocumentBytes = kMaxStreamMessageBytes - kAroundBytes;

}  // namespace

absl::StatusOr<std::unique_ptr<MessageStream>> DocumentsStream::Open(
    engine::Engine& engine, const v1::StreamDocumentsRequest& request, size_t max_reply_bytes,
    const engine::CallContext& context) {
  auto collection = ParseCollectionName("parent", request.parent());
  if (!collection.ok()) return collection.status();
  engine::DocumentStreamRequest open;
  auto parts = ReadMask(request.read_mask());
  if (!parts.ok()) return parts.status();
  open.parts = *parts;
  if (request.has_slice()) {
    open.slice = {.index = request.slice().index(), .total = request.slice().total()};
  }
  open.filter = request.filter();
  auto info = engine.GetCollection(*collection);
  if (!info.ok()) return info.status();
  // Never given twice: a collection made anew under the name has another.
  std::string scope = Concat(*collection, "/", info->identity(), "/", open.slice.index, "/",
                             open.slice.total, "/", request.filter());
  if (!request.resume_token().empty()) {
    auto position = ReadPageToken(kKind, scope, request.resume_token(), "resume_token");
    if (!position.ok()) return position.status();
    open.shard = position->shard;
    open.after_id = std::move(position->after_id);
  }
  auto documents = engine.OpenDocumentStream(*collection, open);
  if (!documents.ok()) return documents.status();
  if ((*documents)->info().identity() != info->identity()) {
    return absl::AbortedError(
        Concat("collection `", *collection, "` was deleted and made anew meanwhile; call again"));
  }
  return std::unique_ptr<MessageStream>(
      new DocumentsStream(*std::move(documents), context, std::move(scope), max_reply_bytes));
}

absl::StatusOr<bool> DocumentsStream::Fill(v1::StreamDocumentsResponse* response) {
  const std::string& collection = documents_->info().spec.id;
  PagePosition position;
  size_t bytes = 0;
  while (bytes < kDocumentBytes) {
    if (pending_.empty()) {
      if (chunk_.end) break;
      auto next = documents_->Next(kDocumentBytes - bytes, context_);
      if (!next.ok()) {
        // What was found goes out first; the error comes again.
        if (response->documents_size() > 0 && absl::IsUnavailable(next.status())) break;
        return next.status();
      }
      chunk_ = *std::move(next);
      pending_.insert(pending_.end(), std::make_move_iterator(chunk_.documents.begin()),
                      std::make_move_iterator(chunk_.documents.end()));
      if (!pending_.empty()) continue;
      if (chunk_.end) break;
      // Nothing among many: the caller is told how far that was.
      position = {.shard = chunk_.shard, .after_id = chunk_.after_id};
      response->set_resume_token(MakePageToken(kKind, scope_, position));
      return true;
    }
    engine::StreamedDocument& next = pending_.front();
    v1::Document* out = response->add_documents();
    if (absl::Status status = WriteDocument(collection, next.document, out); !status.ok()) {
      return status;
    }
    if (out->ByteSizeLong() > max_message_bytes_ - kAroundBytes) {
      for (v1::Passage& passage : *out->mutable_passages()) passage.clear_vector();
    }
    constexpr size_t kAround = 6;  // tag and length
    bytes += out->ByteSizeLong() + kAround;
    if (bytes > kDocumentBytes && response->documents_size() > 1) {
      response->mutable_documents()->RemoveLast();
      break;
    }
    position = {.shard = next.shard, .after_id = std::move(next.document.id)};
    pending_.pop_front();
  }
  if (response->documents_size() == 0) return false;
  response->set_resume_token(MakePageToken(kKind, scope_, position));
  return true;
}

}  // namespace vecino::rpc
