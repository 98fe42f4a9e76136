#include "server/stop_deadline.h"

#include <gtest/gtest.h>

#include <atomic>

#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"

namespace vecino {
namespace {

TEST(StopDeadlineTest, EndsOnceWhenTheTimeIsOver) {
  absl::Notification ended;
  const absl::Time began = absl::Now();
  StopDeadline deadline([&] { ended.Notify(); });  // a second time would crash
  deadline.Begin(absl::Milliseconds(50));
  ASSERT_TRUE(ended.WaitForNotificationWithTimeout(absl::Seconds(30)));
  EXPECT_GE(absl::Now() - began, absl::Milliseconds(50));
  deadline.Begin(absl::ZeroDuration());
}

TEST(StopDeadlineTest, IsOnlyShortened) {
  absl::Notification ended;
  StopDeadline deadline([&] { ended.Notify(); });
  deadline.Begin(absl::Hours(1));
  deadline.Begin(absl::Milliseconds(10));
  deadline.Begin(absl::Hours(2));
  EXPECT_TRUE(ended.WaitForNotificationWithTimeout(absl::Seconds(30)));
}

TEST(StopDeadlineTest, AStopThatIsOverIsLeftAlone) {
  std::atomic<bool> ended{false};
  {
    StopDeadline never([&] { ended = true; });
  }
  {
    StopDeadline in_time([&] { ended = true; });
    in_time.Begin(absl::Hours(1));
  }
  EXPECT_FALSE(ended);
}

}  // namespace
}  // namespace vecino
