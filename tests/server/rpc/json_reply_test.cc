#include "server/rpc/json_reply.h"

#include <gmock/gmock.h>
#include <google/protobuf/util/json_util.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>

#include "google/longrunning/operations.pb.h"
#include "google/protobuf/empty.pb.h"
#include "google/protobuf/wrappers.pb.h"
#include "google/rpc/error_details.pb.h"
#include "server/engine/types.h"
#include "server/rpc/status.h"
#include "tests/server/rpc/same_json.h"
#include "vecino/v1/admin_service.pb.h"
#include "vecino/v1/document_service.pb.h"
#include "vecino/v1/search_service.pb.h"

namespace vecino::rpc {
namespace {

using nlohmann::json;

std::string Json(const google::protobuf::Message& message) {
  std::string out;
  EXPECT_EQ(WriteJson(message, &out), absl::OkStatus());
  return out;
}

// What protobuf's own writer makes of it, as a value.
json Peer(const google::protobuf::Message& message) {
  std::string out;
  EXPECT_TRUE(google::protobuf::util::MessageToJsonString(message, &out).ok());
  return json::parse(out);
}

TEST(JsonReplyTest, EveryKindOfField) {
  v1::SearchDocumentsResponse reply;
  EXPECT_EQ(Json(reply), "{}");
  reply.set_metric(v1::METRIC_L2);
  reply.set_higher_is_better(true);
  reply.mutable_timings()->mutable_search()->set_nanos(1500000);
  auto* hit = reply.add_hits();
  hit->set_score(.1f);
  v1::Document* document = hit->mutable_document();
  document->set_id("a\"\\/\b\f\n\r\t\x01\x7fé日😀\u2028<>");
  document->set_version(std::numeric_limits<int64_t>::min());
  document->mutable_vector()->add_values(1);
  document->mutable_vector()->add_values(-0.f);
  document->mutable_vector()->add_values(3e-42f);
  document->mutable_vector()->set_float32_le(std::string("\0\xff\x10>", 4));
  document->mutable_create_time()->set_seconds(1700000000);
  document->mutable_create_time()->set_nanos(120000000);
  document->mutable_ttl()->set_seconds(-3);
  document->mutable_ttl()->set_nanos(-500000000);
  auto& fields = *document->mutable_metadata()->mutable_fields();
  fields["null"].set_null_value(google::protobuf::NULL_VALUE);
  fields["z"].set_bool_value(false);
  fields["n"].set_number_value(1e300);
  fields[""].mutable_list_value()->add_values()->set_string_value("x");
  fields["empty"].mutable_struct_value();
  fields["none"].mutable_list_value();
  reply.add_hits()->mutable_group()->set_number_value(0);
  EXPECT_TRUE(SameJson(json::parse(Json(reply)), Peer(reply)));
  EXPECT_THAT(Json(reply), testing::HasSubstr("\"score\":0.1}"));
  EXPECT_THAT(Json(reply), testing::HasSubstr("\"values\":[1,-0.0,3e-42]"));
  EXPECT_THAT(Json(reply), testing::HasSubstr("\"version\":\"-9223372036854775808\""));
  EXPECT_THAT(Json(reply), testing::HasSubstr("\"createTime\":\"2023-11-14T22:13:20.120Z\""));
  EXPECT_THAT(Json(reply), testing::HasSubstr("\"ttl\":\"-3.500s\""));
  EXPECT_THAT(Json(reply), testing::HasSubstr(R"({"":["x"],"empty":{},"n":1e+300,"none":[])"));

  v1::SearchDocumentsRequest request;
  request.set_top_k(0);  // optional: there, though it is the default
  request.mutable_read_mask()->add_paths("create_time");
  request.mutable_read_mask()->add_paths("id");
  request.set_truncate(static_cast<v1::TruncateMode>(77));
  EXPECT_EQ(Json(request), R"({"topK":0,"readMask":"createTime,id","truncate":77})");
  EXPECT_EQ(json::parse(Json(request)), Peer(request));
}

TEST(JsonReplyTest, NumbersThatJsonHasNot) {
  v1::Vector vector;
  vector.add_values(std::nanf(""));
  vector.add_values(std::numeric_limits<float>::infinity());
  vector.add_values(-std::numeric_limits<float>::infinity());
  EXPECT_EQ(Json(vector), R"({"values":["NaN","Infinity","-Infinity"]})");
  EXPECT_EQ(json::parse(Json(vector)), Peer(vector));
}

TEST(JsonReplyTest, Wrappers) {
  google::protobuf::Int64Value number;
  number.set_value(5);
  EXPECT_EQ(Json(number), "\"5\"");
  EXPECT_EQ(Json(google::protobuf::StringValue()), "\"\"");
  EXPECT_EQ(Json(google::protobuf::BoolValue()), "false");
  EXPECT_EQ(Json(google::protobuf::Empty()), "{}");
  EXPECT_EQ(Json(google::protobuf::Value()), "null");
}

TEST(JsonReplyTest, AnyHasItsFields) {
  google::longrunning::Operation operation;
  operation.set_name("collections/c/operations/o");
  v1::Document document;
  document.set_id("d");
  operation.mutable_metadata()->PackFrom(document);
  operation.mutable_response()->PackFrom(google::protobuf::Empty());
  EXPECT_EQ(Json(operation),
            R"({"name":"collections/c/operations/o",)"
            R"("metadata":{"@type":"type.googleapis.com/vecino.v1.Document","id":"d"},)"
            R"("response":{"@type":"type.googleapis.com/google.protobuf.Empty"}})");
  google::protobuf::Duration second;
  second.set_seconds(1);
  operation.mutable_response()->PackFrom(second);
  EXPECT_THAT(Json(operation), testing::HasSubstr(R"(.Duration","value":"1s"}})"));
  EXPECT_EQ(json::parse(Json(operation)), Peer(operation));
  operation.mutable_response()->Clear();
  EXPECT_THAT(Json(operation), testing::EndsWith(R"("response":{}})"));
}

TEST(JsonReplyTest, DeeperThanProtobufWrites) {
  v1::Document document;
  google::protobuf::Struct* at = document.mutable_metadata();
  for (int i = 1; i < engine::Limits::kMaxMetadataDepth; ++i) {
    at = (*at->mutable_fields())["a"].mutable_struct_value();
  }
  (*at->mutable_fields())["a"].set_bool_value(true);
  v1::SearchDocumentsResponse reply;
  *reply.add_hits()->mutable_document() = document;
  std::string peer;
  EXPECT_FALSE(google::protobuf::util::MessageToJsonString(reply, &peer).ok());
  const std::string text = Json(reply);
  EXPECT_EQ(std::count(text.begin(), text.end(), '{'), engine::Limits::kMaxMetadataDepth + 3);
  EXPECT_TRUE(json::accept(text));
}

TEST(JsonReplyTest, WhatCannotBeWritten) {
  std::string out;
  google::protobuf::Timestamp time;
  time.set_nanos(-1);
  EXPECT_EQ(WriteJson(time, &out).code(), absl::StatusCode::kInternal);
  google::protobuf::Duration span;
  span.set_seconds(1);
  span.set_nanos(-1);
  EXPECT_EQ(WriteJson(span, &out).code(), absl::StatusCode::kInternal);
  google::protobuf::Any any;
  any.set_type_url("type.googleapis.com/no.such.Type");
  EXPECT_EQ(WriteJson(any, &out).code(), absl::StatusCode::kInternal);
  any.set_type_url("type.googleapis.com/vecino.v1.Document");
  any.set_value("\xff");
  EXPECT_EQ(WriteJson(any, &out).code(), absl::StatusCode::kInternal);
  google::protobuf::Value value;
  google::protobuf::Value* at = &value;
  for (int i = 0; i < 1000; ++i) at = at->mutable_list_value()->add_values();
  EXPECT_EQ(WriteJson(value, &out).code(), absl::StatusCode::kInternal);
}

TEST(JsonReplyTest, Errors) {
  const HttpReply bad = JsonError(engine::InvalidField("documents[3].text", "is too long"));
  EXPECT_EQ(bad.status, 400);
  EXPECT_EQ(bad.retry_after_seconds, 0);
  const json reply = json::parse(bad.body);
  EXPECT_EQ(reply["code"], 3);
  EXPECT_EQ(reply["details"][0]["@type"], "type.googleapis.com/google.rpc.BadRequest");
  EXPECT_EQ(reply["details"][0]["fieldViolations"][0]["field"], "documents[3].text");

  const HttpReply busy = JsonError(absl::ResourceExhaustedError("full"));
  EXPECT_EQ(busy.status, 429);
  EXPECT_EQ(busy.retry_after_seconds, 1);
  EXPECT_EQ(json::parse(busy.body)["details"][0]["retryDelay"], "0.500s");
  EXPECT_EQ(JsonError(NotRetryable(absl::ResourceExhaustedError("big"))).retry_after_seconds, 0);
  EXPECT_EQ(JsonError(absl::UnavailableError("loading")).retry_after_seconds, 1);

  for (const auto& [status, http] :
       {std::pair(absl::NotFoundError(""), 404), std::pair(absl::AlreadyExistsError(""), 409),
        std::pair(absl::AbortedError(""), 409), std::pair(absl::FailedPreconditionError(""), 400),
        std::pair(absl::OutOfRangeError(""), 400), std::pair(absl::UnimplementedError(""), 501),
        std::pair(absl::DeadlineExceededError(""), 504), std::pair(absl::InternalError(""), 500),
        std::pair(absl::DataLossError(""), 500), std::pair(absl::UnauthenticatedError(""), 401),
        std::pair(absl::PermissionDeniedError(""), 403),
        std::pair(absl::CancelledError(""), 499)}) {
    EXPECT_EQ(JsonError(status).status, http) << status;
  }
  EXPECT_EQ(HttpStatusOf(99), 500);
  EXPECT_EQ(HttpStatusOf(-1), 500);
}

}  // namespace
}  // namespace vecino::rpc
