// The table of every RPC there is: its path, and what runs it on bytes.
#pragma once

#include <grpcpp/support/byte_buffer.h>

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "google/protobuf/descriptor.h"
#include "server/rpc/admin_handlers.h"
#include "server/rpc/alias_handlers.h"
#include "server/rpc/answer_handlers.h"
#include "server/rpc/bidi_session.h"
#include "server/rpc/collection_handlers.h"
#include "server/rpc/document_handlers.h"
#include "server/rpc/embedding_handlers.h"
#include "server/rpc/ingest_handlers.h"
#include "server/rpc/message_stream.h"
#include "server/rpc/migration_handlers.h"
#include "server/rpc/operation_handlers.h"
#include "server/rpc/search_handlers.h"
#include "server/rpc/snapshot_handlers.h"

namespace vecino::rpc {

// Reads the request, runs the handler, writes the reply. Blocks as the handler does. Never throws.
using Method = std::function<absl::Status(const grpc::ByteBuffer& request, grpc::ByteBuffer* reply,
                                          const engine::CallContext& context)>;

// By path, such as `/vecino.v1.SearchService/SearchDocuments`.
using MethodTable = std::map<std::string, Method>;
using StreamTable = std::map<std::string, StreamMethod>;
// Makes the session of one call. Called by a completion queue's thread. Never throws.
using BidiMethod = std::function<std::shared_ptr<BidiSession>()>;
using BidiTable = std::map<std::string, BidiMethod>;
// Whether a call is likely to take well under a millisecond and to wait for nothing, so that its
// completion queue's thread may run it. Must not throw nor take time itself.
using ShortCall = std::function<bool(const grpc::ByteBuffer& request)>;
using ShortTable = std::map<std::string, ShortCall>;
// Paths of calls that may take milliseconds of a processor and can wait for a search's fraction of
// one.
using BulkTable = std::set<std::string>;

// The services of package vecino.v1 that this server has, and google.longrunning.Operations.
const std::vector<const google::protobuf::ServiceDescriptor*>& Services();

std::string MethodPath(const google::protobuf::MethodDescriptor& method);

// Everything that answers calls. `engine`, the workers and `generator` must outlive it.
class Handlers {
 public:
  Handlers(engine::Engine* engine, const WorkerPool* workers, ServerFacts facts,
           size_t max_reply_bytes, const WorkerPool* bulk_workers = nullptr,
           Generator* generator = nullptr);

  // Together one entry for every method of Services(), in Streams those that stream their replies,
  // in Bidis those that stream both ways; they use this object.
  MethodTable Methods();
  StreamTable Streams();
  BidiTable Bidis();
  ShortTable Shorts();
  static BulkTable Bulk();

 private:
  static constexpr std::string_view kNothingToLower =
      "raise the limit in the server and in the client";

  // What reads a request, puts collections in the place of aliases, runs the method of `handler`,
  // and writes the reply. It keeps `advice`, which must stand for as long as the process.
  template <class Handler, class Request, class Response>
  Method Bind(Handler* handler,
              absl::Status (Handler::*method)(const Request&, Response*,
                                              const engine::CallContext&),
              size_t max_reply_bytes, std::string_view advice = kNothingToLower) const;
  template <class Handler, class Request>
  StreamMethod Bind(Handler* handler,
                    absl::StatusOr<std::unique_ptr<MessageStream>> (Handler::*method)(
                        const Request&, const engine::CallContext&)) const;

  const size_t max_reply_bytes_;
  const engine::Engine& engine_;
  CollectionHandlers collections_;
  AliasHandlers aliases_;
  MigrationHandlers migrations_;
  OperationHandlers operations_;
  DocumentHandlers documents_;
  IngestHandlers ingest_;
  SearchHandlers search_;
  AnswerHandlers answers_;
  EmbeddingHandlers embedding_;
  AdminHandlers admin_;
  SnapshotHandlers snapshots_;
};

}  // namespace vecino::rpc
