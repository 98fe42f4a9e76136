// Client::UpdateCollection.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <mutex>
#include <string>

#include "tests/client/fake_server.h"
#include "vecino/client.h"

namespace vecino {
namespace {

using std::chrono::milliseconds;
using ::testing::ElementsAre;

// Does what the mask says to one collection, whose etag is the number of changes.
class UpdatingServer : public testing::FakeServer {
 public:
  UpdatingServer() { collection_.mutable_index_policy()->set_recall_target(0.95); }
  ~UpdatingServer() override { Stop(); }

  grpc::Status UpdateCollection(grpc::ServerContext*, const v1::UpdateCollectionRequest* request,
                                v1::UpdateCollectionResponse* response) override {
    const std::lock_guard lock(mutex_);
    ++calls_;
    last_ = *request;
    if (!request->collection().etag().empty() &&
        request->collection().etag() != std::to_string(changes_)) {
      return grpc::Status(grpc::StatusCode::ABORTED, "another etag");
    }
    if (!request->validate_only()) {
      ++changes_;
      collection_.mutable_index_policy()->set_recall_target(
          request->collection().index_policy().recall_target());
    }
    if (lose_ > 0 && lose_-- > 0) return grpc::Status(grpc::StatusCode::UNAVAILABLE, "lost");
    *response->mutable_collection() = collection_;
    return grpc::Status::OK;
  }
  grpc::Status GetCollection(grpc::ServerContext*, const v1::GetCollectionRequest*,
                             v1::GetCollectionResponse* response) override {
    const std::lock_guard lock(mutex_);
    *response->mutable_collection() = collection_;
    return grpc::Status::OK;
  }
  void Lose(int replies) {
    const std::lock_guard lock(mutex_);
    lose_ = replies;
  }
  int calls() const {
    const std::lock_guard lock(mutex_);
    return calls_;
  }
  v1::UpdateCollectionRequest last() const {
    const std::lock_guard lock(mutex_);
    return last_;
  }

 private:
  mutable std::mutex mutex_;
  v1::Collection collection_;
  v1::UpdateCollectionRequest last_;
  int changes_ = 0, calls_ = 0, lose_ = 0;
};

class UpdateCollectionTest : public ::testing::Test {
 protected:
  UpdatingServer server_;
  Client client_{ClientOptions{.server = server_.address(),
                               .timeout = milliseconds(20'000),
                               .initial_backoff = milliseconds(1),
                               .max_backoff = milliseconds(4)}};
};

TEST_F(UpdateCollectionTest, NamesWhatIsSet) {
  Result<Collection> updated = client_.UpdateCollection("c", {.recall_target = 0.8});
  ASSERT_TRUE(updated.ok()) << updated.status().ToString();
  EXPECT_EQ(updated->recall_target, 0.8);
  EXPECT_EQ(server_.last().collection().name(), "collections/c");
  EXPECT_THAT(server_.last().update_mask().paths(), ElementsAre("index_policy.recall_target"));
  EXPECT_FALSE(server_.last().validate_only());
  updated = client_.UpdateCollection("c", {.nprobe = 0, .ef_search = 9, .graph = false}, true);
  ASSERT_TRUE(updated.ok());
  const v1::UpdateCollectionRequest request = server_.last();
  EXPECT_THAT(request.update_mask().paths(),
              ElementsAre("index_policy.parameters.nprobe", "index_policy.parameters.ef_search",
                          "index_policy.parameters.graph"));
  EXPECT_EQ(request.collection().index_policy().parameters().ef_search(), 9);
  EXPECT_TRUE(request.collection().index_policy().parameters().has_graph());
  EXPECT_FALSE(request.collection().index_policy().parameters().graph());
  EXPECT_TRUE(request.validate_only());
}

TEST_F(UpdateCollectionTest, RefusesWithoutACallWhatNamesNothing) {
  EXPECT_EQ(client_.UpdateCollection("c", {.etag = "0"}).status().field(), "update_mask");
  EXPECT_EQ(client_.UpdateCollection("\xff", {.nprobe = 1}).status().field(), "collection.name");
  EXPECT_EQ(client_.UpdateCollection("c", {.nprobe = 1, .etag = "\xff"}).status().field(),
            "collection.etag");
  EXPECT_EQ(server_.calls(), 0);
}

TEST_F(UpdateCollectionTest, AnAttemptWhoseReplyWasLostCounts) {
  server_.Lose(1);
  const Result<Collection> updated =
      client_.UpdateCollection("c", {.recall_target = 0.8, .etag = "0"});
  ASSERT_TRUE(updated.ok()) << updated.status().ToString();
  EXPECT_EQ(updated->recall_target, 0.8);
  EXPECT_EQ(server_.calls(), 2);
  const Result<Collection> late =
      client_.UpdateCollection("c", {.recall_target = 0.7, .etag = "0"});
  EXPECT_EQ(late.status().code(), Code::kAborted);
}

}  // namespace
}  // namespace vecino
