#include "server/rpc/ingest_items.h"

#include <utility>

#include "google/protobuf/arena.h"
#include "server/rpc/conversions.h"
#include "server/rpc/resource_names.h"
#include "server/rpc/status.h"
#include "server/rpc/text.h"
#include "server/rpc/wire.h"

namespace vecino::rpc {
namespace {

std::string PathOf(int place, bool erase) {
  const char* const name = erase ? "delete" : "document";
  return place < 0 ? name : Concat("items.items[", place, "].", name);
}

}  // namespace

absl::StatusOr<IngestStart> ReadIngestStart(const grpc::ByteBuffer& message,
                                            const engine::Engine& engine) {
  v1::IngestDocumentsRequest request;
  if (absl::Status status = ReadMessage(message, &request); !status.ok()) return status;
  if (!request.has_start()) return engine::InvalidField("start", "must be the first message");
  const v1::IngestStart& start = request.start();
  auto given = ParseCollectionName("start.parent", start.parent());
  if (!given.ok()) return given.status();
  std::string collection = engine.AliasTarget(*given).value_or(*given);
  auto truncate = ReadTruncate(start.truncate());
  if (!truncate.ok()) return MoveField(truncate.status(), "truncate", "start.truncate");
  auto mode = ReadWriteMode(start.write_mode());
  if (!mode.ok()) return MoveField(mode.status(), "write_mode", "start.write_mode");
  return IngestStart{std::move(collection), *std::move(given), start.resume_token(), *truncate,
                     *mode};
}

absl::StatusOr<engine::IngestWrite*> IngestReader::AddNumber(int64_t seq, const std::string& path,
                                                             IngestBatch::Origin origin,
                                                             IngestBatch* batch) {
  if (seq < 1)
    return engine::InvalidField(path + ".seq", Concat("is ", seq, ", must be 1 or more"));
  if (seq <= last_seq_) {
    return engine::InvalidField(path + ".seq",
                                Concat("is ", seq, " after ", last_seq_,
                                       "; each item's number must be above those before"));
  }
  last_seq_ = seq;
  engine::IngestWrite& write = batch->writes.emplace_back();
  write.item = static_cast<uint64_t>(seq);
  batch->origins.push_back(origin);
  batch->bytes += origin.bytes;
  return &write;
}

absl::Status IngestReader::Add(v1::IngestDocument* document, const std::string& path,
                               IngestBatch::Origin origin, IngestBatch* batch) {
  auto write = AddNumber(document->seq(), path, origin, batch);
  if (!write.ok()) return write.status();
  if (given_ != collection_) {
    std::string* const name = document->mutable_document()->mutable_name();
    const std::string start = CollectionName(given_) + "/";
    if (name->starts_with(start)) {
      name->replace(0, start.size(), CollectionName(collection_) + "/");
    }
  }
  auto read = ReadDocument(path + ".document", collection_, document->document());
  if (read.ok()) {
    (*write)->write = *std::move(read);
    (*write)->write.mode = mode_;
  } else {
    (*write)->result.status = read.status();
    (*write)->settled = true;
  }
  return absl::OkStatus();
}

absl::Status IngestReader::Add(const v1::IngestDelete& erase, const std::string& path,
                               IngestBatch::Origin origin, IngestBatch* batch) {
  auto write = AddNumber(erase.seq(), path, origin, batch);
  if (!write.ok()) return write.status();
  (*write)->erase = true;
  (*write)->write.document.id = erase.id();
  (*write)->result.status = CheckDocumentId(path + ".id", erase.id());
  (*write)->settled = !(*write)->result.status.ok();
  return absl::OkStatus();
}

absl::Status IngestReader::Read(const grpc::ByteBuffer& message, IngestBatch* batch) {
  google::protobuf::Arena arena;
  auto* request = google::protobuf::Arena::CreateMessage<v1::IngestDocumentsRequest>(&arena);
  if (absl::Status status = ReadMessage(message, request); !status.ok()) return status;
  if (finished_) return engine::InvalidField("finish", "must be the last message");
  const auto length = static_cast<int64_t>(message.Length());
  switch (request->message_case()) {
    case v1::IngestDocumentsRequest::kStart:
      return engine::InvalidField("start", "must be the first message only");
    case v1::IngestDocumentsRequest::kDocument:
      return Add(request->mutable_document(), PathOf(-1, false), {length, -1}, batch);
    case v1::IngestDocumentsRequest::kDelete:
      return Add(request->delete_(), PathOf(-1, true), {length, -1}, batch);
    case v1::IngestDocumentsRequest::kItems: {
      auto& items = *request->mutable_items()->mutable_items();
      if (absl::Status status = CheckBatch("items.items", items.size(), "items"); !status.ok()) {
        return status;
      }
      for (int i = 0; i < items.size(); ++i) {
        const IngestBatch::Origin origin{length / items.size(), i};
        absl::Status status;
        if (items[i].has_document()) {
          status = Add(items[i].mutable_document(), PathOf(i, false), origin, batch);
        } else if (items[i].has_delete_()) {
          status = Add(items[i].delete_(), PathOf(i, true), origin, batch);
        } else {
          status = engine::InvalidField(Concat("items.items[", i, "]"),
                                        "is neither a document nor a delete");
        }
        if (!status.ok()) return status;
      }
      return absl::OkStatus();
    }
    case v1::IngestDocumentsRequest::kFinish:
      finished_ = batch->finish = true;
      return absl::OkStatus();
    case v1::IngestDocumentsRequest::MESSAGE_NOT_SET:
      break;
  }
  return engine::InvalidField("message",
                              "is empty; it must be a document, a delete, items or finish");
}

void WriteIngestResult(const IngestBatch& batch, size_t i, v1::IngestResult* out) {
  const engine::IngestWrite& write = batch.writes[i];
  out->set_seq(static_cast<int64_t>(write.item));
  out->set_truncated(write.result.truncated);
  if (!write.result.status.ok()) {
    const std::string path = PathOf(batch.origins[i].place, write.erase);
    ToRpcStatus(MoveField(write.result.status, Concat("documents[", i, "]"),
                          write.erase ? path : path + ".document"),
                out->mutable_status());
  } else if (write.result.token.sequence != 0) {
    WriteToken(write.result.token, out->mutable_write_token());
  }
}

}  // namespace vecino::rpc
