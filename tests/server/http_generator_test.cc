// The generator's client against a server of the test's own that says exactly what it is told to.
#include "server/http_generator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"

namespace vecino {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

// One connection, as the script sees it.
class Peer {
 public:
  explicit Peer(int socket) : socket_(socket) {}
  ~Peer() { close(socket_); }
  // The request, headers and body.
  std::string Read() {
    std::string all;
    char buffer[4096];
    while (true) {
      const size_t head = all.find("\r\n\r\n");
      if (head != std::string::npos) {
        const size_t at = all.find("Content-Length: ");
        const size_t length = at == std::string::npos ? 0 : std::stoul(all.substr(at + 16));
        if (all.size() >= head + 4 + length) return all;
      }
      const ssize_t n = recv(socket_, buffer, sizeof buffer, 0);
      if (n <= 0) return all;
      all.append(buffer, static_cast<size_t>(n));
    }
  }
  // False: the other side is gone.
  bool Write(std::string_view text) {
    return send(socket_, text.data(), text.size(), MSG_NOSIGNAL) ==
           static_cast<ssize_t>(text.size());
  }
  bool Chunk(std::string_view text) {
    return Write(absl::StrCat(absl::Hex(text.size()), "\r\n", std::string(text), "\r\n"));
  }
  bool Token(std::string_view text) {
    return Chunk(absl::StrCat(
        "data: {\"model\":\"tiny\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"",
        std::string(text), "\"}}]}\n\n"));
  }
  void WaitUntilGone() {
    char byte = 0;
    while (recv(socket_, &byte, 1, 0) > 0) {
    }
  }

 private:
  const int socket_;
};

constexpr const char* kStream =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

// Runs `script` for each connection, on a thread each.
class ScriptedServer {
 public:
  explicit ScriptedServer(std::function<void(Peer&)> script) : script_(std::move(script)) {
    socket_ = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    EXPECT_EQ(bind(socket_, reinterpret_cast<sockaddr*>(&address), length), 0);
    EXPECT_EQ(listen(socket_, 16), 0);
    EXPECT_EQ(getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &length), 0);
    port_ = ntohs(address.sin_port);
    acceptor_ = std::thread([this] {
      for (int peer = 0; (peer = accept(socket_, nullptr, nullptr)) >= 0;) {
        threads_.emplace_back([this, peer] {
          Peer connection(peer);
          script_(connection);
        });
      }
    });
  }
  ~ScriptedServer() {
    shutdown(socket_, SHUT_RDWR);
    acceptor_.join();
    for (std::thread& thread : threads_) thread.join();
    close(socket_);
  }
  std::string url() const { return absl::StrCat("http://127.0.0.1:", port_); }

 private:
  const std::function<void(Peer&)> script_;
  int socket_ = -1;
  int port_ = 0;
  std::thread acceptor_;
  std::vector<std::thread> threads_;
};

class Sink final : public rpc::GeneratorSink {
 public:
  bool Text(std::string_view piece) override {
    absl::MutexLock lock(&mutex_);
    text_.append(piece);
    changed_.SignalAll();
    return --wanted != 0;
  }
  void End(rpc::GeneratorEnd end) override {
    absl::MutexLock lock(&mutex_);
    EXPECT_FALSE(end_.has_value()) << "told the end twice";
    end_ = std::move(end);
    changed_.SignalAll();
  }
  void WaitForText(std::string_view text) {
    absl::MutexLock lock(&mutex_);
    while (text_ != text) changed_.Wait(&mutex_);
  }
  rpc::GeneratorEnd Wait() {
    absl::MutexLock lock(&mutex_);
    while (!end_.has_value()) changed_.Wait(&mutex_);
    return *end_;
  }
  bool ended() {
    absl::MutexLock lock(&mutex_);
    return end_.has_value();
  }
  std::string text() {
    absl::MutexLock lock(&mutex_);
    return text_;
  }
  int wanted = -1;  // pieces; set before it is used

 private:
  absl::Mutex mutex_;
  absl::CondVar changed_;
  std::string text_ ABSL_GUARDED_BY(mutex_);
  std::optional<rpc::GeneratorEnd> end_ ABSL_GUARDED_BY(mutex_);
};

class HttpGeneratorTest : public testing::Test {
 protected:
  ~HttpGeneratorTest() override { metrics_->RemoveCallbacks(); }

  std::unique_ptr<HttpGenerator> Make(const std::string& url, HttpGeneratorOptions options = {}) {
    auto parsed = ParseGeneratorUrl(url);
    EXPECT_TRUE(parsed.ok()) << parsed.status();
    options.url = *std::move(parsed);
    return HttpGenerator::Create(std::move(options), metrics_.get());
  }
  // How one answer by `script` ends.
  rpc::GeneratorEnd Run(std::function<void(Peer&)> script, HttpGeneratorOptions options = {}) {
    ScriptedServer server(std::move(script));
    url_ = server.url();
    sink_ = std::make_shared<Sink>();
    const auto generator = Make(server.url(), std::move(options));
    const auto generation = generator->Start({.prompt = "why?"}, sink_);
    EXPECT_TRUE(generation.ok()) << generation.status();
    return sink_->Wait();
  }

  const std::unique_ptr<Metrics> metrics_ = Metrics::Create();
  std::shared_ptr<Sink> sink_;
  std::string url_;
};

TEST_F(HttpGeneratorTest, AnAnswerComesPieceByPiece) {
  std::string request;
  absl::Notification first_read;
  ScriptedServer server([&](Peer& peer) {
    request = peer.Read();
    peer.Write(kStream);
    peer.Chunk(": hello\n\n");
    peer.Token("");
    peer.Token("Be");
    first_read.WaitForNotification();  // so the first piece did not wait for the second
    peer.Token("cause \\u00e9");
    peer.Chunk(
        "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\r\n\r\ndata: [DONE]\n\n");
    peer.WaitUntilGone();  // the client does not wait for the end of the connection
  });
  const auto generator = Make(server.url() + "/base/v1/", {.model = "asked", .key = "k3y"});
  const auto sink = std::make_shared<Sink>();
  const auto generation =
      generator->Start({.prompt = "why?", .max_tokens = 7, .temperature = 0.5f}, sink);
  ASSERT_TRUE(generation.ok());
  sink->WaitForText("Be");
  first_read.Notify();
  const rpc::GeneratorEnd end = sink->Wait();
  EXPECT_TRUE(end.status.ok()) << end.status;
  EXPECT_EQ(end.finish_reason, "stop");
  EXPECT_EQ(end.model, "tiny");
  EXPECT_EQ(sink->text(), "Because é");
  EXPECT_THAT(request,
              AllOf(HasSubstr("POST /base/v1/chat/completions HTTP/1.1\r\n"),
                    HasSubstr("Authorization: Bearer k3y\r\n"), HasSubstr("Host: 127.0.0.1:"),
                    HasSubstr("\"content\":\"why?\""), HasSubstr("\"max_tokens\":7"),
                    HasSubstr("\"temperature\":0.5"), HasSubstr("\"model\":\"asked\"")));
  EXPECT_THAT(metrics_->Expose(), HasSubstr("vecino_generator_calls_total{code=\"OK\"} 1"));
  EXPECT_THAT(metrics_->Expose(), HasSubstr("vecino_generator_first_token_seconds_count 1"));
}

TEST_F(HttpGeneratorTest, EveryCutOfTheStreamGivesTheSame) {
  const std::string body =
      "data: {\"choices\":[{\"delta\":{\"content\":\"é\"}}]}\r\n\r\n"
      "data: {\"choices\":[{\"delta\":{\"content\":\"x\"},\"finish_reason\":\"stop\"}]}\n\ndata: "
      "[DONE]\n\n";
  for (size_t cut = 1; cut < body.size(); cut += 7) {
    const auto end = Run([&](Peer& peer) {
      peer.Read();
      peer.Write(kStream);
      peer.Chunk(body.substr(0, cut));
      peer.Chunk(body.substr(cut));
      peer.Chunk("");
    });
    EXPECT_TRUE(end.status.ok()) << end.status;
    EXPECT_EQ(sink_->text(), "éx");
  }
}

TEST_F(HttpGeneratorTest, StreamsThatEndWithoutDone) {
  auto end = Run([](Peer& peer) {
    peer.Read();
    peer.Write("HTTP/1.0 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\r\n");
    peer.Write(
        "data: {\"choices\":[{\"delta\":{\"content\":\"all\"},\"finish_reason\":\"length\"}]}\n");
  });
  EXPECT_TRUE(end.status.ok()) << end.status;
  EXPECT_EQ(end.finish_reason, "length");
  end = Run([](Peer& peer) {
    peer.Read();
    peer.Write(kStream);
    peer.Token("half");
  });
  EXPECT_TRUE(absl::IsUnavailable(end.status));
  EXPECT_THAT(std::string(end.status.message()), AllOf(HasSubstr("broke off in"), HasSubstr(url_)));
  EXPECT_EQ(sink_->text(), "half");
  end = Run([](Peer& peer) {
    peer.Read();
    peer.Write(kStream);
    peer.Chunk("");
  });
  EXPECT_TRUE(absl::IsUnavailable(end.status));
  EXPECT_THAT(std::string(end.status.message()), HasSubstr("broke off before"));
}

TEST_F(HttpGeneratorTest, StatusesOfHttp) {
  const auto answer = [&](const char* status, const std::string& body) {
    return Run(
               [&](Peer& peer) {
                 peer.Read();
                 peer.Write(absl::StrCat("HTTP/1.1 ", status, "\r\nContent-Length: ", body.size(),
                                         "\r\n\r\n", body));
               },
               {.key = "s3cret"})
        .status;
  };
  absl::Status status = answer("500 Oops", R"({"error":{"message":"no memory"}})");
  EXPECT_TRUE(absl::IsUnavailable(status));
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr(url_), HasSubstr("500"), HasSubstr("no memory")));
  status = answer("401 Unauthorized", R"({"error":{"message":"wrong key: s3cret"}})");
  EXPECT_TRUE(absl::IsPermissionDenied(status));
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("401"), HasSubstr("wrong key: (key)"), Not(HasSubstr("s3cret"))));
  EXPECT_TRUE(absl::IsResourceExhausted(answer("429 Slow down", "")));
  EXPECT_TRUE(absl::IsFailedPrecondition(answer("400 Bad Request", "too long")));
  EXPECT_TRUE(absl::IsFailedPrecondition(answer("404 Not Found", "")));
  EXPECT_TRUE(absl::IsFailedPrecondition(answer("302 Found", "")));
  status = answer("500 Oops", std::string(100'000, 'x'));
  EXPECT_TRUE(absl::IsUnavailable(status));
  EXPECT_LT(status.message().size(), 400u);
}

TEST_F(HttpGeneratorTest, WhatIsNoAnswerIsUnknown) {
  const auto body = [&](const char* type, std::string_view text) {
    return Run([=](Peer& peer) {
             peer.Read();
             peer.Write(absl::StrCat("HTTP/1.1 200 OK\r\nContent-Type: ", type, "\r\n\r\n"));
             peer.Write(text);
           })
        .status;
  };
  EXPECT_TRUE(absl::IsUnknown(body("application/json", "{\"choices\":[]}")));
  EXPECT_TRUE(absl::IsUnknown(body("text/html", "<html>")));
  EXPECT_TRUE(absl::IsUnknown(body("text/event-stream", "data: garbage\n\n")));
  EXPECT_TRUE(absl::IsUnavailable(
      body("text/event-stream", "data: {\"error\":{\"message\":\"context\"}}\n\n")));
  EXPECT_TRUE(absl::IsUnavailable(body("text/event-stream", "garbage that is no field\n\n")));
  // Bytes that are no HTTP at all.
  EXPECT_TRUE(absl::IsUnavailable(Run([](Peer& peer) {
                                    peer.Read();
                                    peer.Write("SSH-2.0-OpenSSH\r\n\r\n\r\n");
                                  }).status));
  // An event without end.
  std::atomic<int64_t> sent = 0;
  const auto endless = Run([&](Peer& peer) {
    peer.Read();
    peer.Write("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: ");
    const std::string part(64 << 10, 'x');
    while (peer.Write(part)) sent += static_cast<int64_t>(part.size());
  });
  EXPECT_TRUE(absl::IsUnknown(endless.status)) << endless.status;
  EXPECT_LT(sent, 64 << 20);
}

TEST_F(HttpGeneratorTest, NobodyThere) {
  std::string url;
  {
    ScriptedServer server([](Peer&) {});
    url = server.url();
  }
  const auto generator = Make(url);
  const auto sink = std::make_shared<Sink>();
  const auto generation = generator->Start({.prompt = "p"}, sink);
  const auto end = sink->Wait();
  EXPECT_TRUE(absl::IsUnavailable(end.status));
  EXPECT_THAT(std::string(end.status.message()), HasSubstr(url));
}

TEST_F(HttpGeneratorTest, EachTimeHasItsLimit) {
  const HttpGeneratorOptions impatient = {.first_token_timeout = absl::Milliseconds(100),
                                          .token_timeout = absl::Milliseconds(100),
                                          .timeout = absl::Seconds(100)};
  // Comments are no answer.
  auto end = Run(
      [](Peer& peer) {
        peer.Read();
        peer.Write(kStream);
        while (peer.Chunk(": patience\n\n")) absl::SleepFor(absl::Milliseconds(5));
      },
      impatient);
  EXPECT_TRUE(absl::IsDeadlineExceeded(end.status)) << end.status;
  EXPECT_THAT(std::string(end.status.message()), HasSubstr("first-token-timeout"));
  end = Run([](Peer& peer) { peer.Read(), peer.WaitUntilGone(); }, impatient);
  EXPECT_THAT(std::string(end.status.message()), HasSubstr("first-token-timeout"));
  end = Run(
      [](Peer& peer) {
        peer.Read();
        peer.Write(kStream);
        peer.Token("half");
        peer.WaitUntilGone();
      },
      impatient);
  EXPECT_TRUE(absl::IsDeadlineExceeded(end.status)) << end.status;
  EXPECT_THAT(std::string(end.status.message()), HasSubstr("generator.token-timeout"));
  EXPECT_EQ(sink_->text(), "half");
  end = Run(
      [](Peer& peer) {
        peer.Read();
        peer.Write(kStream);
        while (peer.Token("x")) absl::SleepFor(absl::Milliseconds(5));
      },
      {.timeout = absl::Milliseconds(200)});
  EXPECT_TRUE(absl::IsDeadlineExceeded(end.status)) << end.status;
  EXPECT_THAT(std::string(end.status.message()), HasSubstr("generator.timeout"));
}

TEST_F(HttpGeneratorTest, GivingUpClosesTheConnectionAndFreesThePlace) {
  std::atomic<int> gone = 0;
  ScriptedServer server([&](Peer& peer) {
    peer.Read();
    peer.Write(kStream);
    peer.Token("x");
    peer.WaitUntilGone();
    ++gone;
  });
  const auto generator = Make(server.url(), {.max_calls = 2});
  for (int round = 1; round <= 3; ++round) {
    const auto first = std::make_shared<Sink>(), second = std::make_shared<Sink>();
    {
      const auto a = generator->Start({.prompt = "p"}, first);
      const auto b = generator->Start({.prompt = "p"}, second);
      ASSERT_TRUE(a.ok() && b.ok());
      first->WaitForText("x");
      second->WaitForText("x");
      const auto third = generator->Start({.prompt = "p"}, std::make_shared<Sink>());
      EXPECT_TRUE(absl::IsResourceExhausted(third.status()));
      EXPECT_THAT(std::string(third.status().message()), HasSubstr("max-calls"));
    }
    while (gone < 2 * round) std::this_thread::yield();
    // Both places are free again, soon.
    while (!absl::StrContains(metrics_->Expose(), "vecino_generator_in_flight 0")) {
      std::this_thread::yield();
    }
    EXPECT_FALSE(first->ended() || second->ended());
  }
  EXPECT_THAT(metrics_->Expose(), HasSubstr("{code=\"CANCELLED\"} 6"));
}

// A port whose queue of connections is full: the kernel drops those that knock.
class FullPort {
 public:
  FullPort() {
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    auto* const any = reinterpret_cast<sockaddr*>(&address);
    sockets_.push_back(socket(AF_INET, SOCK_STREAM, 0));
    EXPECT_EQ(bind(sockets_[0], any, length), 0);
    EXPECT_EQ(listen(sockets_[0], 0), 0);
    EXPECT_EQ(getsockname(sockets_[0], any, &length), 0);
    for (int i = 0; i < 4; ++i) {
      sockets_.push_back(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
      connect(sockets_.back(), any, length);
    }
    url = absl::StrCat("http://127.0.0.1:", ntohs(address.sin_port));
  }
  ~FullPort() {
    for (const int one : sockets_) close(one);
  }
  std::string url;

 private:
  std::vector<int> sockets_;
};

TEST_F(HttpGeneratorTest, AConnectionThatIsNotMadeIsGivenUpOrTimesOut) {
  const FullPort port;
  const auto sink = std::make_shared<Sink>();
  {
    const auto generator = Make(port.url, {.connect_timeout = absl::Milliseconds(50)});
    const auto generation = generator->Start({.prompt = "p"}, sink);
    const auto end = sink->Wait();
    EXPECT_TRUE(absl::IsUnavailable(end.status)) << end.status;
    metrics_->RemoveCallbacks();
  }
  const auto generator = Make(port.url, {.connect_timeout = absl::InfiniteDuration()});
  for (int i = 0; i < 3; ++i) {
    const auto generation = generator->Start({.prompt = "p"}, std::make_shared<Sink>());
    ASSERT_TRUE(generation.ok());
    absl::SleepFor(absl::Milliseconds(10 * i));  // before, while and after it begins to connect
  }
  while (!absl::StrContains(metrics_->Expose(), "vecino_generator_in_flight 0")) {
    std::this_thread::yield();
  }
}

TEST_F(HttpGeneratorTest, ASinkThatWantsNoMoreEndsTheCall) {
  std::atomic<bool> gone = false;
  ScriptedServer server([&](Peer& peer) {
    peer.Read();
    peer.Write(kStream);
    while (peer.Token("x")) {
    }
    gone = true;
  });
  const auto generator = Make(server.url());
  const auto sink = std::make_shared<Sink>();
  sink->wanted = 3;
  const auto generation = generator->Start({.prompt = "p"}, sink);
  while (!gone) std::this_thread::yield();
  EXPECT_EQ(sink->text(), "xxx");
  EXPECT_FALSE(sink->ended());
}

TEST_F(HttpGeneratorTest, TheEndOfTheServerDoesNotWaitForAnswers) {
  std::atomic<int> gone = 0;
  ScriptedServer server([&](Peer& peer) {
    peer.Read();
    peer.WaitUntilGone();
    ++gone;
  });
  auto generator = Make(server.url());
  std::vector<std::unique_ptr<rpc::Generation>> kept;
  for (int i = 0; i < 8; ++i) {
    auto generation = generator->Start({.prompt = "p"}, std::make_shared<Sink>());
    ASSERT_TRUE(generation.ok());
    kept.push_back(*std::move(generation));
  }
  metrics_->RemoveCallbacks();
  const absl::Time begin = absl::Now();
  generator = nullptr;
  EXPECT_LT(absl::Now() - begin, absl::Seconds(10));
  kept.clear();  // may outlive it
}

}  // namespace
}  // namespace vecino
