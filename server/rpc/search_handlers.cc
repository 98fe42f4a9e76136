#include "server/rpc/search_handlers.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>
#include <grpcpp/support/proto_buffer_reader.h>

#include <string>
#include <utility>

#include "server/rpc/conversions.h"
#include "server/rpc/reply_budget.h"
#include "server/rpc/resource_names.h"
#include "server/rpc/text.h"

namespace vecino::rpc {
namespace {

absl::Status ReadQuery(const v1::SearchDocumentsRequest& request, engine::SearchRequest* out) {
  switch (request.query_case()) {
    case v1::SearchDocumentsRequest::kText: {
      if (request.text().empty()) return engine::InvalidField("text", "is empty");
      if (absl::Status status = CheckText("text", request.text()); !status.ok()) return status;
      auto truncate = ReadTruncate(request.truncate());
      if (!truncate.ok()) return truncate.status();
      out->query = engine::TextQuery{request.text(), *truncate};
      return absl::OkStatus();
    }
    case v1::SearchDocumentsRequest::kVector: {
      auto vector = ReadVector("vector", request.vector());
      if (!vector.ok()) return vector.status();
      out->query = engine::VectorQuery{*std::move(vector)};
      return absl::OkStatus();
    }
    case v1::SearchDocumentsRequest::kDocumentId:
      if (absl::Status status = CheckDocumentId("document_id", request.document_id());
          !status.ok()) {
        return status;
      }
      out->query = engine::DocumentQuery{request.document_id()};
      return absl::OkStatus();
    case v1::SearchDocumentsRequest::kLexical:
    case v1::SearchDocumentsRequest::kExpression:
      return absl::UnimplementedError("query: of these kinds searches cannot be done yet");
    case v1::SearchDocumentsRequest::QUERY_NOT_SET:
      break;
  }
  return engine::InvalidField("query", "is missing; set text, vector or document_id");
}

absl::Status ReadEffort(const v1::SearchDocumentsRequest& request, engine::SearchRequest* out) {
  switch (request.effort_case()) {
    case v1::SearchDocumentsRequest::kRecallTarget:
      // The engine takes 0 for "not said".
      if (request.recall_target() == 0) {
        return engine::InvalidField("recall_target", "is 0; it must be above 0, at most 1");
      }
      out->recall_target = request.recall_target();
      return absl::OkStatus();
    case v1::SearchDocumentsRequest::kParameters:
      out->exact = request.parameters().exact();
      out->nprobe = request.parameters().nprobe();
      out->ef_search = request.parameters().ef_search();
      out->rerank = request.parameters().rerank();
      return absl::OkStatus();
    case v1::SearchDocumentsRequest::EFFORT_NOT_SET:
      break;
  }
  return absl::OkStatus();
}

// What more costs: hundreds of microseconds for a million rows, beyond it milliseconds.
constexpr uint64_t kShortTopK = 100;
constexpr double kShortRecall = 0.99;

}  // namespace

bool SearchHandlers::IsShort(const grpc::ByteBuffer& request) {
  using google::protobuf::internal::WireFormatLite;
  using Request = v1::SearchDocumentsRequest;
  grpc::ByteBuffer bytes = request;  // a reference to them: the reader wants one of its own
  grpc::ProtoBufferReader slices(&bytes);
  google::protobuf::io::CodedInputStream in(&slices);
  bool vector = false, ids_only = false;
  while (const uint32_t tag = in.ReadTag()) {
    switch (WireFormatLite::GetTagFieldNumber(tag)) {
      case Request::kTextFieldNumber:
      case Request::kDocumentIdFieldNumber:
      case Request::kWriteTokensFieldNumber:
      case Request::kParametersFieldNumber:
      case Request::kFilterFieldNumber:
      case Request::kMinScoreFieldNumber:
      case Request::kGroupByFieldNumber:
      case Request::kDiversifyFieldNumber:
      case Request::kPageTokenFieldNumber:
        return false;
      case Request::kVectorFieldNumber:
        vector = true;
        break;
      case Request::kTopKFieldNumber: {
        uint64_t top_k = 0;
        if (!in.ReadVarint64(&top_k) || top_k > kShortTopK) return false;
        continue;
      }
      case Request::kRecallTargetFieldNumber: {
        double target = 0;
        if (!WireFormatLite::ReadPrimitive<double, WireFormatLite::TYPE_DOUBLE>(&in, &target) ||
            !(target <= kShortRecall)) {
          return false;
        }
        continue;
      }
      case Request::kReadMaskFieldNumber: {
        // A FieldMask of the one path `id`.
        std::string mask;
        uint32_t length = 0;
        if (!in.ReadVarint32(&length) || length != 4 || !in.ReadString(&mask, 4)) return false;
        ids_only = mask == "\x0a\x02id";
        continue;
      }
      default:
        break;
    }
    if (!WireFormatLite::SkipField(&in, tag)) return false;
  }
  return vector && ids_only;
}

absl::Status SearchHandlers::SearchDocuments(const v1::SearchDocumentsRequest& request,
                                             v1::SearchDocumentsResponse* response,
                                             const engine::CallContext& context) {
  auto collection = ParseCollectionName("parent", request.parent());
  if (!collection.ok()) return collection.status();
  engine::SearchRequest search;
  if (absl::Status status = ReadQuery(request, &search); !status.ok()) return status;
  if (request.has_top_k()) search.top_k = request.top_k();
  if (search.top_k < 1 || search.top_k > engine::Limits::kMaxTopK) {
    return engine::InvalidField(
        "top_k", Concat("is ", search.top_k, "; it must be 1 to ", engine::Limits::kMaxTopK));
  }
  if (absl::Status status = ReadEffort(request, &search); !status.ok()) return status;
  auto parts = ReadMask(request.read_mask());
  if (!parts.ok()) return parts.status();
  search.parts = *parts;
  auto tokens = ReadTokens(request.write_tokens());
  if (!tokens.ok()) return tokens.status();
  search.tokens = *std::move(tokens);
  search.filter = request.filter();
  search.max_bytes = max_reply_bytes_;

  auto result = engine_.Search(*collection, search, context);
  ReplyBudget budget(max_reply_bytes_, kFewerHits);
  if (!result.ok()) return budget.Explain(result.status());
  for (const engine::SearchHit& hit : result->hits) {
    auto* out = response->add_hits();
    out->set_score(hit.score);
    if (absl::Status status = WriteDocument(*collection, hit.document, out->mutable_document());
        !status.ok()) {
      return status;
    }
    if (absl::Status status = budget.Add(*out); !status.ok()) return status;
  }
  response->set_metric(WriteMetric(result->metric));
  response->set_higher_is_better(engine::HigherIsBetter(result->metric));
  response->set_query_token_count(result->query_token_count);
  response->set_query_truncated(result->query_truncated);
  WriteDuration(result->embed_time, response->mutable_timings()->mutable_embed());
  WriteDuration(result->search_time, response->mutable_timings()->mutable_search());
  WriteDuration(result->fetch_time, response->mutable_timings()->mutable_fetch());
  return absl::OkStatus();
}

}  // namespace vecino::rpc
