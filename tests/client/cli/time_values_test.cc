#include "client/cli/time_values.h"

#include <gtest/gtest.h>

namespace vecino::cli {
namespace {

using std::chrono::microseconds;
using Time = std::chrono::system_clock::time_point;

TEST(TimeValues, TimesReadBackTheSame) {
  const std::pair<const char*, const char*> kGood[] = {
      {"2027-01-31T12:00:00Z", "2027-01-31T12:00:00Z"},
      {"2027-01-31T13:00:00.25+01:00", "2027-01-31T12:00:00.25Z"},
      {"1969-12-31T23:59:59.000001Z", "1969-12-31T23:59:59.000001Z"},
      {"2241-01-01T00:00:00Z", "2241-01-01T00:00:00Z"}};
  for (const auto& [text, exact] : kGood) {
    Time time;
    std::string error;
    ASSERT_TRUE(ParseTime(text, &time, &error)) << text << ": " << error;
    EXPECT_EQ(ExactTime(time), exact);
    Time again;
    ASSERT_TRUE(ParseTime(exact, &again, &error));
    EXPECT_EQ(again, time);
  }
}

TEST(TimeValues, WhatIsNoTimeIsSaid) {
  for (const char* text : {"", "tomorrow", "2027-01-31", "2027-01-31T12:00:00", "12:00:00Z",
                           "2027-13-31T12:00:00Z", "infinite-future", "9999-01-01T00:00:00Z"}) {
    Time time;
    std::string error;
    EXPECT_FALSE(ParseTime(text, &time, &error)) << text;
    EXPECT_NE(error.find("2027-01-31T12:00:00Z"), std::string::npos);
  }
}

TEST(TimeValues, Durations) {
  const std::pair<const char*, int64_t> kGood[] = {
      {"90", 90'000'000},       {"1.5", 1'500'000},       {"90s", 90'000'000},
      {"250ms", 250'000},       {"1h30m", 5'400'000'000}, {"7d", 604'800'000'000},
      {"0.5d", 43'200'000'000}, {"-5s", -5'000'000},      {"0", 0}};
  for (const auto& [text, micros] : kGood) {
    microseconds duration{0};
    std::string error;
    ASSERT_TRUE(ParseDuration(text, &duration, &error)) << text << ": " << error;
    EXPECT_EQ(duration, microseconds(micros)) << text;
  }
  for (const char* text : {"", "soon", "5 parsecs", "d", "inf", "nan", "1e300", "1w"}) {
    microseconds duration{0};
    std::string error;
    EXPECT_FALSE(ParseDuration(text, &duration, &error)) << text;
    EXPECT_NE(error.find("1h30m"), std::string::npos);
  }
}

}  // namespace
}  // namespace vecino::cli
