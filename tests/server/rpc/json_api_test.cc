#include "server/rpc/json_api.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "server/rpc/openapi.h"
#include "server/rpc/timeout_header.h"
#include "tests/server/rpc/server_fixture.h"

namespace vecino::rpc {
namespace {

using nlohmann::json;
using testing::HasSubstr;

constexpr const char* kSearch = "/v1/SearchService/SearchDocuments";
constexpr const char* kGood = R"({"parent": "collections/c", "text": "x"})";

class JsonApiTest : public ServerTest {
 protected:
  ~JsonApiTest() override { Stop(); }

  void Start(ServerOptions options = {}) {
    ServerTest::Start(std::move(options));
    api_ = std::make_unique<JsonApi>(server_.get(), 1 << 20);
  }
  void Serve() {
    server_->Serve(handlers_->Methods(), handlers_->Streams(), handlers_->Shorts(),
                   rpc::Handlers::Bulk());
  }
  HttpReply Call(std::string_view path, std::string_view body, std::string_view timeout = "") {
    return api_->Call({.path = path, .body = body, .grpc_timeout = "", .request_timeout = timeout});
  }
  std::string Count(const std::string& code) {
    const std::string line = "vecino_rpc_calls_total{code=\"" + code +
                             "\",method=\"/vecino.v1.SearchService/SearchDocuments\"} ";
    const std::string all = metrics_->Expose();
    const size_t at = all.find(line);
    if (at == all.npos) return "0";
    return all.substr(at + line.size(), all.find('\n', at) - at - line.size());
  }

  std::unique_ptr<JsonApi> api_;
};

std::string Message(const HttpReply& reply) { return json::parse(reply.body)["message"]; }

TEST_F(JsonApiTest, RunsTheHandler) {
  Start();
  Serve();
  engine_.search_result.hits.resize(1);
  engine_.search_result.hits[0].document.id = "d";
  engine_.search_result.hits[0].score = .25f;
  const HttpReply reply =
      Call(kSearch, R"({"parent": "collections/c", "vector": {"values": [1, 2]}, "topK": 3})");
  ASSERT_EQ(reply.status, 200) << reply.body;
  EXPECT_EQ(json::parse(reply.body)["hits"][0]["document"]["id"], "d");
  EXPECT_EQ(json::parse(reply.body)["hits"][0]["score"], .25);
  EXPECT_EQ(engine_.collection, "c");
  EXPECT_EQ(engine_.search.top_k, 3);
  EXPECT_EQ(Count("OK"), "1");
}

TEST_F(JsonApiTest, ErrorsAreTheHandlers) {
  Start();
  Serve();
  HttpReply reply = Call("/v1/CollectionService/GetCollection", R"({"name": "collections/none"})");
  EXPECT_EQ(reply.status, 404);
  EXPECT_EQ(json::parse(reply.body)["code"], 5);
  reply = Call(kSearch, R"({"parent": "collections/c", "text": "x", "topK": 100000})");
  EXPECT_EQ(reply.status, 400);
  EXPECT_EQ(json::parse(reply.body)["details"][0]["fieldViolations"][0]["field"], "top_k");
  reply = Call(kSearch, R"({"parent": "collections/c", "text": "x", "topk": 1})");
  EXPECT_EQ(reply.status, 400);
  EXPECT_EQ(json::parse(reply.body)["details"][0]["fieldViolations"][0]["field"], "topk");
  EXPECT_EQ(Count("INVALID_ARGUMENT"), "2");
  reply = Call(kSearch, kGood, "soon");
  EXPECT_EQ(reply.status, 400);
  EXPECT_EQ(Count("INVALID_ARGUMENT"), "3");
  engine_.failure = absl::ResourceExhaustedError("busy");
  reply = Call(kSearch, kGood);
  EXPECT_EQ(reply.status, 429);
  EXPECT_EQ(reply.retry_after_seconds, 1);
  reply = Call(kSearch, R"({"parent": ")" + std::string(1 << 20, 'x') + "\"}");
  EXPECT_EQ(reply.status, 429);
  EXPECT_EQ(reply.retry_after_seconds, 0);
}

TEST_F(JsonApiTest, Paths) {
  Start();
  Serve();
  EXPECT_THAT(Message(Call("/v1/SearchService/Search", "{}")),
              HasSubstr("the methods of SearchService are AnswerQuestion, "));
  EXPECT_THAT(Message(Call("/v1/Nothing/Search", "{}")),
              HasSubstr("services are CollectionService"));
  for (const char* path :
       {"/v1/S", "/v1/SearchService", "/v1/SearchService/", "/v1/SearchService/SearchDocuments/",
        "/v1/SearchService/searchDocuments", "/v1/SearchService//SearchDocuments",
        "/v1/vecino.v1.SearchService/SearchDocuments"}) {
    const HttpReply reply = Call(path, "{}");
    EXPECT_EQ(reply.status, 404) << path;
    EXPECT_EQ(json::parse(reply.body)["code"], 5);
  }
  const HttpReply stream = Call("/v1/CollectionService/ExportIndex", "{}");
  EXPECT_EQ(stream.status, 501);
  EXPECT_THAT(Message(stream), HasSubstr("is a stream; call it by gRPC"));
}

// Every method of the contract is there without a line for it.
TEST_F(JsonApiTest, EveryUnaryMethod) {
  Start();
  Serve();
  engine_.failure = absl::NotFoundError("asked");
  const MethodTable table = handlers_->Methods();
  int found = 0;
  for (const auto* service : Services()) {
    for (int i = 0; i < service->method_count(); ++i) {
      const auto& method = *service->method(i);
      const HttpReply reply = Call(HttpPath(method), R"({"bogus": 1})");
      const json error = json::parse(reply.body);
      if (method.client_streaming() || method.server_streaming()) {
        EXPECT_EQ(reply.status, 501) << method.full_name();
      } else if (table.contains(MethodPath(method))) {
        ++found;
        EXPECT_EQ(reply.status, 400) << method.full_name();
        EXPECT_EQ(error["details"][0]["fieldViolations"][0]["field"], "bogus");
      } else {
        EXPECT_EQ(reply.status, 501) << method.full_name() << " has no handler";
        EXPECT_THAT(Message(reply), HasSubstr("is missing"));
      }
    }
  }
  EXPECT_EQ(found, static_cast<int>(table.size()));
}

TEST_F(JsonApiTest, Deadline) {
  Start();
  Serve();
  absl::Duration left;
  engine_.on_search = [&](const engine::CallContext& context) {
    left = context.deadline - absl::Now();
    return absl::OkStatus();
  };
  EXPECT_EQ(Call(kSearch, kGood, "5.5s").status, 200);
  EXPECT_LE(left, absl::Seconds(5.5));
  EXPECT_GT(left, absl::Seconds(2));
  EXPECT_EQ(Call(kSearch, kGood).status, 200);
  EXPECT_LE(left, kDefaultTimeout);
  EXPECT_GT(left, kDefaultTimeout - absl::Seconds(10));
  const HttpReply late = Call(kSearch, kGood, "0");
  EXPECT_EQ(late.status, 504);
  EXPECT_THAT(Message(late), HasSubstr("the deadline passed"));
}

TEST_F(JsonApiTest, TheQueueIsTheServersOwn) {
  Start({.workers = 1, .queue_capacity = 1});
  Serve();
  absl::Notification running, go_on;
  engine_.on_search = [&](const engine::CallContext&) {
    if (!running.HasBeenNotified()) running.Notify();
    go_on.WaitForNotification();
    return absl::OkStatus();
  };
  auto first = std::async(std::launch::async, [&] { return Call(kSearch, kGood); });
  running.WaitForNotification();
  auto second = std::async(std::launch::async, [&] { return Call(kSearch, kGood); });
  while (server_->workers().queued() == 0) absl::SleepFor(absl::Milliseconds(1));
  const HttpReply full = Call(kSearch, kGood);
  EXPECT_EQ(full.status, 429);
  EXPECT_EQ(full.retry_after_seconds, 1);
  EXPECT_THAT(Message(full), HasSubstr("the server's queue is full"));
  go_on.Notify();
  EXPECT_EQ(first.get().status, 200);
  EXPECT_EQ(second.get().status, 200);
  EXPECT_EQ(Count("RESOURCE_EXHAUSTED"), "1");
  EXPECT_EQ(Count("OK"), "2");
}

TEST_F(JsonApiTest, LoadingAndStopping) {
  Start();
  HttpReply reply = Call(kSearch, kGood);
  EXPECT_EQ(reply.status, 503);
  EXPECT_EQ(reply.retry_after_seconds, 1);
  EXPECT_THAT(Message(reply), HasSubstr("loading"));
  Serve();
  EXPECT_EQ(Call(kSearch, kGood).status, 200);
  EXPECT_TRUE(server_->Drain(absl::Seconds(1)));
  reply = Call(kSearch, kGood);
  EXPECT_EQ(reply.status, 503);
  EXPECT_THAT(Message(reply), HasSubstr("stopping"));
}

class JsonApiStopTest : public JsonApiTest {
 protected:
  // A call is under way while the server stops; returns its reply.
  HttpReply CallWhileStopping(absl::Duration patience, bool hurry, bool let_it_end) {
    Start();
    Serve();
    absl::Notification running, let_go;
    engine_.on_search = [&](const engine::CallContext& context) -> absl::Status {
      running.Notify();
      while (!let_go.HasBeenNotified()) {
        if (context.stop.stop_requested()) return absl::CancelledError("cancelled");
        absl::SleepFor(absl::Milliseconds(1));
      }
      return absl::OkStatus();
    };
    auto call = std::async(std::launch::async, [&] { return Call(kSearch, kGood); });
    running.WaitForNotification();
    auto drained = std::async(std::launch::async, [&] { return server_->Drain(patience); });
    while (server_->state() != AsyncServer::State::kDraining) absl::SleepFor(absl::Milliseconds(1));
    if (hurry) server_->Hurry();
    if (let_it_end) let_go.Notify();
    HttpReply reply = call.get();
    complete_ = drained.get();
    return reply;
  }

  bool complete_ = false;
};

TEST_F(JsonApiStopTest, AStopWaits) {
  EXPECT_EQ(CallWhileStopping(absl::Minutes(1), false, true).status, 200);
  EXPECT_TRUE(complete_);
}

TEST_F(JsonApiStopTest, TheEndOfPatienceCancels) {
  const HttpReply reply = CallWhileStopping(absl::Milliseconds(20), false, false);
  EXPECT_EQ(reply.status, 503);
  EXPECT_THAT(Message(reply), HasSubstr("stopping"));
  EXPECT_FALSE(complete_);
}

TEST_F(JsonApiStopTest, ASecondSignalCancels) {
  EXPECT_EQ(CallWhileStopping(absl::Minutes(1), true, false).status, 503);
  EXPECT_FALSE(complete_);
}

TEST_F(JsonApiTest, Refusals) {
  Start();
  Serve();
  HttpReply reply = api_->Refusal(kSearch, 429, "16 calls run");
  EXPECT_EQ(reply.status, 429);
  EXPECT_EQ(reply.retry_after_seconds, 1);
  EXPECT_EQ(json::parse(reply.body)["code"], 8);
  EXPECT_EQ(Count("RESOURCE_EXHAUSTED"), "1");
  for (const auto& [status, code] : {std::pair(400, 3), std::pair(405, 12), std::pair(408, 4),
                                     std::pair(411, 3), std::pair(413, 8), std::pair(415, 3),
                                     std::pair(404, 5), std::pair(503, 14), std::pair(500, 13)}) {
    reply = api_->Refusal(kSearch, status, "why");
    EXPECT_EQ(reply.status, status);
    EXPECT_EQ(json::parse(reply.body)["code"], code);
  }
  reply = api_->Refusal("/nosuch", 404, "there is no /nosuch");
  EXPECT_EQ(reply.status, 404);
  EXPECT_EQ(reply.body, R"({"code":5,"message":"there is no /nosuch"})");
  EXPECT_EQ(api_->Refusal(kSearch, 413, "why").retry_after_seconds, 0);
  EXPECT_EQ(api_->Refusal("/v1/\xff", 405, "caf\xe9").status, 405);
}

// Every reference leads somewhere.
void ExpectReferencesExist(const json& value, const json& document) {
  if (value.is_object()) {
    if (value.contains("$ref")) {
      const std::string path = value["$ref"];
      ASSERT_EQ(path[0], '#');
      EXPECT_TRUE(document.contains(json::json_pointer(path.substr(1)))) << path;
    }
    for (const auto& [key, inner] : value.items()) ExpectReferencesExist(inner, document);
  } else if (value.is_array()) {
    for (const auto& inner : value) ExpectReferencesExist(inner, document);
  }
}

TEST_F(JsonApiTest, Description) {
  const json document = json::parse(OpenApiDocument("1.2.3"));
  EXPECT_EQ(document["openapi"], "3.0.3");
  EXPECT_EQ(document["info"]["version"], "1.2.3");
  ExpectReferencesExist(document, document);
  std::set<std::string> wanted, found;
  for (const auto* service : Services()) {
    for (int i = 0; i < service->method_count(); ++i) {
      const auto& method = *service->method(i);
      if (!method.client_streaming() && !method.server_streaming()) wanted.insert(HttpPath(method));
    }
  }
  for (const auto& [path, item] : document["paths"].items()) {
    found.insert(path);
    EXPECT_FALSE(item["post"]["description"].get<std::string>().empty()) << path;
  }
  EXPECT_EQ(found, wanted);
  const json& schemas = document["components"]["schemas"];
  for (const auto& [name, schema] : schemas.items()) {
    EXPECT_TRUE(schema["type"] == "object" || schema["type"] == "string") << name;
  }
  const json& search = schemas["vecino.v1.SearchDocumentsRequest"];
  EXPECT_THAT(search["description"], HasSubstr("`query`: at most one of `text`, `vector`, "));
  EXPECT_EQ(search["properties"]["topK"]["format"], "int32");
  EXPECT_THAT(search["properties"]["topK"]["description"], HasSubstr("1 to 1,000"));
  EXPECT_THAT(search["properties"]["text"]["description"], HasSubstr("(One of `query`.)"));
  EXPECT_EQ(search["properties"]["readMask"]["type"], "string");
  EXPECT_EQ(schemas["vecino.v1.Metric"]["enum"][3], "METRIC_L2");
  EXPECT_EQ(schemas["vecino.v1.WriteToken"]["properties"]["sequenceNumber"]["type"], "string");
}

}  // namespace
}  // namespace vecino::rpc
