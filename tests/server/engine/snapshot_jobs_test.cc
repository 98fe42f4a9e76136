// Snapshots and checks, on the real store.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "server/engine/engine.h"
#include "server/engine/shard_check.h"
#include "tests/server/engine/fakes.h"
#include "tests/server/engine/test_support.h"

namespace vecino::engine {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class SnapshotJobsTest : public testing::Test {
 protected:
  static constexpr int kDimension = 8;

  void SetUp() override {
    folder_ = testing::TempDir() + "/snapshot_jobs_" + std::to_string(getpid()) + "_" +
              testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::remove_all(folder_);
    Open();
  }
  void TearDown() override {
    engine_.reset();
    store_.reset();
    std::filesystem::remove_all(folder_);
  }
  void Open() {
    engine_.reset();
    store_.reset();
    auto store = storage::Store::Open(
        {.path = folder_ + "/store", .write_buffer_bytes = 1 << 20, .sync_writes = false});
    ASSERT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
    EngineOptions options;
    options.tail_capacity = 8;
    options.load_threads = 2;
    options.index_folder = folder_ + "/index";
    options.snapshot_folder = folder_ + "/snapshots";
    options.server_version = "1.2.3";
    auto engine = Engine::Open(options, store_.get(), &encoder_, &metrics_);
    ASSERT_TRUE(engine.ok()) << engine.status();
    engine_ = *std::move(engine);
  }
  void Create(const std::string& id, int documents) {
    CollectionSpec spec;
    spec.id = id;
    spec.model = "fake";
    spec.shard_count = 2;
    ASSERT_TRUE(engine_->CreateCollection(spec, false).ok());
    for (int i = 0; i < documents; ++i) Put(id, std::to_string(i));
  }
  void Put(const std::string& collection, const std::string& id) {
    DocumentWrite write;
    write.document.id = id;
    write.document.text = "text " + id;
    write.document.metadata = R"({"n":")" + id + "\"}";
    const auto results = engine_->Upsert(collection, {write}, Truncate::kAuto, {});
    ASSERT_TRUE(results.ok()) << results.status();
    ASSERT_TRUE((*results)[0].status.ok()) << (*results)[0].status;
  }
  std::string Find(const std::string& collection, const std::string& text,
                   const std::string& filter = "") {
    SearchRequest request{.query = TextQuery{text}, .top_k = 1};
    request.filter = filter;
    const auto result = engine_->Search(collection, request, {});
    EXPECT_TRUE(result.ok()) << result.status();
    return result.ok() && !result->hits.empty() ? result->hits[0].document.id : "";
  }
  Operation::Info Wait(const absl::StatusOr<Operation::Info>& started) {
    EXPECT_TRUE(started.ok()) << started.status();
    if (!started.ok()) return {};
    Operation::Info info = *started;
    while (!info.done) {
      auto now = Door().WaitOperation(info.collection, info.id, absl::Seconds(10), {});
      EXPECT_TRUE(now.ok()) << now.status();
      if (!now.ok()) break;
      info = *now;
    }
    return info;
  }
  Snapshots& Door() { return engine_->snapshots(); }
  absl::StatusOr<Operation::Info> Take(const std::string& id,
                                       std::vector<std::string> collections = {}) {
    return Door().Create(id, collections);
  }
  // Findings as "where: problem"; how the check ended.
  absl::Status Verify(const IntegrityRequest& request, std::vector<std::string>* found,
                      IntegrityReport* last = nullptr) {
    auto check = Door().Verify(request);
    if (!check.ok()) return check.status();
    struct Bell {
      std::mutex mu;
      std::condition_variable changed;
      bool rung = false;
    };
    const auto bell = std::make_shared<Bell>();
    while (true) {
      const bool ready = (*check)->WakeWhenReady([bell] {
        std::lock_guard lock(bell->mu);
        bell->rung = true;
        bell->changed.notify_all();
      });
      if (!ready) {
        std::unique_lock lock(bell->mu);
        bell->changed.wait(lock, [&] { return bell->rung; });
        bell->rung = false;
        continue;
      }
      const auto report = (*check)->Next();
      if (!report.ok()) return report.status();
      if (!report->has_value()) return absl::OkStatus();
      if ((*report)->finding.has_value()) {
        EXPECT_NE((*report)->finding->advice, "");
        found->push_back((*report)->finding->where + ": " + (*report)->finding->problem);
      }
      if ((*report)->done && last != nullptr) *last = **report;
    }
  }
  std::vector<std::string> Ids() {
    std::vector<std::string> ids;
    const auto infos = Door().List("", 100);
    EXPECT_TRUE(infos.ok()) << infos.status();
    for (const SnapshotInfo& info : *infos) ids.push_back(info.id);
    return ids;
  }
  // Changes a byte in the middle of the file.
  static void Damage(const std::filesystem::path& path) {
    std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
    const auto middle = static_cast<std::streamoff>(std::filesystem::file_size(path) / 2);
    file.seekg(middle);
    const char byte = static_cast<char>(file.get() ^ 1);
    file.seekp(middle);
    file.put(byte);
  }

  std::string folder_;
  FakeEncoder encoder_{kDimension};
  FakeMetrics metrics_;
  std::unique_ptr<storage::Store> store_;
  std::unique_ptr<Engine> engine_;
};

TEST_F(SnapshotJobsTest, ARestoredCollectionIsSearchedAsTheOneThatWasCopied) {
  Create("a", 40);
  Create("b", 5);
  const Operation::Info taken = Wait(Take("s"));
  ASSERT_TRUE(taken.status.ok()) << taken.status;
  ASSERT_NE(taken.snapshot, nullptr);
  ASSERT_TRUE(taken.snapshot->made.has_value());
  EXPECT_EQ(taken.snapshot->made->documents, 45);
  EXPECT_THAT(taken.snapshot->collections, ElementsAre("a", "b"));
  const auto infos = Door().List("", 10);
  ASSERT_TRUE(infos.ok());
  ASSERT_EQ(infos->size(), 1u);
  EXPECT_EQ((*infos)[0].server_version, "1.2.3");
  EXPECT_EQ((*infos)[0].bytes, taken.snapshot->made->bytes);

  Put("a", "later");
  const Operation::Info restored =
      Wait(Door().Restore({.snapshot = "s", .source = "a", .collection = "copy"}));
  ASSERT_TRUE(restored.status.ok()) << restored.status;
  EXPECT_THAT(restored.snapshot->collections, ElementsAre("copy"));
  for (const bool reopened : {false, true}) {
    if (reopened) Open();
    EXPECT_EQ(*engine_->Count("copy"), 40);
    EXPECT_EQ(*engine_->Count("a"), 41);
    EXPECT_EQ(Find("copy", "text 17"), "17");
    EXPECT_EQ(Find("copy", "text 17", "n = \"3\""), "3");
    EXPECT_EQ(engine_->GetCollection("copy")->spec.model, "fake");
    std::vector<std::string> found;
    EXPECT_TRUE(Verify({.collection = "copy", .snapshot = ""}, &found).ok());
    EXPECT_THAT(found, IsEmpty());
  }
  Put("copy", "new");
  EXPECT_EQ(Find("copy", "text new"), "new");
  EXPECT_EQ(Ids(), std::vector<std::string>{"s"});
}

TEST_F(SnapshotJobsTest, AllCollectionsComeBackAtOnce) {
  Create("a", 3);
  Create("b", 4);
  ASSERT_TRUE(Wait(Take("s")).status.ok());
  ASSERT_TRUE(engine_->DeleteCollection("a", "").ok());
  EXPECT_EQ(Door().Restore({.snapshot = "s", .source = "", .collection = ""}).status().code(),
            absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(engine_->ListCollections().size(), 1u);
  ASSERT_TRUE(engine_->DeleteCollection("b", "").ok());
  ASSERT_TRUE(Wait(Door().Restore({.snapshot = "s", .source = "", .collection = ""})).status.ok());
  EXPECT_EQ(*engine_->Count("a"), 3);
  EXPECT_EQ(*engine_->Count("b"), 4);
}

TEST_F(SnapshotJobsTest, WhatIsAskedForIsChecked) {
  using enum absl::StatusCode;
  Create("a", 1);
  Create("b", 1);
  ASSERT_TRUE(engine_->CreateAlias("other-a", "a").ok());
  EXPECT_EQ(Take("S").status().code(), kInvalidArgument);
  EXPECT_EQ(FieldOf(Take("S").status()), "snapshot_id");
  EXPECT_EQ(Take("s", {"none"}).status().code(), kNotFound);
  EXPECT_EQ(FieldOf(Take("s", {"a", "other-a"}).status()), "collections[1]");
  ASSERT_TRUE(Wait(Take("s", {"other-a"})).status.ok());
  EXPECT_EQ(Take("s").status().code(), kAlreadyExists);
  ASSERT_TRUE(Wait(Take("both")).status.ok());
  EXPECT_THAT(Ids(), ElementsAre("both", "s"));

  const auto restore = [&](const char* snapshot, const char* source, const char* as) {
    return Door().Restore({.snapshot = snapshot, .source = source, .collection = as}).status();
  };
  EXPECT_EQ(restore("none", "", "").code(), kNotFound);
  EXPECT_EQ(restore("s", "b", "").code(), kNotFound);
  EXPECT_EQ(restore("s", "", "").code(), kAlreadyExists);
  EXPECT_EQ(restore("s", "", "other-a").code(), kAlreadyExists);
  EXPECT_EQ(FieldOf(restore("s", "", "C")), "collection_id");
  EXPECT_EQ(FieldOf(restore("both", "", "c")), "collection_id");
  EXPECT_EQ(Door().Delete("none").code(), kNotFound);
  EXPECT_TRUE(Door().Delete("both").ok());
  EXPECT_THAT(Ids(), ElementsAre("s"));
  EXPECT_EQ(Door().Verify({.collection = "none", .snapshot = ""}).status().code(), kNotFound);
  EXPECT_EQ(Door().Verify({.collection = "", .snapshot = "none"}).status().code(), kNotFound);
  EXPECT_EQ(Door().Verify({.collection = "a", .snapshot = "s"}).status().code(), kInvalidArgument);
  EXPECT_EQ(Door().GetOperation("s", "none").status().code(), kNotFound);

  const Operation::Info timed = Wait(Take(""));
  EXPECT_TRUE(timed.status.ok()) << timed.status;
  EXPECT_EQ(timed.collection.size(), std::string("20240131-235959").size());
}

TEST_F(SnapshotJobsTest, TwoWithoutANameGetOneEach) {
  Create("a", 1);
  const auto first = Take(""), second = Take("");
  const Operation::Info one = Wait(first), two = Wait(second);
  EXPECT_TRUE(one.status.ok() && two.status.ok()) << one.status << two.status;
  EXPECT_NE(one.collection, two.collection);
  EXPECT_EQ(Ids().size(), 2u);
}

TEST_F(SnapshotJobsTest, DeletingAndRestoringAtOnceEndsOneWayOrTheOther) {
  Create("a", 5);
  for (int i = 0; i < 8; ++i) {
    ASSERT_TRUE(Wait(Take("s")).status.ok());
    const std::string copy = "copy" + std::to_string(i);
    std::vector<absl::Status> deleted(2);
    std::vector<std::thread> threads;
    for (absl::Status& status : deleted) {
      threads.emplace_back([&] { status = Door().Delete("s"); });
    }
    const auto started = Door().Restore({.snapshot = "s", .source = "a", .collection = copy});
    for (std::thread& thread : threads) thread.join();
    const int gone = static_cast<int>(
        std::count_if(deleted.begin(), deleted.end(), [](const auto& one) { return one.ok(); }));
    for (const absl::Status& status : deleted) {
      EXPECT_TRUE(status.ok() || absl::IsNotFound(status) || absl::IsFailedPrecondition(status))
          << status;
    }
    if (started.ok()) {
      EXPECT_TRUE(Wait(started).status.ok());
      EXPECT_EQ(*engine_->Count(copy), 5);
    } else {
      EXPECT_TRUE(absl::IsNotFound(started.status())) << started.status();
      EXPECT_EQ(gone, 1);
    }
    EXPECT_LE(gone, 1);
    if (gone == 0) {
      EXPECT_TRUE(Door().Delete("s").ok());
    }
  }
}

TEST_F(SnapshotJobsTest, DocumentsOfPassagesComeBackWithThem) {
  encoder_.models[0].max_tokens = 64;  // the fake counts bytes
  CollectionSpec spec;
  spec.id = "a";
  spec.model = "fake";
  spec.shard_count = 2;
  spec.chunking = Chunking{.max_tokens = 32, .overlap_tokens = 0};
  ASSERT_TRUE(engine_->CreateCollection(spec, false).ok());
  const auto sentence = [](int document, int number) {
    std::string text = "S " + std::to_string(document) + " " + std::to_string(number) + " ";
    text.append(30 - text.size(), 'x');
    return text + ". ";
  };
  for (int i = 0; i < 20; ++i) {
    DocumentWrite write;
    write.document.id = std::to_string(i);
    for (int number = 0; number < 3; ++number) write.document.text += sentence(i, number);
    const auto results = engine_->Upsert("a", {write}, Truncate::kAuto, {});
    ASSERT_TRUE(results.ok() && (*results)[0].status.ok());
  }
  ASSERT_TRUE(Wait(Take("s")).status.ok());
  ASSERT_TRUE(
      Wait(Door().Restore({.snapshot = "s", .source = "", .collection = "copy"})).status.ok());
  for (const bool reopened : {false, true}) {
    if (reopened) Open();
    EXPECT_EQ(*engine_->Count("copy"), 20);
    EXPECT_EQ(engine_->GetCollection("copy")->spec.chunking->max_tokens, 32);
    for (int number = 0; number < 3; ++number) {
      const auto result = engine_->Search(
          "copy", SearchRequest{.query = TextQuery{sentence(7, number)}, .top_k = 1}, {});
      ASSERT_TRUE(result.ok() && result->hits.size() == 1) << result.status();
      EXPECT_EQ(result->hits[0].document.id, "7");
      ASSERT_TRUE(result->hits[0].passage.has_value());
      EXPECT_EQ(result->hits[0].passage->index, number);
    }
    for (const char* id : {"a", "copy"}) {
      std::vector<std::string> found;
      EXPECT_TRUE(Verify({.collection = id, .snapshot = ""}, &found).ok());
      EXPECT_THAT(found, IsEmpty());
    }
  }
}

TEST_F(SnapshotJobsTest, ACollectionInAMigrationComesBackAsTheSideInUse) {
  encoder_.AddModel("other", 6, "hash-2");
  Create("a", 30);
  const auto migrate = [&](const char* id, const char* model) {
    MigrationRequest request;
    request.model = model;
    auto info = engine_->MigrateEmbeddings(id, request);
    ASSERT_TRUE(info.ok()) << info.status();
    while (info.ok() && !info->done) {
      info = engine_->WaitOperation(id, info->id, absl::Seconds(10), {});
    }
    ASSERT_TRUE(info.ok() && info->status.ok()) << info.status();
    const auto switched = engine_->SwitchEmbeddings(id, MigrationSide::kNew, {});
    ASSERT_TRUE(switched.ok()) << switched.status();
  };
  migrate("a", "other");
  ASSERT_TRUE(Wait(Take("s")).status.ok());
  ASSERT_TRUE(
      Wait(Door().Restore({.snapshot = "s", .source = "", .collection = "copy"})).status.ok());
  for (const bool reopened : {false, true}) {
    if (reopened) Open();
    const auto info = engine_->GetCollection("copy");
    ASSERT_TRUE(info.ok());
    EXPECT_EQ(info->spec.model, "other");
    EXPECT_FALSE(info->migration.has_value());
    EXPECT_EQ(*engine_->Count("copy"), 30);
    EXPECT_EQ(Find("copy", "text 17"), "17");
    std::vector<std::string> found;
    EXPECT_TRUE(Verify({}, &found).ok());
    EXPECT_THAT(found, IsEmpty());
  }
  // Its numbers go on where they were, so that it can be migrated itself.
  Put("copy", "new");
  migrate("copy", "fake");
  EXPECT_EQ(Find("copy", "text new"), "new");
  EXPECT_EQ(*engine_->Count("copy"), 31);
}

TEST_F(SnapshotJobsTest, ACancelledOneLeavesNothing) {
  Create("a", 5);
  // The first is being made, or was, when the second is cancelled.
  const auto first = Take("first");
  const auto second = Take("second");
  ASSERT_TRUE(second.ok());
  ASSERT_TRUE(Door().CancelOperation("second", second->id).ok());
  ASSERT_TRUE(Wait(first).status.ok());
  const Operation::Info ended = Wait(second);
  // It may have been over already; what is told is what is there.
  EXPECT_EQ(Ids().size(), ended.status.ok() ? 2u : 1u);
  EXPECT_TRUE(ended.status.ok() || absl::IsCancelled(ended.status)) << ended.status;
  const auto listed = Door().ListOperations("second", "", 10);
  ASSERT_TRUE(listed.ok());
  ASSERT_EQ(listed->size(), 1u);
  EXPECT_TRUE(Door().DeleteOperation("second", second->id).ok());
  EXPECT_EQ(Door().GetOperation("second", second->id).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(SnapshotJobsTest, WritesGoOnWhileOneIsMade) {
  Create("a", 50);
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    for (int i = 0; !stop; ++i) Put("a", "w" + std::to_string(i % 100));
  });
  const Operation::Info taken = Wait(Take("s"));
  stop = true;
  writer.join();
  ASSERT_TRUE(taken.status.ok()) << taken.status;
  ASSERT_TRUE(
      Wait(Door().Restore({.snapshot = "s", .source = "", .collection = "copy"})).status.ok());
  EXPECT_EQ(*engine_->Count("copy"), taken.snapshot->made->documents);
  std::vector<std::string> found;
  EXPECT_TRUE(Verify({}, &found).ok());
  EXPECT_THAT(found, IsEmpty());
}

TEST_F(SnapshotJobsTest, ADamagedSnapshotIsToldOfAndNotRestored) {
  Create("a", 20);
  ASSERT_TRUE(Wait(Take("s")).status.ok());
  Damage(folder_ + "/snapshots/s/000001.sst");
  const Operation::Info restored =
      Wait(Door().Restore({.snapshot = "s", .source = "", .collection = "copy"}));
  EXPECT_EQ(restored.status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(restored.status.message()), HasSubstr("000001.sst"));
  EXPECT_EQ(engine_->ListCollections().size(), 1u);
  std::vector<std::string> found;
  IntegrityReport last;
  EXPECT_EQ(Verify({}, &found, &last).code(), absl::StatusCode::kDataLoss);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_THAT(found[0], HasSubstr("000001.sst"));
  EXPECT_EQ(last.findings, 1);
  EXPECT_GT(last.rows, 20);
  EXPECT_GT(last.bytes, 0);

  {
    std::fstream manifest(folder_ + "/snapshots/s/MANIFEST",
                          std::ios::binary | std::ios::in | std::ios::out);
    manifest.seekp(8);  // the format version
    manifest.put(2);
  }
  EXPECT_EQ(Door().Restore({.snapshot = "s", .source = "", .collection = "x"}).status().code(),
            absl::StatusCode::kFailedPrecondition);
  auto check = Door().Verify({.collection = "", .snapshot = "s"});
  ASSERT_TRUE(check.ok());
  std::string advice;
  for (bool done = false; !done;) {
    const auto report = (*check)->Next();
    ASSERT_TRUE(report.ok()) << report.status();
    if (!report->has_value()) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      continue;
    }
    if ((*report)->finding.has_value()) advice = (*report)->finding->advice;
    done = (*report)->done;
  }
  EXPECT_THAT(advice, HasSubstr("keep it"));

  std::filesystem::remove(folder_ + "/snapshots/s/MANIFEST");
  const auto infos = Door().List("", 10);
  ASSERT_EQ(infos->size(), 1u);
  EXPECT_EQ((*infos)[0].damage.code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(Door().Restore({.snapshot = "s", .source = "", .collection = "x"}).status().code(),
            absl::StatusCode::kDataLoss);
  EXPECT_TRUE(Door().Delete("s").ok());
}

TEST_F(SnapshotJobsTest, ChecksAreFewAndStopWithTheirCaller) {
  Create("a", 20);
  auto first = Door().Verify({});
  auto second = Door().Verify({});
  ASSERT_TRUE(first.ok() && second.ok());
  // Nobody reads them, but they may be over before this comes.
  const absl::Status full = Door().Verify({}).status();
  EXPECT_TRUE(full.ok() || absl::IsResourceExhausted(full)) << full;
  first->reset();
  // It ends at its next step.
  absl::Status third;
  for (int i = 0; i < 1000; ++i) {
    third = Door().Verify({}).status();
    if (third.ok()) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_TRUE(third.ok()) << third;
  engine_->Shutdown();
  EXPECT_EQ(Door().Verify({}).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(Take("s").status().code(), absl::StatusCode::kUnavailable);
}

// A shard with index files.
class ShardCheckTest : public testing::Test {
 protected:
  static constexpr int kD = 24;

  void SetUp() override {
    folder_ = testing::TempDir() + "/shard_check_" + std::to_string(getpid());
    std::filesystem::remove_all(folder_);
    auto store = storage::Store::Open({.path = folder_ + "/store", .sync_writes = false});
    ASSERT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
    storage::CollectionRecord record;
    record.id = "c";
    record.dimension = kD;
    record.shard_count = 1;
    record.metric = storage::StoredMetric::kL2;
    uid_ = *store_->AddCollection(record);
    ShardOptions options;
    options.collection = "c";
    options.metric = index::Metric::kL2;
    options.dimension = kD;
    options.tail_capacity = 250;
    options.folder = folder_ + "/index";
    options.maintenance.exact_rows = 500;
    OpenGate(&options.maintenance);
    auto shard = Shard::Load(options, *store_->OpenShard(uid_, 0, kD), &metrics_);
    ASSERT_TRUE(shard.ok()) << shard.status();
    shard_ = *std::move(shard);
  }
  void TearDown() override {
    shard_.reset();
    store_.reset();
    std::filesystem::remove_all(folder_);
  }
  void Put(int id) {
    std::normal_distribution<float> normal;
    ShardWrite write;
    write.document.id = std::to_string(id);
    write.document.metadata = R"({"a":1})";
    write.document.vector.resize(kD);
    for (float& x : write.document.vector) x = normal(rng_) + static_cast<float>(id % 7);
    shard_->Write({&write, 1}, {});
    ASSERT_TRUE(write.result.status.ok());
  }
  std::vector<std::string> Findings() {
    std::vector<std::string> found;
    storage::IntegritySink sink;
    sink.found = [&](const storage::IntegrityFinding& finding) {
      found.push_back(finding.where + ": " + finding.problem);
    };
    sink.progress = [](uint64_t, uint64_t) { return absl::OkStatus(); };
    EXPECT_TRUE(CheckShard(*store_, *shard_, uid_, sink).ok());
    return found;
  }

  std::string folder_;
  uint32_t uid_ = 0;
  FakeMetrics fake_metrics_;
  EngineMetrics metrics_{&fake_metrics_};
  std::mt19937 rng_{1};
  std::unique_ptr<storage::Store> store_;
  std::shared_ptr<Shard> shard_;
};

TEST_F(ShardCheckTest, EveryIndexFileIsRead) {
  for (int id = 0; id < 1500; ++id) Put(id);
  EXPECT_THAT(Findings(), IsEmpty());
  while (true) {
    const auto worked = shard_->Maintain({});
    ASSERT_TRUE(worked.ok()) << worked.status();
    if (!worked->worked) break;
  }
  for (int id = 0; id < 50; ++id) Put(id);
  EXPECT_THAT(Findings(), IsEmpty());
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder_ + "/index")) {
    files.push_back(entry.path());
  }
  ASSERT_FALSE(files.empty());
  for (const auto& path : files) {
    std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
    // The header's own checksum, which no reader of rows looks at again.
    file.seekg(60);
    const char byte = static_cast<char>(file.get() ^ 1);
    file.seekp(60);
    file.put(byte);
    file.close();
    EXPECT_THAT(Findings(), testing::Contains(HasSubstr(path.filename().string())));
  }
}

}  // namespace
}  // namespace vecino::engine
