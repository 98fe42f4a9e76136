// The engine on the real store: what was written is there after each start.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "tests/server/engine/fakes.h"
#include "tests/server/engine/model.h"

namespace vecino::engine {
namespace {

class ReopenTest : public testing::Test {
 protected:
  void SetUp() override {
    path_ = testing::TempDir() + "/engine_reopen_" + std::to_string(getpid());
    std::filesystem::remove_all(path_);
    Open();
  }
  void TearDown() override {
    engine_.reset();
    store_.reset();
    std::filesystem::remove_all(path_);
  }
  void Open() {
    engine_.reset();
    store_.reset();
    auto store =
        storage::Store::Open({.path = path_, .write_buffer_bytes = 1 << 20, .sync_writes = false});
    ASSERT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
    auto engine =
        Engine::Open({.tail_capacity = 8, .load_threads = 2}, store_.get(), &encoder_, &metrics_);
    ASSERT_TRUE(engine.ok()) << engine.status();
    engine_ = *std::move(engine);
  }

  std::string path_;
  FakeEncoder encoder_;
  FakeMetrics metrics_;
  std::unique_ptr<storage::Store> store_;
  std::unique_ptr<Engine> engine_;
};

TEST_F(ReopenTest, MatchesAPlainMapAcrossStarts) {
  std::vector<std::unique_ptr<Model>> models;
  for (const Metric metric : {Metric::kCosine, Metric::kDot, Metric::kL2}) {
    const std::string id = "m" + std::to_string(models.size());
    models.push_back(std::make_unique<Model>(id, metric, 7));
    ASSERT_TRUE(engine_->CreateCollection(models.back()->Spec(), false).ok());
  }
  for (int round = 0; round < 3; ++round) {
    for (auto& model : models) {
      model->Run(engine_.get(), 300);
      ASSERT_FALSE(HasFatalFailure());
      model->Verify(*engine_);
    }
    Open();
    for (auto& model : models) model->Verify(*engine_);
  }
}

TEST_F(ReopenTest, ADeletedCollectionStaysDeleted) {
  Model model("m", Metric::kCosine, 1);
  ASSERT_TRUE(engine_->CreateCollection(model.Spec(), false).ok());
  model.Run(engine_.get(), 100);
  ASSERT_TRUE(engine_->DeleteCollection("m", "").ok());
  ASSERT_TRUE(engine_->CreateCollection(model.Spec(), false).ok());
  EXPECT_EQ(*engine_->Count("m"), 0);
  Open();
  EXPECT_EQ(*engine_->Count("m"), 0);
  EXPECT_EQ(engine_->ListCollections().size(), 1u);
}

}  // namespace
}  // namespace vecino::engine
