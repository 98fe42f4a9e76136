#include "server/rpc/timeout_header.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace vecino::rpc {
namespace {

absl::Duration Grpc(std::string_view text) {
  return ReadTimeout(text, "").value_or(-absl::InfiniteDuration());
}
absl::Duration Seconds(std::string_view text) {
  return ReadTimeout("", text).value_or(-absl::InfiniteDuration());
}

TEST(TimeoutHeaderTest, Forms) {
  EXPECT_EQ(Grpc(""), kDefaultTimeout);
  EXPECT_EQ(Grpc("1500m"), absl::Milliseconds(1500));
  EXPECT_EQ(Grpc("2S"), absl::Seconds(2));
  EXPECT_EQ(Grpc("3M"), absl::Minutes(3));
  EXPECT_EQ(Grpc("7u"), absl::Microseconds(7));
  EXPECT_EQ(Grpc("99999999n"), absl::Nanoseconds(99999999));
  EXPECT_EQ(Grpc("99999999H"), kLongestTimeout);
  EXPECT_EQ(Grpc("0S"), absl::ZeroDuration());
  EXPECT_EQ(Seconds("1.5s"), absl::Milliseconds(1500));
  EXPECT_EQ(Seconds("2"), absl::Seconds(2));
  EXPECT_EQ(Seconds("0"), absl::ZeroDuration());
  EXPECT_EQ(Seconds("99999999999999999999"), kLongestTimeout);
}

TEST(TimeoutHeaderTest, WhatIsNone) {
  for (const char* text :
       {"S", "1", "-1S", "+1S", "1.5S", "123456789S", "1s", " 1S", "1S ", "m1"}) {
    const auto read = ReadTimeout(text, "");
    ASSERT_FALSE(read.ok()) << text;
    EXPECT_EQ(read.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(read.status().message()), testing::HasSubstr("Grpc-Timeout"));
  }
  for (const char* text : {"s", ".", ".5", "5.", "1..5", "1.2.3", "-1", "1e3", "inf", "nan", "1 s",
                           "1ms", "0x10", "111111111111111111111"}) {
    const auto read = ReadTimeout("", text);
    ASSERT_FALSE(read.ok()) << text;
    EXPECT_THAT(std::string(read.status().message()), testing::HasSubstr("X-Request-Timeout"));
  }
  EXPECT_FALSE(ReadTimeout("1S", "1s").ok());
}

}  // namespace
}  // namespace vecino::rpc
