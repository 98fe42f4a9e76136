#include "server/admin_http.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>
#include <vector>

namespace vecino {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

// A connection to the port on loopback, -1 when there is none.
int Connect(int port) {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0) return fd;
  close(fd);
  return -1;
}

// The whole reply to one request, by plain sockets.
std::string Get(int port, const std::string& path) {
  const int fd = Connect(port);
  std::string reply;
  if (fd >= 0) {
    const std::string request = "GET " + path + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    EXPECT_EQ(write(fd, request.data(), request.size()), static_cast<ssize_t>(request.size()));
    char buffer[4096];
    for (ssize_t n; (n = read(fd, buffer, sizeof buffer)) > 0;) reply.append(buffer, n);
    close(fd);
  }
  return reply;
}

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
