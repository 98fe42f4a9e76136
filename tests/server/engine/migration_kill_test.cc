// kill -9 at any moment of a migration: what a start finds, on both sides.
//
// A child process works on a real store and real index files: one thread writes, another migrates,
// cuts over, rolls back, finishes, and begins anew. The parent kills it after a random time. The
// next child compares what is there with what was acknowledged, on the one side, then on the other,
// and goes on. SIGKILL keeps what the kernel was given; a power cut is not tried here.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <limits>
#include <map>
#include <new>
#include <random>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/engine/engine.h"
#include "server/engine/validation.h"
#include "tests/server/engine/fakes.h"

namespace vecino::engine {
namespace {

constexpr int kIds = 300, kDimension = 8, kNewDimension = 6, kRounds = 40;
constexpr int kWrong = 7;  // exit status of a child that found something wrong

enum Stage { kNone, kBuilding, kReady, kSwitching, kCutOver, kFinishing, kStages };

// What outlives a child.
struct Shared {
  std::atomic<bool> opened{false};
  std::atomic<int> stage{kNone};
  std::atomic<int64_t> writes{0};
  // By id: the last version that was acknowledged, and the last that was begun. Even ones are
  // deletes.
  std::array<std::atomic<int64_t>, kIds> acknowledged, begun;
};

std::string TextOf(int id, int64_t version) { return absl::StrCat("text ", id, " ", version); }

class Child {
 public:
  Child(const std::string& folder, Shared* shared, unsigned seed)
      : folder_(folder), shared_(*shared), random_(seed) {}

  [[noreturn]] void Run() {
    alarm(120);
    encoder_.AddModel("other", kNewDimension, "hash-2");
    auto store = storage::Store::Open({.path = folder_ + "/store", .sync_writes = false});
    if (!store.ok()) Fail(store.status().ToString());
    EngineOptions options;
    options.tail_capacity = 64;
    options.index_folder = folder_ + "/index";
    auto engine = Engine::Open(options, store->get(), &encoder_, &metrics_);
    if (!engine.ok()) Fail(engine.status().ToString());
    engine_ = std::move(*engine);
    if (!engine_->GetCollection("c").ok()) {
      CollectionSpec spec;
      spec.id = "c";
      spec.model = "fake";
      Check(engine_->CreateCollection(spec, false).status(), "create");
    }
    Compare("after the start");
    CompareOtherSide();
    shared_.opened = true;
    std::thread writer([this] { Write(); });
    Migrate();
  }

 private:
  [[noreturn]] static void Fail(const std::string& what) {
    std::cerr << "child: " << what << std::endl;
    _exit(kWrong);
  }
  static void Check(const absl::Status& status, const std::string& what) {
    if (!status.ok()) Fail(absl::StrCat(what, ": ", status.ToString()));
  }

  std::optional<MigrationInfo> Info() {
    const auto info = engine_->GetCollection("c");
    Check(info.status(), "get");
    return info->migration;
  }
  void Switch(MigrationSide to) {
    absl::Status status = engine_->SwitchEmbeddings("c", to, {}).status();
    while (absl::IsUnavailable(status)) {
      status = engine_->SwitchEmbeddings("c", to, {}).status();
    }
    Check(status, "switch");
  }

  void Compare(const std::string& when) {
    const auto collection = engine_->GetCollection("c");
    Check(collection.status(), "get");
    std::map<std::string, storage::Document> found;
    IdPage::Position from;
    while (true) {
      const auto page = engine_->List("c", from, 1000, std::numeric_limits<size_t>::max(),
                                      {.text = true, .metadata = true, .vector = true});
      Check(page.status(), "list");
      for (const auto& document : page->documents) {
        if (!found.emplace(document.id, document).second) Fail("twice: " + document.id);
      }
      if (!page->next.has_value()) break;
      from = *page->next;
    }
    size_t expected = 0;
    for (int id = 0; id < kIds; ++id) {
      const auto at = found.find(absl::StrCat("d", id));
      const auto is = [&](int64_t version) {
        if (version % 2 == 0) return at == found.end();
        return at != found.end() && at->second.text == TextOf(id, version);
      };
      if (!is(shared_.acknowledged[id]) && !is(shared_.begun[id])) {
        Fail(absl::StrCat(when, ", document ", id, ": version ", shared_.acknowledged[id].load(),
                          " was acknowledged, ", shared_.begun[id].load(), " begun, there is ",
                          at == found.end() ? "none" : at->second.text));
      }
      if (at == found.end()) {
        shared_.acknowledged[id] = shared_.begun[id] = 0;
        continue;
      }
      ++expected;
      // What it is from now on: a write that was cut short may have been done.
      if (is(shared_.begun[id])) shared_.acknowledged[id] = shared_.begun[id].load();
      shared_.begun[id] = shared_.acknowledged[id].load();
      if (at->second.vector != VectorOf(collection->spec, at->second.text)) {
        Fail(absl::StrCat(when, ", document ", id, ": the vector is not that of ",
                          collection->spec.model));
      }
    }
    if (expected != found.size()) Fail(when + ": documents that nobody wrote");
    const auto count = engine_->Count("c");
    Check(count.status(), "count");
    if (*count != static_cast<int64_t>(expected)) Fail(absl::StrCat(when, ": counts ", *count));
    const auto result = engine_->Search("c", {.query = TextQuery{"anything"}, .top_k = 5}, {});
    Check(result.status(), "search");
    if (result->hits.size() != std::min<size_t>(5, expected)) Fail(when + ": too few hits");
  }

  static std::vector<float> VectorOf(const CollectionSpec& spec, const std::string& text) {
    std::vector<float> vector = FakeEncoder::VectorOf(
        spec.model == "fake" ? text : absl::StrCat(spec.model, "/", text), spec.dimension);
    Check(PrepareVector("vector", Metric::kCosine, spec.dimension, &vector), "prepare");
    return vector;
  }

  // What is there after a crash must be there on the other side, too.
  void CompareOtherSide() {
    const auto info = Info();
    if (!info.has_value() || info->state == MigrationInfo::State::kBuilding) return;
    const bool is_old = info->active == MigrationSide::kOld;
    Switch(is_old ? MigrationSide::kNew : MigrationSide::kOld);
    Compare("on the other side");
    Switch(is_old ? MigrationSide::kOld : MigrationSide::kNew);
    Compare("back on this side");
  }

  void Write() {
    std::mt19937 random(random_());
    while (true) {
      const int id = static_cast<int>(random() % kIds);
      const bool erase = random() % 4 == 0;
      int64_t version = shared_.acknowledged[id] + 1;
      if ((version % 2 == 0) != erase) ++version;
      shared_.begun[id] = version;
      const std::string name = absl::StrCat("d", id);
      absl::Status status;
      if (erase) {
        const auto results = engine_->Delete("c", {&name, 1}, {});
        status = results.ok() ? results->front().status : results.status();
        if (absl::IsNotFound(status)) status = absl::OkStatus();
      } else {
        DocumentWrite write;
        write.document.id = name;
        write.document.text = TextOf(id, version);
        std::vector<DocumentWrite> writes;
        writes.push_back(std::move(write));
        const auto results = engine_->Upsert("c", std::move(writes), Truncate::kAuto, {});
        status = results.ok() ? results->front().status : results.status();
      }
      Check(status, "a write");
      shared_.acknowledged[id] = version;
      ++shared_.writes;
    }
  }

  [[noreturn]] void Migrate() {
    while (true) {
      auto info = Info();
      if (!info.has_value()) {
        MigrationRequest request;
        const auto collection = engine_->GetCollection("c");
        request.model = collection->spec.model == "fake" ? "other" : "fake";
        request.queries = {"one", "two"};
        Check(engine_->MigrateEmbeddings("c", request).status(), "migrate");
        continue;
      }
      if (info->state == MigrationInfo::State::kBuilding) {
        shared_.stage = kBuilding;
        absl::SleepFor(absl::Milliseconds(1));
        continue;
      }
      for (const MigrationSide side :
           {MigrationSide::kNew, MigrationSide::kOld, MigrationSide::kNew}) {
        shared_.stage = kSwitching;
        Switch(side);
        shared_.stage = side == MigrationSide::kNew ? kCutOver : kReady;
        absl::SleepFor(absl::Milliseconds(random_() % 20));
      }
      shared_.stage = kFinishing;
      Check(engine_->FinishMigration("c", std::nullopt).status(), "finish");
      shared_.stage = kNone;
    }
  }

  const std::string folder_;
  Shared& shared_;
  std::mt19937 random_;
  FakeEncoder encoder_{kDimension};
  FakeMetrics metrics_;
  std::unique_ptr<Engine> engine_;
};

TEST(MigrationKillTest, NothingIsLostOnEitherSide) {
  const std::string folder = absl::StrCat(testing::TempDir(), "/migration_kill_", getpid());
  std::filesystem::create_directories(folder + "/index");
  void* const memory =
      mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  Shared* const shared = new (memory) Shared();
  std::mt19937 random(1);
  std::array<int, kStages> killed{};
  for (int round = 0; round < kRounds && !testing::Test::HasFailure(); ++round) {
    shared->opened = false;
    const pid_t child = fork();  // the parent never has a second thread
    ASSERT_GE(child, 0);
    if (child == 0) Child(folder, shared, static_cast<unsigned>(round)).Run();
    int status = 0;
    while (!shared->opened && waitpid(child, &status, WNOHANG) == 0) usleep(1000);
    if (shared->opened) {
      usleep(random() % 200'000);
      ++killed[static_cast<size_t>(shared->stage.load())];
      kill(child, SIGKILL);
      ASSERT_EQ(waitpid(child, &status, 0), child);
    }
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
        << "round " << round << ": the child ended with status " << status;
  }
  std::cout << "killed: " << killed[kNone] << " without migration, " << killed[kBuilding]
            << " building, " << killed[kReady] << " ready, " << killed[kSwitching] << " switching, "
            << killed[kCutOver] << " cut over, " << killed[kFinishing] << " finishing; "
            << shared->writes << " writes\n";
  EXPECT_GT(killed[kBuilding], 0);
  EXPECT_GT(killed[kReady] + killed[kCutOver], 0);
  EXPECT_GT(shared->writes.load(), kIds);
  munmap(memory, sizeof(Shared));
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace vecino::engine
