#include "server/engine/token_waits.h"

#include <gtest/gtest.h>

#include <memory>
#include <thread>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "tests/server/engine/engine_fixture.h"

namespace vecino::engine {
namespace {

TEST(TokenWaitsTest, OnlySoManyMayWait) {
  TokenWaits waits;
  std::vector<std::unique_ptr<TokenWaits::Place>> places;
  for (int i = 0; i < kMaxTokenWaiters; ++i) {
    places.push_back(std::make_unique<TokenWaits::Place>(&waits));
    EXPECT_TRUE(places.back()->Take().ok());
    EXPECT_TRUE(places.back()->Take().ok());  // the same place
  }
  TokenWaits::Place next(&waits);
  EXPECT_EQ(next.Take().code(), absl::StatusCode::kResourceExhausted);
  places.pop_back();
  EXPECT_TRUE(next.Take().ok());
  TokenWaits::Place late(&waits);
  waits.Stop();
  waits.Stop();
  EXPECT_EQ(late.Take().code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(waits.stop().stop_requested());
}

// One more search than may wait, each with a token that is never reached. As soon as one of them is
// refused, the others have their places.
class UnreachableTokensTest : public EngineTest {
 protected:
  void SetUp() override {
    EngineTest::SetUp();
    Create("c", 1);
    written_ = Put("c", "a", "text").token;
    for (int i = 0; i <= kMaxTokenWaiters; ++i) {
      searches_.emplace_back([this] {
        const SearchRequest request{.query = TextQuery{"text"},
                                    .tokens = {{.shard = 0, .sequence = 1'000'000'000'000}}};
        const absl::Status status = engine_->Search("c", request, {}).status();
        absl::MutexLock lock(&mu_);
        ended_.push_back(status);
        one_ended_.Signal();
      });
    }
    absl::MutexLock lock(&mu_);
    while (ended_.empty()) one_ended_.Wait(&mu_);
    ASSERT_EQ(ended_.size(), 1u);
    EXPECT_EQ(ended_[0].code(), absl::StatusCode::kResourceExhausted) << ended_[0];
    EXPECT_FALSE(IsOverBudget(ended_[0]));
  }
  void ExpectOthersEndedWith(absl::StatusCode code) {
    for (std::thread& search : searches_) search.join();
    searches_.clear();
    absl::MutexLock lock(&mu_);
    ASSERT_EQ(ended_.size(), 1u + kMaxTokenWaiters);
    for (size_t i = 1; i < ended_.size(); ++i) EXPECT_EQ(ended_[i].code(), code) << ended_[i];
  }

  WriteToken written_;
  std::vector<std::thread> searches_;
  absl::Mutex mu_;
  absl::CondVar one_ended_;
  std::vector<absl::Status> ended_;
};

TEST_F(UnreachableTokensTest, DeletingTheCollectionWakesThem) {
  Create("d", 1);
  const SearchRequest reached{.query = TextQuery{"text"}, .tokens = {written_}};
  EXPECT_EQ(Find("c", reached).size(), 1u);              // needs no place
  EXPECT_TRUE(engine_->DeleteCollection("d", "").ok());  // another one wakes nobody
  EXPECT_TRUE(engine_->DeleteCollection("c", "").ok());
  ExpectOthersEndedWith(absl::StatusCode::kNotFound);
}

TEST_F(UnreachableTokensTest, BeginShutdownWakesThemAndLetsAllElseGoOn) {
  engine_->BeginShutdown();
  ExpectOthersEndedWith(absl::StatusCode::kUnavailable);
  engine_->BeginShutdown();
  const SearchRequest unreached{.query = TextQuery{"text"}, .tokens = {{0, 100}}};
  EXPECT_EQ(engine_->Search("c", unreached, {}).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(Put("c", "b", "more").status.ok());
  const SearchRequest reached{.query = TextQuery{"text"}, .tokens = {written_}};
  EXPECT_EQ(Find("c", reached).size(), 2u);
}

TEST_F(UnreachableTokensTest, ShutdownWakesThem) {
  engine_->Shutdown();
  ExpectOthersEndedWith(absl::StatusCode::kUnavailable);
}

TEST_F(EngineTest, ACollectionThatStayedLetsItsTokensBeWaitedFor) {
  Create("c", 1);
  store_.fault = [](std::string_view operation) {
    return operation == "DropCollection" ? absl::UnavailableError("io") : absl::OkStatus();
  };
  EXPECT_EQ(engine_->DeleteCollection("c", "").code(), absl::StatusCode::kUnavailable);
  std::thread writer([&] { Put("c", "a", "text"); });
  EXPECT_EQ(Find("c", {.query = TextQuery{"text"}, .tokens = {{0, 1}}}).size(), 1u);
  writer.join();
}

}  // namespace
}  // namespace vecino::engine
