#include "server/rpc/search_handlers.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>
#include <grpcpp/support/proto_buffer_reader.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "server/rpc/hybrid_conversions.h"
#include "server/rpc/reply_budget.h"
#include "server/rpc/resource_names.h"
#include "server/rpc/search_conversions.h"
#include "server/rpc/status.h"
#include "server/rpc/text.h"

namespace vecino::rpc {
namespace {

// What more costs: hundreds of microseconds for a million rows, beyond it milliseconds.
constexpr uint64_t kShortTopK = 100;
constexpr double kShortRecall = 0.99;
// Of its parent; a name of a collection is shorter.
constexpr uint32_t kMostParentBytes = 256;
// Of its filter.
constexpr uint32_t kMostFilterBytes = 1024;

// A string field, whole; false when it is longer.
bool ReadShortString(google::protobuf::io::CodedInputStream* in, uint32_t most, std::string* out) {
  uint32_t length = 0;
  return in->ReadVarint32(&length) && length <= most &&
         in->ReadString(out, static_cast<int>(length));
}

// Of a reply, kept for one search's status.
constexpr size_t kStatusBytes = 512;

}  // namespace

bool SearchHandlers::IsShort(const grpc::ByteBuffer& request) const {
  using google::protobuf::internal::WireFormatLite;
  using Request = v1::SearchDocumentsRequest;
  grpc::ByteBuffer bytes = request;  // a reference to them: the reader wants one of its own
  grpc::ProtoBufferReader slices(&bytes);
  google::protobuf::io::CodedInputStream in(&slices);
  bool vector = false, ids_only = false;
  std::string parent, filter;
  while (const uint32_t tag = in.ReadTag()) {
    switch (WireFormatLite::GetTagFieldNumber(tag)) {
      case Request::kParentFieldNumber:
        if (!ReadShortString(&in, kMostParentBytes, &parent)) return false;
        continue;
      case Request::kFilterFieldNumber:
        if (!ReadShortString(&in, kMostFilterBytes, &filter)) return false;
        continue;
      case Request::kTruncateFieldNumber:
        break;
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
        if (!ReadShortString(&in, 4, &mask) || mask.size() != 4) return false;
        ids_only = mask == "\x0a\x02id";
        continue;
      }
      default:  // all else takes longer, or nobody knows
        return false;
    }
    if (!WireFormatLite::SkipField(&in, tag)) return false;
  }
  if (!vector || !ids_only) return false;
  const auto collection = ParseCollectionName("parent", parent);
  return !collection.ok() || engine_.IsSearchShort(*collection, filter);
}

absl::Status SearchHandlers::SearchDocuments(const v1::SearchDocumentsRequest& request,
                                             v1::SearchDocumentsResponse* response,
                                             const engine::CallContext& context) {
  auto collection = ParseCollectionName("parent", request.parent());
  if (!collection.ok()) return collection.status();
  engine::SearchRequest search;
  if (absl::Status status = ReadSearch(*collection, request, &search); !status.ok()) return status;
  search.max_bytes = max_reply_bytes_;

  auto result = engine_.Search(*collection, search, context);
  ReplyBudget budget(max_reply_bytes_, kFewerHits);
  if (!result.ok()) return budget.Explain(result.status());
  return WriteSearch(*collection, request, *result, &budget, response);
}

absl::Status SearchHandlers::BatchSearchDocuments(const v1::BatchSearchDocumentsRequest& request,
                                                  v1::BatchSearchDocumentsResponse* response,
                                                  const engine::CallContext& context) {
  auto collection = ParseCollectionName("parent", request.parent());
  if (!collection.ok()) return collection.status();
  const int count = request.requests_size();
  if (count < 1 || count > engine::Limits::kMaxSearches) {
    return engine::InvalidField("requests", Concat("holds ", count, " searches; it must hold 1 to ",
                                                   engine::Limits::kMaxSearches));
  }
  // What the searches may still take of the reply.
  size_t left = max_reply_bytes_;
  const auto take = [&](size_t bytes) { left -= std::min(left, bytes); };
  const auto fail = [&](int i, const absl::Status& status) {
    auto* out = response->mutable_results(i);
    out->clear_response();
    ToRpcStatus(MoveField(status, "", Concat("requests[", i, "].")), out->mutable_status());
  };
  std::vector<engine::SearchRequest> searches;
  std::vector<int> places;  // of each search in the request
  for (int i = 0; i < count; ++i) {
    response->add_results();
    const v1::SearchDocumentsRequest& one = request.requests(i);
    engine::SearchRequest search;
    absl::Status status;
    if (!one.parent().empty() && one.parent() != request.parent()) {
      status = engine::InvalidField("parent", "is another collection than that of the call");
    } else {
      status = ReadSearch(*collection, one, &search);
    }
    if (!status.ok()) {
      fail(i, status);
      take(response->results(i).ByteSizeLong());
      continue;
    }
    take(kStatusBytes);
    searches.push_back(std::move(search));
    places.push_back(i);
  }
  if (searches.empty()) return engine_.GetCollection(*collection).status();  // NOT_FOUND goes first
  auto results = engine_.SearchBatch(*collection, searches, left, context);
  if (!results.ok()) return results.status();
  if (results->size() != places.size()) {
    return absl::InternalError(
        Concat("the engine gave ", results->size(), " results for ", places.size(), " searches"));
  }
  for (size_t j = 0; j < places.size(); ++j) {
    const int i = places[j];
    ReplyBudget budget(left, kFewerSearches);
    absl::Status status =
        (*results)[j].ok() ? WriteSearch(*collection, request.requests(i), *(*results)[j], &budget,
                                         response->mutable_results(i)->mutable_response())
                           : budget.Explain((*results)[j].status());
    if (!status.ok()) {
      fail(i, status);
    } else {
      response->mutable_results(i)->mutable_status();  // OK
      take(response->results(i).ByteSizeLong());
    }
  }
  return absl::OkStatus();
}

absl::Status SearchHandlers::HybridSearchDocuments(const v1::HybridSearchDocumentsRequest& request,
                                                   v1::HybridSearchDocumentsResponse* response,
                                                   const engine::CallContext& context) {
  auto collection = ParseCollectionName("parent", request.parent());
  if (!collection.ok()) return collection.status();
  engine::SearchRequest search;
  if (absl::Status status = ReadHybrid(request, &search); !status.ok()) return status;
  search.max_bytes = max_reply_bytes_;
  auto result = engine_.Search(*collection, search, context);
  ReplyBudget budget(max_reply_bytes_, kFewerHits);
  if (!result.ok()) return budget.Explain(result.status());
  return WriteHybrid(*collection, *result, &budget, response);
}

}  // namespace vecino::rpc
