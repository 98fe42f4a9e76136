#include "client/retry.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace vecino::internal {
namespace {

using std::chrono::milliseconds;

TEST(RetryTest, BackoffIsDrawnBelowABoundThatDoublesToItsMaximum) {
  const ClientOptions options{.initial_backoff = milliseconds(50),
                              .max_backoff = milliseconds(2'000)};
  const std::pair<int, milliseconds> kBounds[] = {{1, milliseconds(50)},
                                                  {2, milliseconds(100)},
                                                  {6, milliseconds(1'600)},
                                                  {7, milliseconds(2'000)},
                                                  {1'000'000, milliseconds(2'000)}};
  for (const auto& [attempt, bound] : kBounds) {
    std::chrono::nanoseconds least = bound;
    std::chrono::nanoseconds most{0};
    for (int i = 0; i < 2'000; ++i) {
      const std::chrono::nanoseconds wait = Backoff(options, attempt);
      least = std::min(least, wait);
      most = std::max(most, wait);
    }
    EXPECT_GE(least.count(), 0);
    EXPECT_LE(most, bound);
    // Full jitter: the whole range is used.
    EXPECT_LT(least, bound / 10);
    EXPECT_GT(most, bound / 10 * 9);
  }
}

TEST(RetryTest, ZeroAndNegativeBackoffsWaitNotAtAll) {
  const ClientOptions options{.initial_backoff = milliseconds(-5), .max_backoff = milliseconds(0)};
  EXPECT_EQ(Backoff(options, 3).count(), 0);
}

TEST(RetryTest, EveryAttemptHasTheSameDeadline) {
  const ClientOptions options{.timeout = milliseconds(60'000),
                              .max_attempts = 3,
                              .initial_backoff = milliseconds(1),
                              .max_backoff = milliseconds(1)};
  std::vector<std::chrono::system_clock::time_point> deadlines;
  int attempts = 0;
  const Status status = CallWithRetry(
      options,
      [&](grpc::ClientContext* context) {
        deadlines.push_back(context->deadline());
        return grpc::Status(grpc::StatusCode::UNAVAILABLE, "away");
      },
      &attempts);
  EXPECT_EQ(status.code(), Code::kUnavailable);
  EXPECT_EQ(attempts, 3);
  ASSERT_EQ(deadlines.size(), 3U);
  EXPECT_EQ(deadlines[0], deadlines[2]);
}

TEST(RetryTest, ADeadlineAfterARetryTellsWhatCameBefore) {
  const ClientOptions options{.initial_backoff = milliseconds(0)};
  int calls = 0;
  const Status status = CallWithRetry(options, [&](grpc::ClientContext*) {
    return ++calls == 1 ? grpc::Status(grpc::StatusCode::UNAVAILABLE, "going away")
                        : grpc::Status(grpc::StatusCode::DEADLINE_EXCEEDED, "too late");
  });
  EXPECT_EQ(status.code(), Code::kDeadlineExceeded);
  EXPECT_NE(status.message().find("going away"), std::string::npos) << status.message();
}

}  // namespace
}  // namespace vecino::internal
