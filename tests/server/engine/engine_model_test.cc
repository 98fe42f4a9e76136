// Random writes from several threads, searches beside them, drains and merges all the time.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "absl/strings/numbers.h"
#include "absl/time/clock.h"
#include "tests/server/engine/engine_fixture.h"
#include "tests/server/engine/model.h"
#include "tests/server/engine/test_support.h"

namespace vecino::engine {
namespace {

// For longer runs than a test of every day: VECINO_MODEL_OPERATIONS multiplies the operations,
// VECINO_MODEL_SEED (1 unless set) chooses them.
uint32_t FromEnvironment(const char* name) {
  const char* const text = std::getenv(name);
  uint32_t value = 1;
  EXPECT_TRUE(text == nullptr || (absl::SimpleAtoi(text, &value) && value > 0))
      << name << "=" << text << " is not a positive number";
  return value;
}

struct ModelCase {
  Metric metric;
  IndexKind kind;
  bool files;  // whether indexes are kept in files
};

class ModelTest : public EngineTest, public testing::WithParamInterface<ModelCase> {
 protected:
  void SetUp() override {
    // Every kind of work all the time, on few rows.
    options_.maintenance.exact_rows = 12;
    options_.maintenance.min_index_rows = 8;
    // With so few rows a fifth of them comes and goes all the time.
    options_.maintenance.max_calibrated_growth = 2;
    options_.maintenance.min_drift_rows = 40;
    options_.maintenance.graph_rows = 10;
    options_.maintenance.graph_quiet = absl::ZeroDuration();
    options_.maintenance.graph_max_dead_share = 1;
    OpenGate(&options_.maintenance);
    options_.maintenance_threads = 2;
    if (GetParam().files) {
      std::string name = testing::UnitTest::GetInstance()->current_test_info()->name();
      std::replace(name.begin(), name.end(), '/', '_');
      folder_ = testing::TempDir() + "/engine_model_" + std::to_string(getpid()) + "_" + name;
      options_.index_folder = folder_;
    }
    EngineTest::SetUp();
  }
  void TearDown() override {
    engine_.reset();
    if (!folder_.empty()) std::filesystem::remove_all(folder_);
  }

  void RunWith(int operations) {
    operations *= static_cast<int>(FromEnvironment("VECINO_MODEL_OPERATIONS"));
    const uint32_t seed = FromEnvironment("VECINO_MODEL_SEED");
    SCOPED_TRACE(testing::Message() << "VECINO_MODEL_SEED=" << seed);
    Model model("m", GetParam().metric, seed);
    CollectionSpec spec = model.Spec();
    spec.index.kind = GetParam().kind;
    ASSERT_TRUE(engine_->CreateCollection(spec, false).ok());
    for (int round = 0; round < 2; ++round) {
      model.Run(engine_.get(), operations);
      if (testing::Test::HasFatalFailure()) return;
      model.Verify(*engine_);
      Settle();
      model.Verify(*engine_);
      Reopen();
      model.Verify(*engine_);
    }
    EXPECT_GT(model.searches(), 10);
    EXPECT_GT(metrics_.Value("vecino_maintenance_total,drain"), 0);
    refused_ = model.refused();
    RecordProperty("operations", 2 * Model::kWriters * operations);
    RecordProperty("searches", model.searches());
  }

  // Waits until maintenance has caught up with the writers.
  void Settle() {
    const auto behind = [](const ShardStats& shard) {
      return shard.tail_rows > 8 || shard.segments > 8;
    };
    for (;;) {
      const auto stats = engine_->GetCollectionStats("m");
      ASSERT_TRUE(stats.ok());
      if (std::none_of(stats->shards.begin(), stats->shards.end(), behind)) return;
      absl::SleepFor(absl::Milliseconds(1));  // maintenance needs the core
    }
  }

  int refused_ = 0;
  std::string folder_;
};

TEST_P(ModelTest, MatchesAPlainMap) {
  RunWith(2500);
  EXPECT_EQ(refused_, 0);
  if (GetParam().kind != IndexKind::kAuto) return;
  // Every kind of work was done, or is about to be: there are rows enough for all of it.
  while (metrics_.Value("vecino_maintenance_total,retrain") == 0 ||
         metrics_.Value("vecino_maintenance_total,graph") == 0) {
    absl::SleepFor(absl::Milliseconds(1));
  }
}

TEST_P(ModelTest, MatchesAPlainMapWhenTheStoreRefusesNowAndThen) {
  std::atomic<int> appends{0}, manifests{0};
  store_.fault = [&](std::string_view operation) {
    if (operation == "Append" && ++appends % 20 == 0) return absl::UnavailableError("io");
    if (operation == "PutManifest" && ++manifests % 3 == 0) return absl::UnavailableError("io");
    return absl::OkStatus();
  };
  RunWith(1000);
  EXPECT_GT(refused_, 20);
  engine_.reset();  // maintenance uses the counters to its end
}

std::string NameOf(const testing::TestParamInfo<ModelCase>& info) {
  const char* const metrics[] = {"Cosine", "Dot", "L2"};
  std::string name(index::IndexKindName(info.param.kind));
  name.erase(std::remove(name.begin(), name.end(), '_'), name.end());
  return metrics[static_cast<int>(info.param.metric)] + name + (info.param.files ? "InFiles" : "");
}

std::vector<ModelCase> Cases() {
  std::vector<ModelCase> cases;
  for (const Metric metric : {Metric::kCosine, Metric::kDot, Metric::kL2}) {
    cases.push_back({metric, IndexKind::kAuto, true});
    cases.push_back({metric, IndexKind::kAuto, false});
    cases.push_back({metric, IndexKind::kFlat, false});
  }
  for (const IndexKind kind : {IndexKind::kIvfFlat, IndexKind::kIvfSq8, IndexKind::kIvfPq,
                               IndexKind::kHnsw, IndexKind::kLsh}) {
    cases.push_back({Metric::kCosine, kind, true});
    cases.push_back({Metric::kL2, kind, false});
  }
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Kinds, ModelTest, testing::ValuesIn(Cases()), NameOf);

}  // namespace
}  // namespace vecino::engine
