#include "client/request_id.h"

#include <gtest/gtest.h>

#include <chrono>
#include <mutex>
#include <regex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "tests/client/fake_server.h"
#include "vecino/client.h"

namespace vecino {
namespace {

const std::regex kUuid("[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}");

TEST(RequestIdTest, IsAUuidAndAlwaysAnother) {
  std::mutex mutex;
  std::set<std::string> ids;
  std::set<char> variants;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 100; ++i) {
        const std::string id = internal::NewRequestId();
        const std::lock_guard lock(mutex);
        EXPECT_TRUE(std::regex_match(id, kUuid)) << id;
        variants.insert(id[19]);
        ids.insert(id);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(ids.size(), 400U);
  EXPECT_EQ(variants.size(), 4U);
}

// Keeps the ids it is sent, and answers every other batch with UNAVAILABLE.
class LossyServer : public testing::FakeServer {
 public:
  grpc::Status BatchUpsertDocuments(grpc::ServerContext*,
                                    const v1::BatchUpsertDocumentsRequest* request,
                                    v1::BatchUpsertDocumentsResponse* response) override {
    for (int i = 0; i < request->documents_size(); ++i) response->add_results();
    return Answer(request->request_id());
  }
  grpc::Status BatchDeleteDocuments(grpc::ServerContext*,
                                    const v1::BatchDeleteDocumentsRequest* request,
                                    v1::BatchDeleteDocumentsResponse* response) override {
    for (int i = 0; i < request->ids_size(); ++i) response->add_results();
    return Answer(request->request_id());
  }
  std::vector<std::string> ids() {
    const std::lock_guard lock(mutex_);
    return ids_;
  }

 private:
  grpc::Status Answer(const std::string& id) {
    const std::lock_guard lock(mutex_);
    ids_.push_back(id);
    return ids_.size() % 2 == 0 ? grpc::Status::OK
                                : grpc::Status(grpc::StatusCode::UNAVAILABLE, "lost");
  }

  std::mutex mutex_;
  std::vector<std::string> ids_;
};

TEST(RequestIdTest, IsTheSameInEachAttemptOfABatchAndInNoOtherCall) {
  LossyServer server;
  Client client({.server = server.address(), .initial_backoff = std::chrono::milliseconds(1)});
  for (int i = 0; i < 2; ++i) {
    const auto written =
        client.UpsertBatch("c", {{.id = "a"}}, Truncate::kAuto, WriteMode::kInsert);
    ASSERT_TRUE(written.ok()) << written.status().ToString();
    EXPECT_TRUE(written->at(0).repeated);
    const auto deleted = client.DeleteBatch("c", {"a"});
    ASSERT_TRUE(deleted.ok()) << deleted.status().ToString();
    EXPECT_TRUE(deleted->at(0).status.ok());
  }
  const std::vector<std::string> ids = server.ids();
  ASSERT_EQ(ids.size(), 8U);
  for (size_t i = 0; i < ids.size(); i += 2) {
    EXPECT_TRUE(std::regex_match(ids[i], kUuid)) << ids[i];
    EXPECT_EQ(ids[i], ids[i + 1]);
  }
  EXPECT_EQ(std::set<std::string>(ids.begin(), ids.end()).size(), 4U);
}

}  // namespace
}  // namespace vecino
