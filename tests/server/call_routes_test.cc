#include "server/call_routes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "server/admin_http.h"
#include "tests/server/http_client.h"

namespace vecino {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

constexpr const char* kPath = "/v1/SearchService/SearchDocuments";
constexpr const char* kJson = "Content-Type: application/json\r\n";
constexpr size_t kMost = 1 << 20;

// RPCs that say what they were asked.
CallCallbacks Echo() {
  return {.max_body_bytes = kMost,
          .call = [](const rpc::HttpCall& call) -> rpc::HttpReply {
            if (call.body == "busy") return {.status = 429, .body = "{}", .retry_after_seconds = 7};
            return {.body = absl::StrCat("{\"path\":\"", std::string(call.path),
                                         "\",\"bytes\":", call.body.size(), ",\"timeouts\":\"",
                                         std::string(call.grpc_timeout), "|",
                                         std::string(call.request_timeout), "\"}")};
          },
          .refusal = [](std::string_view path, int status, std::string_view why) -> rpc::HttpReply {
            return {.status = status,
                    .body = absl::StrCat("{\"refused\":\"", std::string(path), " ",
                                         std::string(why), "\"}")};
          },
          .description = [] { return std::string("{\"openapi\":\"3\"}"); }};
}

std::unique_ptr<AdminHttp> Start(CallCallbacks calls) {
  ApiCallbacks api{
      .embeddings = [](std::string_view) -> rpc::HttpReply { return {.body = "{\"openai\":1}"}; },
      .models = []() -> rpc::HttpReply { return {.body = "{\"models\":0}"}; },
      .refusal = [](std::string_view, int status, std::string_view why) -> rpc::HttpReply {
        return {.status = status, .body = "{\"openai\":\"" + std::string(why) + "\"}"};
      },
      .calls = std::move(calls)};
  auto admin = AdminHttp::Start(
      "127.0.0.1:0",
      {.metrics = [] { return ""; }, .not_ready = [] { return ""; }, .api = std::move(api)});
  EXPECT_TRUE(admin.ok()) << admin.status();
  return *std::move(admin);
}

TEST(CallRoutesTest, Owns) {
  EXPECT_TRUE(CallRoutes::Owns("/v1/S"));
  EXPECT_TRUE(CallRoutes::Owns(kPath));
  for (const char* path : {"", "/", "/v1/", "/v1/embeddings", "/v1/chat/completions", "/v2/S/M",
                           "v1/S/M", "/v1//S", "/v1/\xc3\x84/x"}) {
    EXPECT_FALSE(CallRoutes::Owns(path)) << path;
  }
}

TEST(CallRoutesTest, Calls) {
  const auto admin = Start(Echo());
  const int port = admin->port();
  EXPECT_THAT(Post(port, kPath, "12345", kJson),
              AllOf(StartsWith("HTTP/1.1 200"), HasSubstr("Content-Type: application/json"),
                    HasSubstr(absl::StrCat("{\"path\":\"", kPath, "\",\"bytes\":5"))));
  EXPECT_THAT(Post(port, kPath, "", kJson), HasSubstr("\"bytes\":0"));
  EXPECT_THAT(Post(port, kPath, "12", absl::StrCat(kJson, "Grpc-Timeout: 5S\r\n")),
              HasSubstr("\"timeouts\":\"5S|\""));
  EXPECT_THAT(Post(port, kPath, "12", absl::StrCat(kJson, "x-request-timeout: 1.5s\r\n")),
              HasSubstr("\"timeouts\":\"|1.5s\""));
  EXPECT_THAT(Post(port, kPath, "busy", kJson),
              AllOf(StartsWith("HTTP/1.1 429"), HasSubstr("Retry-After: 7\r\n")));
  EXPECT_THAT(Post(port, kPath, "12", absl::StrCat(kJson, "Accept-Encoding: gzip, br\r\n")),
              AllOf(HasSubstr("\"bytes\":2"), Not(HasSubstr("Content-Encoding"))));
  EXPECT_THAT(Post(port, kPath, "12", absl::StrCat(kJson, "Range: bytes=0-1\r\n")),
              AllOf(StartsWith("HTTP/1.1 200"), HasSubstr("\"bytes\":2")));
  EXPECT_THAT(Get(port, "/openapi.json"),
              AllOf(StartsWith("HTTP/1.1 200"), HasSubstr("\r\n\r\n{\"openapi\":\"3\"}")));
  EXPECT_THAT(Post(port, "/v1/embeddings", "{}"), HasSubstr("{\"openai\":1}"));
  EXPECT_THAT(Post(port, "/v1/chat/completions", "{}"),
              AllOf(StartsWith("HTTP/1.1 404"), HasSubstr("{\"openai\":\"there is no")));
}

TEST(CallRoutesTest, OtherPathsAreToldWhatThereIs) {
  const auto admin = Start(Echo());
  const int port = admin->port();
  for (const char* path : {"/", "/nosuch", "/v1", "/metricz"}) {
    for (const char* method : {"GET", "POST", "DELETE", "OPTIONS"}) {
      EXPECT_THAT(Get(port, path, method),
                  AllOf(StartsWith("HTTP/1.1 404"), HasSubstr("{\"refused\":\""),
                        HasSubstr(absl::StrCat("there is no ", path, ";")), HasSubstr("/metrics"),
                        HasSubstr("POST /v1/{Service}/{Method}")))
          << method;
    }
  }
  EXPECT_THAT(
      Post(port, "/openapi.json", "{}"),
      AllOf(StartsWith("HTTP/1.1 405"), HasSubstr("Allow: GET\r\n"), HasSubstr("{\"refused\":\"")));
}

TEST(CallRoutesTest, OnlyPost) {
  const auto admin = Start(Echo());
  const int port = admin->port();
  for (const char* method : {"GET", "OPTIONS", "PUT", "PATCH", "DELETE"}) {
    EXPECT_THAT(Get(port, kPath, method),
                AllOf(StartsWith("HTTP/1.1 405"), HasSubstr("Allow: POST\r\n"),
                      HasSubstr(absl::StrCat("{\"refused\":\"", kPath))))
        << method;
  }
  EXPECT_THAT(Get(port, kPath, "HEAD"),
              AllOf(StartsWith("HTTP/1.1 405"), HasSubstr("Allow: POST")));
  EXPECT_THAT(
      Ask(port, absl::StrCat("PUT ", kPath, " HTTP/1.1\r\nContent-Length: 2\r\n", kJson, "\r\n{}")),
      StartsWith("HTTP/1.1 405"));
  EXPECT_THAT(Get(port, kPath, "PRI"), StartsWith("HTTP/1.1 405"));
}

// A page of another site can make a browser send only types that are none of these without asking.
TEST(CallRoutesTest, OnlyJson) {
  const auto admin = Start(Echo());
  const int port = admin->port();
  for (const char* type :
       {"application/json", "APPLICATION/JSON", "application/json; charset=utf-8",
        "application/json;charset=\"UTF-8\"", " application/json ;", "application/json; "}) {
    EXPECT_THAT(Post(port, kPath, "{}", absl::StrCat("Content-Type: ", type, "\r\n")),
                StartsWith("HTTP/1.1 200"))
        << type;
  }
  for (const char* type :
       {"text/plain", "application/x-www-form-urlencoded", "text/json", "application/jsonp",
        "application/json; charset=latin1", "application/json; x=y", "application/grpc", ""}) {
    EXPECT_THAT(Post(port, kPath, "{}", absl::StrCat("Content-Type: ", type, "\r\n")),
                AllOf(StartsWith("HTTP/1.1 415"), HasSubstr("Content-Type: application/json")))
        << type;
  }
  EXPECT_THAT(Post(port, kPath, "{}"), StartsWith("HTTP/1.1 415"));
}

TEST(CallRoutesTest, BodiesThatAreRefused) {
  const auto admin = Start(Echo());
  const int port = admin->port();
  const std::string most(kMost, 'x');
  EXPECT_THAT(Post(port, kPath, most, kJson), HasSubstr(absl::StrCat("\"bytes\":", kMost)));
  EXPECT_THAT(Post(port, kPath, most + "x", kJson),
              AllOf(StartsWith("HTTP/1.1 413"), HasSubstr("more than 1048576 bytes")));
  const absl::Time start = absl::Now();
  EXPECT_THAT(Ask(port, absl::StrCat("POST ", kPath, " HTTP/1.1\r\nContent-Length: 4294967296\r\n",
                                     kJson, "\r\nx")),
              StartsWith("HTTP/1.1 413"));
  EXPECT_LT(absl::Now() - start, absl::Seconds(10));
  EXPECT_THAT(
      Ask(port, absl::StrCat("POST ", kPath, "%0A HTTP/1.1\r\nContent-Length: 4294967296\r\n",
                             kJson, "\r\nx")),
      StartsWith("HTTP/1.1 413"));
  EXPECT_THAT(Ask(port, absl::StrCat("POST ", kPath, " HTTP/1.1\r\n", kJson, "\r\n")),
              StartsWith("HTTP/1.1 411"));
  EXPECT_THAT(Ask(port, absl::StrCat("POST ", kPath, " HTTP/1.1\r\n", kJson,
                                     "Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n")),
              StartsWith("HTTP/1.1 411"));
  EXPECT_THAT(Post(port, kPath, "not gzip", absl::StrCat(kJson, "Content-Encoding: gzip\r\n")),
              StartsWith("HTTP/1.1 400"));
  EXPECT_THAT(Ask(port, absl::StrCat("POST ", kPath, " HTTP/1.1\r\nContent-Length: 10\r\n", kJson,
                                     "\r\n123")),
              AllOf(StartsWith("HTTP/1.1 408"), HasSubstr("after 3 of 10 bytes")));
  EXPECT_THAT(Get(port, "/healthz"), StartsWith("HTTP/1.1 200"));
}

// Calls of which a test knows when they run, and says when they end.
class HeldCalls {
 public:
  CallCallbacks callbacks() {
    CallCallbacks calls = Echo();
    calls.max_body_bytes = 24 << 20;
    calls.call = [this](const rpc::HttpCall&) -> rpc::HttpReply {
      absl::MutexLock lock(&mutex_);
      ++running_;
      changed_.SignalAll();
      while (!let_go_) changed_.Wait(&mutex_);
      return {.body = "{\"done\":1}"};
    };
    return calls;
  }
  void WaitFor(int running) {
    absl::MutexLock lock(&mutex_);
    while (running_ < running) changed_.Wait(&mutex_);
  }
  void LetGo() {
    absl::MutexLock lock(&mutex_);
    let_go_ = true;
    changed_.SignalAll();
  }

 private:
  absl::Mutex mutex_;
  absl::CondVar changed_;
  int running_ ABSL_GUARDED_BY(mutex_) = 0;
  bool let_go_ ABSL_GUARDED_BY(mutex_) = false;
};

TEST(CallRoutesTest, ProbesDoNotWaitForCalls) {
  HeldCalls held;
  const auto admin = Start(held.callbacks());
  const int port = admin->port();
  std::vector<std::future<std::string>> calls;
  for (int i = 0; i < kMostCalls; ++i) {
    calls.push_back(std::async(std::launch::async, [=] { return Post(port, kPath, "{}", kJson); }));
  }
  held.WaitFor(kMostCalls);
  for (int i = 0; i < 4; ++i) {
    EXPECT_THAT(Post(port, kPath, std::string(1 << 20, 'x'), kJson),
                AllOf(StartsWith("HTTP/1.1 429"), HasSubstr("16 calls run over HTTP")));
  }
  EXPECT_THAT(Get(port, "/healthz"), StartsWith("HTTP/1.1 200"));
  EXPECT_THAT(Post(port, "/v1/embeddings", "{}"), StartsWith("HTTP/1.1 200"));
  held.LetGo();
  for (auto& call : calls) EXPECT_THAT(call.get(), HasSubstr("{\"done\":1}"));
  EXPECT_THAT(Post(port, kPath, "{}", kJson), StartsWith("HTTP/1.1 200")) << "there is room";
}

TEST(CallRoutesTest, BodiesTogetherAreBounded) {
  HeldCalls held;
  const auto admin = Start(held.callbacks());
  const int port = admin->port();
  std::vector<std::future<std::string>> calls;
  for (int i = 0; i < 2; ++i) {
    calls.push_back(std::async(
        std::launch::async, [=] { return Post(port, kPath, std::string(24 << 20, 'x'), kJson); }));
  }
  held.WaitFor(2);
  EXPECT_THAT(Post(port, kPath, std::string((16 << 20) + 1, 'x'), kJson),
              AllOf(StartsWith("HTTP/1.1 429"), HasSubstr("all the memory")));
  // What is compressed may become as long as the longest.
  EXPECT_THAT(Post(port, kPath, "x", absl::StrCat(kJson, "Content-Encoding: gzip\r\n")),
              StartsWith("HTTP/1.1 429"));
  calls.push_back(std::async(std::launch::async, [=] { return Post(port, kPath, "{}", kJson); }));
  held.WaitFor(3);
  held.LetGo();
  for (auto& call : calls) EXPECT_THAT(call.get(), HasSubstr("{\"done\":1}"));
}

// A caller who sends its body slowly does not hold up the end.
TEST(CallRoutesTest, AStopCutsSlowBodiesOff) {
  auto admin = Start(Echo());
  const int fd = Connect(admin->port());
  ASSERT_GE(fd, 0);
  const std::string head =
      absl::StrCat("POST ", kPath, " HTTP/1.1\r\nContent-Length: 1000\r\n", kJson, "\r\n");
  ASSERT_EQ(send(fd, head.data(), head.size(), MSG_NOSIGNAL), static_cast<ssize_t>(head.size()));
  std::atomic<bool> stop = false;
  auto trickle = std::async(std::launch::async, [&] {
    while (!stop && send(fd, "x", 1, MSG_NOSIGNAL) == 1) absl::SleepFor(absl::Milliseconds(100));
  });
  absl::SleepFor(absl::Milliseconds(300));  // so that the body is being read; right without it, too
  const absl::Time start = absl::Now();
  admin.reset();
  EXPECT_LT(absl::Now() - start, absl::Seconds(5));
  stop = true;
  trickle.get();
  close(fd);
}

}  // namespace
}  // namespace vecino
