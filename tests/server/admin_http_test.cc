#include "server/admin_http.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

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
#include "tests/server/http_client.h"

namespace vecino {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

TEST(AdminHttpTest, Pages) {
  std::string reason = "loading";
  auto admin = AdminHttp::Start("127.0.0.1:0", {.metrics = [] { return "vecino_x 1\n"; },
                                                .not_ready = [&] { return reason; }});
  ASSERT_TRUE(admin.ok()) << admin.status();
  const int port = (*admin)->port();
  EXPECT_THAT(Get(port, "/metrics"),
              testing::AllOf(StartsWith("HTTP/1.1 200"), HasSubstr("version=0.0.4"),
                             HasSubstr("\r\n\r\nvecino_x 1\n")));
  EXPECT_THAT(Get(port, "/healthz"), StartsWith("HTTP/1.1 200"));
  EXPECT_THAT(Get(port, "/readyz"),
              testing::AllOf(StartsWith("HTTP/1.1 503"), HasSubstr("loading")));
  reason = "";
  EXPECT_THAT(Get(port, "/readyz"), StartsWith("HTTP/1.1 200"));
  EXPECT_THAT(Get(port, "/nothing"), StartsWith("HTTP/1.1 404"));
  admin->reset();
  EXPECT_EQ(Get(port, "/healthz"), "");
}

TEST(AdminHttpTest, IdleConnectionsDoNotHoldProbesUp) {
  auto admin = AdminHttp::Start("127.0.0.1:0",
                                {.metrics = [] { return ""; }, .not_ready = [] { return ""; }});
  ASSERT_TRUE(admin.ok()) << admin.status();
  const int port = (*admin)->port();
  std::vector<int> idle;
  for (int i = 0; i < 8; ++i) {
    idle.push_back(Connect(port));
    ASSERT_GE(idle.back(), 0);
  }
  // The probe comes first: the eight are still open, and are closed for their silence only after.
  EXPECT_THAT(Get(port, "/healthz"), StartsWith("HTTP/1.1 200"));
  for (const int fd : idle) {
    char byte = 0;
    EXPECT_EQ(recv(fd, &byte, 1, MSG_DONTWAIT), -1) << "closed before the probe was answered";
  }
  for (const int fd : idle) {
    char byte = 0;
    EXPECT_EQ(recv(fd, &byte, 1, 0), 0) << "not closed";
    close(fd);
  }
}

// An API that says what it was asked.
ApiCallbacks Echo() {
  return {.embeddings = [](std::string_view body) -> rpc::HttpReply {
            if (body == "busy") return {.status = 429, .body = "{}", .retry_after_seconds = 7};
            return {.body = absl::StrCat("{\"bytes\":", body.size(), "}")};
          },
          .rerank = [](std::string_view body) -> rpc::HttpReply {
            return {.body = absl::StrCat("{\"ranked\":", body.size(), "}")};
          },
          .models = []() -> rpc::HttpReply { return {.body = "{\"models\":0}"}; },
          .refusal = [](std::string_view path, int status, std::string_view why) -> rpc::HttpReply {
            return {.status = status,
                    .body = absl::StrCat("{\"path\":\"", std::string(path), "\",\"refused\":\"",
                                         std::string(why), "\"}")};
          }};
}

std::unique_ptr<AdminHttp> StartApi(ApiCallbacks api) {
  auto admin = AdminHttp::Start(
      "127.0.0.1:0",
      {.metrics = [] { return ""; }, .not_ready = [] { return ""; }, .api = std::move(api)});
  EXPECT_TRUE(admin.ok()) << admin.status();
  return *std::move(admin);
}

TEST(AdminHttpTest, ApiPaths) {
  const auto admin = StartApi(Echo());
  const int port = admin->port();
  EXPECT_THAT(Post(port, "/v1/embeddings", "12345"),
              testing::AllOf(StartsWith("HTTP/1.1 200"), HasSubstr("application/json"),
                             HasSubstr("Content-Length: 11"), HasSubstr("\r\n\r\n{\"bytes\":5}")));
  EXPECT_THAT(Post(port, "/v1/embeddings", ""), HasSubstr("{\"bytes\":0}"));
  EXPECT_THAT(
      Post(port, "/v1/embeddings", "a=b&c", "Content-Type: application/x-www-form-urlencoded\r\n"),
      HasSubstr("{\"bytes\":5}"));
  EXPECT_THAT(Post(port, "/v1/embeddings", "busy"),
              testing::AllOf(StartsWith("HTTP/1.1 429"), HasSubstr("Retry-After: 7\r\n")));
  EXPECT_THAT(
      Post(port, "/v1/embeddings", "12345", "Accept-Encoding: gzip, br\r\n"),
      testing::AllOf(HasSubstr("{\"bytes\":5}"), testing::Not(HasSubstr("Content-Encoding"))));
  for (const char* range : {"bytes=99999-", "bytes=0-1", "bytes=2-3,5-6"}) {
    EXPECT_THAT(Post(port, "/v1/embeddings", "12345", absl::StrCat("Range: ", range, "\r\n")),
                testing::AllOf(StartsWith("HTTP/1.1 200"), HasSubstr("{\"bytes\":5")));
  }
  EXPECT_THAT(Get(port, "/v1/models"), HasSubstr("{\"models\":0}"));
  EXPECT_THAT(Get(port, "/v1/embeddings"),
              testing::AllOf(StartsWith("HTTP/1.1 405"), HasSubstr("Allow: POST\r\n"),
                             HasSubstr("does not take GET")));
  EXPECT_THAT(Get(port, "/v1/embeddings", "DELETE"), StartsWith("HTTP/1.1 405"));
  EXPECT_THAT(Post(port, "/v1/rerank", "12345"),
              testing::AllOf(StartsWith("HTTP/1.1 200"), HasSubstr("\r\n\r\n{\"ranked\":5}")));
  EXPECT_THAT(Get(port, "/v1/rerank"),
              testing::AllOf(StartsWith("HTTP/1.1 405"), HasSubstr("Allow: POST\r\n")));
  EXPECT_THAT(Get(port, "/v1/rerank", "OPTIONS"), StartsWith("HTTP/1.1 405"));
  EXPECT_THAT(Get(port, "/v1/models", "OPTIONS"), StartsWith("HTTP/1.1 405"));
  EXPECT_THAT(Post(port, "/v1/models", "{}"),
              testing::AllOf(StartsWith("HTTP/1.1 405"), HasSubstr("Allow: GET\r\n")));
  EXPECT_THAT(Get(port, "/v1/embedding"), StartsWith("HTTP/1.1 404"));
  EXPECT_THAT(Post(port, "/v1/embedding", "{}"),
              testing::AllOf(StartsWith("HTTP/1.1 404"), HasSubstr("there is no /v1/embedding;")));
  EXPECT_THAT(Post(port, "/healthz", "{}"),
              testing::AllOf(StartsWith("HTTP/1.1 405"), HasSubstr("Allow: GET\r\n")));
  EXPECT_THAT(Get(port, "/nothing"),
              testing::AllOf(StartsWith("HTTP/1.1 404"), HasSubstr("there is no /nothing;")));
  EXPECT_THAT(Get(port, "/openapi.json"), StartsWith("HTTP/1.1 404"));
  EXPECT_THAT(Get(port, "/v1/embeddings", "PRI"), StartsWith("HTTP/1.1 405"));
  EXPECT_THAT(Get(port, "/healthz"), StartsWith("HTTP/1.1 200"));
}

TEST(AdminHttpTest, BodiesThatAreRefused) {
  const auto admin = StartApi(Echo());
  const int port = admin->port();
  const std::string most(kMostEmbeddingsBytes, 'x');
  EXPECT_THAT(Post(port, "/v1/embeddings", most),
              HasSubstr(absl::StrCat("{\"bytes\":", most.size())));
  EXPECT_THAT(Post(port, "/v1/embeddings", most + "x"),
              testing::AllOf(StartsWith("HTTP/1.1 413"), HasSubstr("more than 16777216 bytes")));
  // A sender of four gigabytes is told at once, or cut off.
  const absl::Time start = absl::Now();
  EXPECT_THAT(Ask(port, "POST /v1/embeddings HTTP/1.1\r\nContent-Length: 4294967296\r\n\r\nx"),
              StartsWith("HTTP/1.1 413"));
  EXPECT_LT(absl::Now() - start, absl::Seconds(10));
  // So is one who hides the path from a pattern by the end of a line in it.
  for (const char* path : {"/%0A", "/x%0D", "/v1/embeddings%0a"}) {
    EXPECT_THAT(
        Ask(port, absl::StrCat("POST ", path, " HTTP/1.1\r\nContent-Length: 4294967296\r\n\r\nx")),
        testing::AnyOf(StartsWith("HTTP/1.1 404"), testing::IsEmpty()));
  }
  EXPECT_LT(absl::Now() - start, absl::Seconds(20));
  EXPECT_THAT(Ask(port, "POST /v1/embeddings HTTP/1.1\r\n\r\n"), StartsWith("HTTP/1.1 411"));
  EXPECT_THAT(Ask(port,
                  "POST /v1/embeddings HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
                  "1\r\nx\r\n0\r\n\r\n"),
              StartsWith("HTTP/1.1 411"));
  EXPECT_THAT(
      Post(port, "/v1/embeddings", "--b--", "Content-Type: multipart/form-data; boundary=b\r\n"),
      StartsWith("HTTP/1.1 411"));
  EXPECT_THAT(Post(port, "/v1/embeddings", "not gzip", "Content-Encoding: gzip\r\n"),
              StartsWith("HTTP/1.1 400"));
  EXPECT_THAT(Ask(port, "POST /v1/embeddings HTTP/1.1\r\nContent-Length: 10\r\n\r\n123"),
              testing::AllOf(StartsWith("HTTP/1.1 408"), HasSubstr("after 3 of 10 bytes")));
  EXPECT_THAT(Get(port, "/healthz"), StartsWith("HTTP/1.1 200"));
}

TEST(AdminHttpTest, ProbesDoNotWaitForEmbeddings) {
  absl::Mutex mutex;
  absl::CondVar changed;
  int running = 0;
  bool let_go = false;
  ApiCallbacks api = Echo();
  api.embeddings = [&](std::string_view) -> rpc::HttpReply {
    absl::MutexLock lock(&mutex);
    ++running;
    changed.SignalAll();
    while (!let_go) changed.Wait(&mutex);
    return {.body = "{\"done\":1}"};
  };
  auto admin = StartApi(std::move(api));
  const int port = admin->port();
  std::vector<std::future<std::string>> calls;
  for (int i = 0; i < kMostEmbeddings; ++i) {
    calls.push_back(
        std::async(std::launch::async, [=] { return Post(port, "/v1/embeddings", "{}"); }));
  }
  {
    absl::MutexLock lock(&mutex);
    while (running < kMostEmbeddings) changed.Wait(&mutex);
  }
  // As many again, and connections that say nothing.
  for (int i = 0; i < kMostEmbeddings; ++i) {
    EXPECT_THAT(Post(port, "/v1/embeddings", std::string(1 << 20, 'x')),
                testing::AllOf(StartsWith("HTTP/1.1 429"), HasSubstr("\"path\":\"/v1/embeddings\""),
                               HasSubstr("8 embedding and rerank requests run")));
    EXPECT_THAT(Post(port, "/v1/rerank", "{}"),
                testing::AllOf(StartsWith("HTTP/1.1 429"), HasSubstr("\"path\":\"/v1/rerank\"")));
  }
  std::vector<int> idle;
  for (int i = 0; i < 8; ++i) idle.push_back(Connect(port));
  EXPECT_THAT(Get(port, "/healthz"), StartsWith("HTTP/1.1 200"));
  EXPECT_THAT(Get(port, "/metrics"), StartsWith("HTTP/1.1 200"));
  EXPECT_THAT(Get(port, "/v1/models"), StartsWith("HTTP/1.1 200"));
  for (const int fd : idle) close(fd);
  {
    absl::MutexLock lock(&mutex);
    let_go = true;
    changed.SignalAll();
  }
  for (auto& call : calls) EXPECT_THAT(call.get(), HasSubstr("{\"done\":1}"));
  EXPECT_THAT(Post(port, "/v1/embeddings", "{}"), StartsWith("HTTP/1.1 200")) << "there is room";
}

// A caller who asks again as soon as it has its reply never finds its own place taken.
TEST(AdminHttpTest, APlaceIsFreeBeforeTheReplyIsThere) {
  const auto admin = StartApi(Echo());
  std::vector<std::future<int>> callers;
  for (int i = 0; i < kMostEmbeddings; ++i) {
    callers.push_back(std::async(std::launch::async, [port = admin->port()] {
      int good = 0;
      for (int j = 0; j < 50; ++j) {
        good += Post(port, "/v1/embeddings", "{}").starts_with("HTTP/1.1 200") ? 1 : 0;
      }
      return good;
    }));
  }
  for (auto& caller : callers) EXPECT_EQ(caller.get(), 50);
}

TEST(AdminHttpTest, WithoutAnApi) {
  auto admin = AdminHttp::Start("127.0.0.1:0",
                                {.metrics = [] { return ""; }, .not_ready = [] { return ""; }});
  ASSERT_TRUE(admin.ok()) << admin.status();
  EXPECT_THAT(Post((*admin)->port(), "/v1/embeddings", "{}"), StartsWith("HTTP/1.1 404"));
  EXPECT_THAT(Get((*admin)->port(), "/v1/models"), StartsWith("HTTP/1.1 404"));
}

TEST(AdminHttpTest, TakenPort) {
  const AdminCallbacks callbacks = {.metrics = [] { return ""; }, .not_ready = [] { return ""; }};
  auto first = AdminHttp::Start("127.0.0.1:0", callbacks);
  ASSERT_TRUE(first.ok());
  auto second = AdminHttp::Start("127.0.0.1:" + std::to_string((*first)->port()), callbacks);
  ASSERT_FALSE(second.ok());
  EXPECT_THAT(std::string(second.status().message()), HasSubstr("taken"));
}

}  // namespace
}  // namespace vecino
