#include "server/rpc/request_ids.h"

#include <gtest/gtest.h>

#include <atomic>
#include <optional>
#include <stop_token>
#include <thread>
#include <vector>

#include "absl/synchronization/notification.h"
#include "tests/server/rpc/expect_field.h"
#include "vecino/v1/document_service.pb.h"

namespace vecino::rpc {
namespace {

constexpr char kKey[] = "c/0/3f8e0c52-9d4b-4c6e-8a1f-52b7d0e4a913";

class RequestIdsTest : public testing::Test {
 protected:
  RequestIdsTest() { request_.add_ids("a"); }

  // Runs the request; what it does takes the next number, and the reply is that number.
  absl::StatusOr<int> Run(const std::string& key) {
    v1::BatchDeleteDocumentsResponse response;
    const absl::Status status = ids_->Run(key, request_, context_, &response, [&] {
      response.add_results()->set_token_count(++done_);
      return fail_;
    });
    if (!status.ok()) return status;
    EXPECT_EQ(response.results_size(), 1);
    return response.results(0).token_count();
  }
  void Limit(const RequestIdLimits& limits) {
    ids_.emplace(limits, [this] { return now_; });
  }

  absl::Time now_ = absl::FromUnixSeconds(1'000);
  std::optional<RequestIds> ids_{std::in_place};
  v1::BatchDeleteDocumentsRequest request_;
  engine::CallContext context_;
  absl::Status fail_;
  int done_ = 0;
};

TEST(RequestIdTest, OnlyAUuidOfVersion4Is) {
  for (const char* good :
       {"3f8e0c52-9d4b-4c6e-8a1f-52b7d0e4a913", "3F8E0C52-9D4B-4C6E-BA1F-52B7D0E4A913",
        "00000000-0000-4000-9000-000000000000"}) {
    EXPECT_TRUE(CheckRequestId(good).ok()) << good;
  }
  for (const char* bad :
       {"x", "00000000-0000-0000-0000-000000000000", "3f8e0c52-9d4b-1c6e-8a1f-52b7d0e4a913",
        "3f8e0c52-9d4b-4c6e-ca1f-52b7d0e4a913", "3f8e0c529-d4b-4c6e-8a1f-52b7d0e4a913",
        "3f8e0c52-9d4b-4c6e-8a1f-52b7d0e4a91", "3f8e0c52-9d4b-4c6e-8a1f-52b7d0e4a9133",
        "3f8e0c52-9d4b-4c6e-8a1f-52b7d0e4a91g", "{3f8e0c52-9d4b-4c6e-8a1f-52b7d0e4a9}"}) {
    ExpectField(CheckRequestId(bad), "request_id", bad);
  }
  EXPECT_LT(CheckRequestId(std::string(5'000, 'x')).message().size(), 300u);
}

TEST_F(RequestIdsTest, ARepeatGetsTheFirstReply) {
  EXPECT_EQ(Run(kKey).value(), 1);
  EXPECT_EQ(Run(kKey).value(), 1);
  EXPECT_EQ(Run("another").value(), 2);
  EXPECT_EQ(Run(kKey).value(), 1);
  EXPECT_EQ(done_, 2);
}

TEST_F(RequestIdsTest, AnotherRequestIsRefused) {
  ASSERT_TRUE(Run(kKey).ok());
  request_.add_ids("b");
  ExpectField(Run(kKey).status(), "request_id", "another request");
  // Also one of another method, whose bytes are the same.
  v1::BatchGetDocumentsRequest get;
  get.add_ids("a");
  v1::BatchGetDocumentsResponse response;
  ExpectField(ids_->Run(kKey, get, context_, &response, [] { return absl::OkStatus(); }),
              "request_id");
  EXPECT_EQ(done_, 1);
}

TEST_F(RequestIdsTest, OrderOfMapsDoesNotMatter) {
  const auto run = [&](bool backwards) {
    v1::BatchUpsertDocumentsRequest request;
    auto* fields = request.add_documents()->mutable_metadata()->mutable_fields();
    for (int i = 0; i < 100; ++i) {
      const int field = backwards ? 99 - i : i;
      (*fields)["field " + std::to_string(field)].set_number_value(field);
    }
    v1::BatchUpsertDocumentsResponse response;
    return ids_->Run(kKey, request, context_, &response, [] { return absl::OkStatus(); });
  };
  EXPECT_TRUE(run(false).ok());
  EXPECT_TRUE(run(true).ok());
}

TEST_F(RequestIdsTest, AnErrorIsNotKept) {
  fail_ = absl::UnavailableError("later");
  EXPECT_TRUE(absl::IsUnavailable(Run(kKey).status()));
  fail_ = absl::OkStatus();
  request_.add_ids("b");  // nor is what was asked
  EXPECT_EQ(Run(kKey).value(), 2);
  EXPECT_EQ(Run(kKey).value(), 2);
}

TEST_F(RequestIdsTest, AnExceptionIsNotKept) {
  v1::BatchDeleteDocumentsResponse response;
  const auto out_of_memory = []() -> absl::Status { throw std::bad_alloc(); };
  EXPECT_THROW((void)ids_->Run(kKey, request_, context_, &response, out_of_memory), std::bad_alloc);
  EXPECT_EQ(Run(kKey).value(), 1);
}

TEST_F(RequestIdsTest, TheOldestGoes) {
  Limit({.replies = 2});
  for (const char* key : {"a", "b", "a", "c"}) ASSERT_TRUE(Run(key).ok());
  EXPECT_EQ(ids_->size(), 2u);
  EXPECT_EQ(Run("b").value(), 2);
  EXPECT_EQ(Run("c").value(), 3);
  EXPECT_EQ(Run("a").value(), 4);
  Limit({.bytes = 100'000});
  for (int i = 0; i < 10'000; ++i) ASSERT_TRUE(Run(std::to_string(i)).ok());
  EXPECT_GT(ids_->size(), 100u);
  EXPECT_LT(ids_->size(), 1'000u);
  // A reply above the limit is given all the same.
  Limit({.bytes = 1});
  EXPECT_TRUE(Run("a").ok());
  EXPECT_EQ(ids_->size(), 0u);
}

TEST_F(RequestIdsTest, AReplyGoesWithTime) {
  Limit({.age = absl::Minutes(10)});
  EXPECT_EQ(Run("a").value(), 1);
  now_ += absl::Minutes(5);
  EXPECT_EQ(Run("b").value(), 2);
  now_ += absl::Minutes(5) - absl::Seconds(1);
  EXPECT_EQ(Run("a").value(), 1);
  now_ += absl::Seconds(1);
  EXPECT_EQ(Run("b").value(), 2);
  EXPECT_EQ(ids_->size(), 1u);
  EXPECT_EQ(Run("a").value(), 3);
}

// One call that runs until it is let go, on a thread of its own.
struct SlowCall {
  SlowCall(RequestIds* ids, const v1::BatchDeleteDocumentsRequest& request, absl::Status end)
      : thread([this, ids, request, end] {
          v1::BatchDeleteDocumentsResponse response;
          status = ids->Run(kKey, request, {}, &response, [&] {
            response.add_results()->set_token_count(100);
            runs.Notify();
            let_go.WaitForNotification();
            return end;
          });
        }) {
    runs.WaitForNotification();
  }
  void End() {
    let_go.Notify();
    thread.join();
  }

  absl::Notification runs, let_go;
  absl::Status status;
  std::thread thread;  // last: it uses the others
};

TEST_F(RequestIdsTest, ARepeatWaitsForTheFirst) {
  SlowCall slow(&*ids_, request_, absl::OkStatus());
  std::atomic<int> ended = 0;
  std::vector<int> replies(4, 0);
  std::vector<std::thread> repeats;
  for (int& reply : replies) {
    repeats.emplace_back([&] {
      v1::BatchDeleteDocumentsResponse response;
      const absl::Status status = ids_->Run(kKey, request_, context_, &response, [] {
        ADD_FAILURE() << "done twice";
        return absl::OkStatus();
      });
      ++ended;
      if (status.ok() && response.results_size() == 1) reply = response.results(0).token_count();
    });
  }
  // Another id is not held up, and another content is refused without waiting.
  EXPECT_EQ(Run("another").value(), 1);
  v1::BatchDeleteDocumentsRequest other;
  v1::BatchDeleteDocumentsResponse response;
  ExpectField(ids_->Run(kKey, other, context_, &response, [] { return absl::OkStatus(); }),
              "request_id");
  EXPECT_EQ(ended, 0);
  slow.End();
  for (std::thread& repeat : repeats) repeat.join();
  EXPECT_TRUE(slow.status.ok());
  EXPECT_EQ(replies, std::vector<int>(4, 100));
}

TEST_F(RequestIdsTest, WhoWaitsForOneThatFailsDoesItItself) {
  SlowCall slow(&*ids_, request_, absl::CancelledError("its caller went away"));
  std::vector<int> replies(3, 0);
  std::atomic<int> done = 0;
  std::vector<std::thread> repeats;
  for (int& reply : replies) {
    repeats.emplace_back([&] {
      v1::BatchDeleteDocumentsResponse response;
      const absl::Status status = ids_->Run(kKey, request_, context_, &response, [&] {
        response.add_results()->set_token_count(++done);
        return absl::OkStatus();
      });
      if (status.ok() && response.results_size() == 1) reply = response.results(0).token_count();
    });
  }
  slow.End();
  for (std::thread& repeat : repeats) repeat.join();
  EXPECT_TRUE(absl::IsCancelled(slow.status));
  EXPECT_EQ(done, 1);
  EXPECT_EQ(replies, std::vector<int>(3, 1));
}

TEST_F(RequestIdsTest, WaitingEndsWithTheCaller) {
  SlowCall slow(&*ids_, request_, absl::OkStatus());
  context_.deadline = absl::Now() + absl::Milliseconds(20);
  EXPECT_TRUE(absl::IsDeadlineExceeded(Run(kKey).status()));
  context_.deadline = absl::InfiniteFuture();
  std::stop_source stop;
  context_.stop = stop.get_token();
  std::thread leave([&] {
    absl::SleepFor(absl::Milliseconds(20));
    stop.request_stop();
  });
  EXPECT_TRUE(absl::IsCancelled(Run(kKey).status()));
  leave.join();
  EXPECT_TRUE(absl::IsCancelled(Run(kKey).status()));  // gone before it came
  slow.End();
  EXPECT_TRUE(slow.status.ok());
  EXPECT_EQ(done_, 0);
}

}  // namespace
}  // namespace vecino::rpc
