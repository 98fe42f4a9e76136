// A server that is far away.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/client/fake_server.h"
#include "vecino/client.h"

namespace vecino {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;
using testing::FakeServer;

// Hands bytes on, each so long after it came, in both directions.
class SlowWay {
 public:
  SlowWay(int to, milliseconds delay) : to_(to), delay_(delay) {
    listener_ = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address = Loopback(0);
    socklen_t size = sizeof address;
    EXPECT_EQ(bind(listener_, reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(listen(listener_, 16), 0);
    EXPECT_EQ(getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size), 0);
    port_ = ntohs(address.sin_port);
    accepting_ = std::thread([this] { Accept(); });
  }
  ~SlowWay() {
    stop_ = true;
    accepting_.join();
    for (std::thread& way : ways_) way.join();
    close(listener_);
  }
  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }

 private:
  static constexpr int kTurnMs = 5;  // between looks at the clock

  static sockaddr_in Loopback(int port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<uint16_t>(port));
    return address;
  }
  static bool Readable(int socket) {
    pollfd wait = {.fd = socket, .events = POLLIN, .revents = 0};
    return poll(&wait, 1, kTurnMs) > 0;
  }

  void Accept() {
    while (!stop_) {
      if (!Readable(listener_)) continue;
      const int near = accept(listener_, nullptr, nullptr);
      const int far = socket(AF_INET, SOCK_STREAM, 0);
      const sockaddr_in address = Loopback(to_);
      EXPECT_EQ(connect(far, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
      ways_.emplace_back([this, near, far] { HandOn(near, far); });
    }
  }
  void HandOn(int near, int far) {
    struct Piece {
      steady_clock::time_point due;
      std::string bytes;
    };
    const std::pair<int, int> directions[] = {{near, far}, {far, near}};
    std::deque<Piece> under_way[2];
    bool open = true;
    while (open && !stop_) {
      for (size_t i = 0; i < 2 && open; ++i) {
        const auto [from, to] = directions[i];
        char bytes[4096];
        if (Readable(from)) {
          const ssize_t read = recv(from, bytes, sizeof bytes, 0);
          open = read > 0;
          if (open) {
            under_way[i].push_back(
                {steady_clock::now() + delay_, std::string(bytes, static_cast<size_t>(read))});
          }
        }
        while (!under_way[i].empty() && under_way[i].front().due <= steady_clock::now()) {
          const std::string& piece = under_way[i].front().bytes;
          open = open && send(to, piece.data(), piece.size(), MSG_NOSIGNAL) ==
                             static_cast<ssize_t>(piece.size());
          under_way[i].pop_front();
        }
      }
    }
    close(near);
    close(far);
  }

  const int to_;
  const milliseconds delay_;
  int listener_ = -1, port_ = 0;
  std::atomic<bool> stop_{false};
  std::thread accepting_;
  std::vector<std::thread> ways_;  // of the accepting thread, until it ends
};

TEST(Connecting, TakesAsLongAsTheWayIs) {
  FakeServer server;
  SlowWay way(server.port(), milliseconds(250));  // half a second for the first reply to anything
  Client client({.server = way.address(), .timeout = milliseconds(20'000)});
  const Result<int64_t> count = client.Count("c");
  EXPECT_TRUE(count.ok()) << count.status().ToString();
  EXPECT_EQ(server.Calls("CountDocuments"), 1);
}

TEST(Connecting, WhereNobodyListensIsToldAtOnce) {
  int port = 0;
  {
    FakeServer server;
    port = server.port();
  }
  Client client({.server = "127.0.0.1:" + std::to_string(port), .timeout = milliseconds(20'000)});
  const auto start = steady_clock::now();
  const Result<int64_t> count = client.Count("c");
  EXPECT_EQ(count.status().code(), Code::kUnavailable);
  EXPECT_NE(count.status().message().find("refused"), std::string::npos)
      << count.status().message();
  EXPECT_LT(steady_clock::now() - start, milliseconds(10'000));
}

}  // namespace
}  // namespace vecino
