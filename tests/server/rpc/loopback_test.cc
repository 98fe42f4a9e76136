#include "server/rpc/loopback.h"

#include <gtest/gtest.h>

namespace vecino::rpc {
namespace {

TEST(LoopbackTest, OnlyWhatThisMachineAloneReaches) {
  for (const char* address : {"127.0.0.1:7700", "127.9.8.7:0", "localhost:7700", "[::1]:7700"}) {
    EXPECT_TRUE(IsLoopback(address)) << address;
  }
  for (const char* address :
       {"0.0.0.0:7700", "[::]:7700", "128.0.0.1:7700", "10.0.0.127:7700", "192.168.1.1:7700",
        "[::ffff:10.0.0.1]:7700", "[fe80::1]:7700", "localhost.example.com:7700", "host:7700",
        "127.0.0.1.example.com:7700", "127.0.0.1", ":7700", ""}) {
    EXPECT_FALSE(IsLoopback(address)) << address;
  }
}

}  // namespace
}  // namespace vecino::rpc
