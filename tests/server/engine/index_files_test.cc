// Index files across starts: mapped when whole, made again from stored vectors when not.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <random>
#include <set>

#include "server/engine/shard.h"
#include "tests/server/engine/fakes.h"
#include "tests/server/engine/memory_store.h"
#include "tests/server/engine/test_support.h"

namespace vecino::engine {
namespace {

class IndexFilesTest : public testing::Test {
 protected:
  static constexpr int kD = 24;
  static constexpr int kRows = 3000;

  void SetUp() override {
    folder_ = testing::TempDir() + "/index_files_" + std::to_string(getpid()) + "_" +
              testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::remove_all(folder_);
    Load();
  }
  void TearDown() override {
    shard_.reset();
    std::filesystem::remove_all(folder_);
  }

  void Load() {
    shard_.reset();
    ShardOptions options;
    options.collection = "c";
    options.metric = index::Metric::kL2;
    options.dimension = kD;
    options.tail_capacity = 250;
    options.folder = folder_;
    options.maintenance.exact_rows = 500;
    OpenGate(&options.maintenance);
    options.maintenance.graph_rows = 1000;
    options.maintenance.graph_quiet = graph_quiet_;
    options.maintenance.quiet_tail_rows = 20;
    options.maintenance.tail_quiet = tail_quiet_;
    options.budget = budget_.get();
    auto shard = Shard::Load(options, *store_.OpenShard(1, 0, kD), &metrics_);
    ASSERT_TRUE(shard.ok()) << shard.status();
    shard_ = *std::move(shard);
  }

  void Put(int id) {
    std::normal_distribution<float> normal;
    ShardWrite write;
    write.document.id = std::to_string(id);
    write.document.vector.resize(kD);
    for (float& x : write.document.vector) x = normal(rng_) + static_cast<float>(id % 7);
    shard_->Write({&write, 1}, {});
    ASSERT_TRUE(write.result.status.ok());
  }
  void Delete(int id) {
    ShardWrite write;
    write.kind = storage::Mutation::Kind::kDelete;
    write.document.id = std::to_string(id);
    shard_->Write({&write, 1}, {});
    ASSERT_TRUE(write.result.status.ok());
  }
  void Fill() {
    for (int id = 0; id < kRows; ++id) Put(id);
    for (int id = 0; id < kRows; id += 5) Delete(id);
    for (int id = 1; id < kRows; id += 50) Put(id);
  }
  void MaintainFully() {
    while (true) {
      const auto worked = shard_->Maintain({});
      ASSERT_TRUE(worked.ok()) << worked.status();
      if (!worked->worked) return;
    }
  }
  // Labels and scores of every live row.
  std::vector<std::pair<uint64_t, float>> All() const {
    const std::vector<float> query(kD, 1.0f);
    const auto hits =
        shard_->Search(query.data(), {.k = 2 * kRows}, [] { return absl::OkStatus(); });
    std::vector<std::pair<uint64_t, float>> all;
    for (const ShardHit& hit : *hits) all.emplace_back(hit.sequence, hit.score);
    std::sort(all.begin(), all.end());
    return all;
  }
  std::vector<std::filesystem::path> Files() const {
    std::vector<std::filesystem::path> files;
    for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
      files.push_back(entry.path());
    }
    std::sort(files.begin(), files.end());
    return files;
  }

  std::string folder_;
  absl::Duration graph_quiet_ = absl::InfiniteDuration();
  absl::Duration tail_quiet_ = absl::InfiniteDuration();
  MemoryStore store_;
  FakeMetrics fake_metrics_;
  EngineMetrics metrics_{&fake_metrics_};
  std::mt19937 rng_{1};
  std::unique_ptr<MemoryBudget> budget_;
  std::shared_ptr<Shard> shard_;
};

TEST_F(IndexFilesTest, AStartMapsWhatTheManifestNames) {
  Fill();
  MaintainFully();
  const auto before = All();
  EXPECT_EQ(before.size(), static_cast<size_t>(kRows - kRows / 5));
  const ShardStats was = shard_->Stats();
  EXPECT_GT(was.generation, 0u);
  EXPECT_GT(was.mapped_bytes, 0);
  Load();
  EXPECT_EQ(All(), before);
  const ShardStats is = shard_->Stats();
  EXPECT_EQ(is.generation, was.generation);
  EXPECT_EQ(is.segments, was.segments);
  EXPECT_EQ(is.mapped_bytes, was.mapped_bytes);
  EXPECT_FALSE(shard_->MaintenanceDue());
}

TEST_F(IndexFilesTest, CalibratesAgainOnceItHasGrownAndKeepsThat) {
  constexpr char kCalibrations[] = "vecino_maintenance_total,calibrate";
  Fill();
  MaintainFully();
  const ShardStats was = shard_->Stats();
  const double before = fake_metrics_.Value(kCalibrations);
  for (int id = kRows; id < kRows + 1500; ++id) Put(id);
  MaintainFully();
  const ShardStats is = shard_->Stats();
  ASSERT_EQ(is.generation, was.generation);
  EXPECT_GT(fake_metrics_.Value(kCalibrations), before);
  const auto all = All();
  Load();
  EXPECT_EQ(shard_->Stats().nprobe, is.nprobe);
  EXPECT_FALSE(shard_->MaintenanceDue());
  EXPECT_EQ(All(), all);
}

// Nothing can be measured with one row: that must not be tried for ever.
TEST_F(IndexFilesTest, ATrainedShardOfOneRowIsLeftAlone) {
  Fill();
  MaintainFully();
  for (int id = 0; id < kRows; ++id) {
    if (id != 1 && (id % 5 != 0 || id % 50 == 1)) Delete(id);
  }
  MaintainFully();
  EXPECT_EQ(All().size(), 1u);
  EXPECT_FALSE(shard_->MaintenanceDue());
  Load();
  EXPECT_FALSE(shard_->MaintenanceDue());
  const auto retrain =
      std::make_shared<Operation>("1", "c", Operation::Type::kRetrain, std::vector<int>{0});
  shard_->Request(retrain);
  MaintainFully();
  EXPECT_FALSE(shard_->MaintenanceDue());
  EXPECT_EQ(All().size(), 1u);
}

TEST_F(IndexFilesTest, AQuietTailIsDrained) {
  tail_quiet_ = absl::ZeroDuration();
  Load();
  int told = 0;
  shard_->OnMaintenanceDue([&] { ++told; });
  Fill();
  MaintainFully();
  const auto before = All();
  EXPECT_EQ(shard_->Stats().tail_rows, 0);
  told = 0;
  for (int id = 0; id < 19; ++id) Put(kRows + id);
  MaintainFully();
  EXPECT_EQ(told, 0);
  EXPECT_EQ(shard_->Stats().tail_rows, 19);
  Put(kRows + 19);
  EXPECT_EQ(told, 1);
  MaintainFully();
  EXPECT_EQ(shard_->Stats().tail_rows, 0);
  EXPECT_EQ(All().size(), before.size() + 20);
}

TEST_F(IndexFilesTest, DeletionsAfterTheManifestAreNotForgotten) {
  Fill();
  MaintainFully();
  for (int id = 2; id < 200; id += 5) Delete(id);
  const auto before = All();
  Load();  // as after kill -9: no manifest was written since
  EXPECT_EQ(All(), before);
}

TEST_F(IndexFilesTest, FilesThatNobodyNamesAreDeleted) {
  Fill();
  MaintainFully();
  const auto before = Files();
  std::ofstream(folder_ + "/segment-999999.tmp") << "left over";
  std::ofstream(folder_ + "/segment-999998") << "left over";
  Load();
  EXPECT_EQ(Files(), before);
}

TEST_F(IndexFilesTest, AnyMissingOrDamagedFileIsMadeAgain) {
  graph_quiet_ = absl::ZeroDuration();
  Load();
  Fill();
  MaintainFully();
  ASSERT_GT(fake_metrics_.Value("vecino_maintenance_total,graph"), 0);
  const auto before = All();
  const auto files = Files();
  ASSERT_GE(files.size(), 3u);  // a generation, a segment, a graph
  for (size_t i = 0; i < files.size(); ++i) {
    for (const bool damage : {false, true}) {
      const auto names = Files();
      const auto& path = names[i % names.size()];
      if (damage) {
        const auto middle = static_cast<std::streamoff>(std::filesystem::file_size(path) / 2);
        std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
        for (std::streamoff at = middle; at < middle + 4096; ++at) {
          file.seekg(at);
          const int byte = file.get();
          if (byte < 0) break;
          file.seekp(at);
          file.put(static_cast<char>(byte ^ 1));
        }
      } else {
        std::filesystem::remove(path);
      }
      Load();
      ASSERT_EQ(All(), before) << path << (damage ? " damaged" : " missing");
      MaintainFully();
      ASSERT_EQ(All(), before) << path << (damage ? " damaged" : " missing");
    }
  }
  std::filesystem::remove_all(folder_);
  Load();
  EXPECT_EQ(All(), before);
}

TEST_F(IndexFilesTest, WorkGoesOnAfterEveryCrashPoint) {
  Fill();
  const auto before = All();
  for (int step = 0; step < 40; ++step) {
    // The manifest fails after a build: as if the process died between the two.
    store_.fault = [&](std::string_view operation) {
      return operation == "PutManifest" && step % 2 == 0 ? absl::UnavailableError("io")
                                                         : absl::OkStatus();
    };
    const auto worked = shard_->Maintain({});
    ASSERT_EQ(All(), before) << step;
    store_.fault = nullptr;
    Load();
    ASSERT_EQ(All(), before) << step;
    if (worked.ok() && !worked->worked) break;
  }
  EXPECT_GT(shard_->Stats().generation, 0u);
}

TEST_F(IndexFilesTest, AStoppedBuildChangesNothing) {
  Fill();
  const auto before = All();
  std::stop_source stop;
  stop.request_stop();
  EXPECT_EQ(shard_->Maintain(stop.get_token()).status().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(All(), before);
}

TEST_F(IndexFilesTest, ABudgetRefusesWithTheNumbers) {
  budget_ = std::make_unique<MemoryBudget>(64 << 10);
  Load();
  Fill();
  absl::Status refused;
  while (refused.ok()) {
    const auto worked = shard_->Maintain({});
    refused = worked.status();
    ASSERT_TRUE(!worked.ok() || worked->worked) << "everything was built";
  }
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_NE(refused.message().find("MiB"), absl::string_view::npos) << refused;
  EXPECT_EQ(All().size(), static_cast<size_t>(kRows - kRows / 5));  // and goes on serving
}

TEST_F(IndexFilesTest, ABudgetCountsWhatIsThereAndForgetsWhatIsGone) {
  budget_ = std::make_unique<MemoryBudget>(0);
  Load();
  const auto counted = [&] {
    const ShardStats stats = shard_->Stats();
    EXPECT_GT(stats.field_bytes, 0);
    return stats.segment_bytes + stats.field_bytes;
  };
  EXPECT_EQ(budget_->used(), counted());
  Fill();
  EXPECT_EQ(budget_->used(), counted());
  MaintainFully();
  EXPECT_GT(shard_->Stats().segments, 0);
  EXPECT_EQ(budget_->used(), counted());
  Load();
  EXPECT_EQ(budget_->used(), counted());
  shard_.reset();
  EXPECT_EQ(budget_->used(), 0);
}

TEST_F(IndexFilesTest, FieldsThatDoNotFitStayUnmergedAndAreSaved) {
  budget_ = std::make_unique<MemoryBudget>(1 << 20);
  Load();
  // Documents without a vector. Of every 2,048 the chunks are merged in any case, and saved; the
  // eight parts that there are in the end would be one if there was memory.
  int id = 0;
  absl::Status refused;
  for (int round = 0; round < 8; ++round) {
    ASSERT_TRUE(refused.ok()) << refused;
    std::vector<ShardWrite> writes(2048);
    for (ShardWrite& write : writes) {
      write.document.id = std::to_string(id++);
      write.document.metadata =
          R"({"text":"a value of its own that takes room )" + std::to_string(id) + "\"}";
      write.fields = *fields::ReadRow(write.document.metadata, "");
    }
    shard_->Write(absl::MakeSpan(writes), {});
    for (const ShardWrite& write : writes) ASSERT_TRUE(write.result.status.ok());
    refused = shard_->Maintain({}).status();
  }
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted) << refused;
  EXPECT_NE(refused.message().find("merging fields"), absl::string_view::npos) << refused;
  EXPECT_EQ(shard_->fields().Pin()->parts.size(), 8u);
  const auto pinned = shard_->fields().Pin();
  for (const fields::FieldPart& part : pinned->parts) EXPECT_NE(part.file, 0u);
  // Chunks that have piled up are merged by eights all the same.
  for (int i = 0; i < 16 * 256; ++i) Put(-1 - i);
  EXPECT_EQ(shard_->fields().Pin()->parts.size(), 8u + 16u);
  EXPECT_FALSE(shard_->Maintain({}).ok());
  EXPECT_LE(shard_->fields().Pin()->parts.size(), 8u + 2u);
  EXPECT_EQ(shard_->LiveDocuments(), 20 * 1024);
  Load();
  EXPECT_EQ(shard_->LiveDocuments(), 20 * 1024);
}

TEST_F(IndexFilesTest, AnOperationRetrainsAndSaysSo) {
  Fill();
  MaintainFully();
  const uint64_t generation = shard_->Stats().generation;
  const auto before = All();
  auto operation =
      std::make_shared<Operation>("o-1", "c", Operation::Type::kRetrain, std::vector<int>{0});
  shard_->Request(operation);
  EXPECT_TRUE(shard_->MaintenanceDue());
  MaintainFully();
  const Operation::Info info = operation->Snapshot();
  EXPECT_TRUE(info.done);
  EXPECT_TRUE(info.status.ok()) << info.status;
  EXPECT_GT(shard_->Stats().generation, generation);
  EXPECT_EQ(shard_->Stats().segments, 1);
  EXPECT_EQ(All(), before);

  auto cancelled =
      std::make_shared<Operation>("o-2", "c", Operation::Type::kRetrain, std::vector<int>{0});
  cancelled->Cancel();
  const uint64_t now = shard_->Stats().generation;
  shard_->Request(cancelled);
  MaintainFully();
  EXPECT_EQ(cancelled->Snapshot().status.code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(shard_->Stats().generation, now);
}

}  // namespace
}  // namespace vecino::engine
