#include "server/rpc/call_observer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>

#include <sstream>

namespace vecino::rpc {
namespace {

using testing::HasSubstr;
using testing::Not;

class CallObserverTest : public testing::Test {
 protected:
  CallObserverTest() : before_(spdlog::default_logger()) {
    spdlog::set_default_logger(std::make_shared<spdlog::logger>(
        "test", std::make_shared<spdlog::sinks::ostream_sink_mt>(lines_)));
  }
  ~CallObserverTest() override { spdlog::set_default_logger(before_); }

  const std::shared_ptr<spdlog::logger> before_;
  std::ostringstream lines_;
  const std::unique_ptr<Metrics> metrics_ = Metrics::Create();
  WarningLimit limit_{2};
  const std::function<std::string()> peer_ = [] { return "ipv4:127.0.0.1:9"; };
};

TEST_F(CallObserverTest, CountsByMethodAndCode) {
  MethodObserver observer("/s/M", metrics_.get(), absl::Seconds(1), &limit_);
  observer.Finished(grpc::Status::OK, absl::Milliseconds(1), peer_);
  observer.Finished(grpc::Status::OK, absl::Milliseconds(1), peer_);
  observer.Finished({grpc::StatusCode::NOT_FOUND, "x"}, absl::Milliseconds(1), peer_);
  const std::string text = metrics_->Expose();
  EXPECT_THAT(text, HasSubstr("vecino_rpc_calls_total{code=\"OK\",method=\"/s/M\"} 2"));
  EXPECT_THAT(text, HasSubstr("vecino_rpc_calls_total{code=\"NOT_FOUND\",method=\"/s/M\"} 1"));
  EXPECT_THAT(text, HasSubstr("vecino_rpc_duration_seconds_count{method=\"/s/M\"} 3"));
  EXPECT_EQ(lines_.str(), "");  // a caller's mistake fills no log
}

TEST_F(CallObserverTest, WarnsOfOurFaultsAndSlowCalls) {
  MethodObserver observer("/s/M", metrics_.get(), absl::Milliseconds(100), &limit_);
  observer.Finished({grpc::StatusCode::DATA_LOSS, "block 7"}, absl::Milliseconds(1), peer_);
  EXPECT_THAT(lines_.str(), testing::AllOf(HasSubstr("call failed"), HasSubstr("DATA_LOSS"),
                                           HasSubstr("block 7"), HasSubstr("peer=ipv4")));
  observer.Finished(grpc::Status::OK, absl::Milliseconds(150), peer_);
  EXPECT_THAT(lines_.str(), testing::AllOf(HasSubstr("slow call"), HasSubstr("ms=150.0")));
}

TEST_F(CallObserverTest, LimitsWarnings) {
  const absl::Time now = absl::FromUnixSeconds(1000);
  int suppressed = 0;
  EXPECT_TRUE(limit_.Allow(now, &suppressed));
  EXPECT_TRUE(limit_.Allow(now, &suppressed));
  EXPECT_FALSE(limit_.Allow(now, &suppressed));
  EXPECT_FALSE(limit_.Allow(now, &suppressed));
  EXPECT_TRUE(limit_.Allow(now + absl::Seconds(1), &suppressed));
  EXPECT_EQ(suppressed, 2);
}

TEST(CodeNameTest, NamesAllAndSurvivesOthers) {
  EXPECT_EQ(CodeName(grpc::StatusCode::OK), "OK");
  EXPECT_EQ(CodeName(grpc::StatusCode::UNAUTHENTICATED), "UNAUTHENTICATED");
  EXPECT_EQ(CodeName(static_cast<grpc::StatusCode>(99)), "UNKNOWN");
}

}  // namespace
}  // namespace vecino::rpc
