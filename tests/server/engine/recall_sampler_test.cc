// Searches made again: which are taken, what becomes of them, and how answers are compared.
#include "server/engine/recall_sampler.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "server/index/give_way.h"
#include "tests/server/engine/fakes.h"
#include "tests/server/engine/memory_store.h"
#include "tests/server/engine/test_support.h"

namespace vecino::engine {
namespace {

absl::Status GoOn() { return absl::OkStatus(); }

class RecallSamplerTest : public testing::Test {
 protected:
  void SetUp() override {
    ShardOptions options{.collection = "c", .dimension = 1, .tail_capacity = 8};
    options.index.kind = index::IndexKind::kHnsw;
    options.maintenance.exact_rows = options.maintenance.min_index_rows = 10;
    auto shard = Shard::Load(options, *store_.OpenShard(1, 0, 1), &metrics_);
    ASSERT_TRUE(shard.ok()) << shard.status();
    shard_ = *std::move(shard);
    // Row x scores x against the query 1; its label is x, too.
    for (int x = 1; x <= 20; ++x) Put(x);
  }
  void Put(int x) {
    ShardWrite write;
    write.document.id = std::to_string(x);
    write.document.vector = {static_cast<float>(x)};
    shard_->Write({&write, 1}, {});
    ASSERT_TRUE(write.result.status.ok());
  }
  void Delete(int x) {
    ShardWrite write;
    write.kind = storage::Mutation::Kind::kDelete;
    write.document.id = std::to_string(x);
    shard_->Write({&write, 1}, {});
    ASSERT_TRUE(write.result.status.ok());
  }
  // Until then every search compares all rows, and there is no breadth.
  void BuildIndex() {
    for (int i = 0; i < 20 && !shard_->IsApproximate(); ++i) ASSERT_TRUE(shard_->Maintain({}).ok());
    ASSERT_TRUE(shard_->IsApproximate());
  }
  static AnsweredSearch Answer(int k, const std::vector<int>& found) {
    AnsweredSearch search{.vector = {1}, .k = k, .hits = {{}}, .itself = {}};
    for (const int x : found) {
      search.hits[0].push_back({static_cast<uint64_t>(x), static_cast<float>(x)});
    }
    return search;
  }
  MaybeRecall Recall(const PinnedShard& pinned, const AnsweredSearch& search) {
    const auto measured = MeasureRecall({&pinned, 1}, nullptr, nullptr, {&search, 1}, GoOn);
    EXPECT_TRUE(measured.ok()) << measured.status();
    if (!measured.ok()) return std::nullopt;
    EXPECT_EQ(measured->searches[0].recall, measured->searches[0].shards[0]);
    return measured->searches[0].recall;
  }
  std::unique_ptr<RecallTask> Task(absl::Time time, const std::vector<int>& found) {
    auto task = std::make_unique<RecallTask>();
    task->search = Answer(2, found);
    task->shards = {{shard_, shard_->Pin()}};
    task->target = 0.9;
    task->time = time;
    task->book = book_;
    return task;
  }
  double Measured(const std::string& source) {
    return fake_metrics_.Value("vecino_recall_samples_total," + source);
  }
  double Dropped(const std::string& reason) {
    return fake_metrics_.Value("vecino_recall_samples_dropped_total," + reason);
  }

  MemoryStore store_;
  FakeMetrics fake_metrics_;
  EngineMetrics metrics_{&fake_metrics_};
  std::shared_ptr<Shard> shard_;
  std::shared_ptr<RecallBook> book_ = std::make_shared<RecallBook>(RecallWindowLimits());
};

TEST_F(RecallSamplerTest, TakesOneInSoManyAtRandom) {
  RecallSampler all({.sample_every = 1}, nullptr, &fake_metrics_);
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(all.Take());
  RecallSampler none({.sample_every = 0}, nullptr, &fake_metrics_);
  for (int i = 0; i < 100; ++i) EXPECT_FALSE(none.Take());
  RecallSampler some({.sample_every = 100, .hurry = 1}, nullptr, &fake_metrics_);
  for (int run = 0; run < 2; ++run) {
    int taken = 0;
    std::set<int> places;  // of a period of 10
    const auto count = [&] {
      for (int i = 0; i < 200'000; ++i) {
        if (!some.Take()) continue;
        ++taken;
        places.insert(i % 10);
      }
    };
    std::thread(count).join();  // one that has not counted before
    EXPECT_NEAR(taken, 2000, 200);
    EXPECT_EQ(places.size(), 10u);
  }
  // Many threads of few searches each.
  int taken = 0;
  for (int t = 0; t < 200; ++t) {
    std::thread([&] {
      for (int i = 0; i < 50; ++i) taken += some.Take();
    }).join();
  }
  EXPECT_NEAR(taken, 100, 50);
}

TEST_F(RecallSamplerTest, ComparesWithTheTrueBest) {
  const PinnedShard pinned{shard_, shard_->Pin()};
  EXPECT_EQ(Recall(pinned, Answer(4, {20, 19, 18, 17})), 1);
  EXPECT_EQ(Recall(pinned, Answer(4, {20, 19, 18, 16})), 0.75);
  EXPECT_EQ(Recall(pinned, Answer(4, {20, 19})), 0.5);
  EXPECT_EQ(Recall(pinned, Answer(4, {})), 0);
  // More than there is cannot be asked for.
  EXPECT_EQ(Recall(pinned, Answer(100, {20, 19, 18, 17, 16, 15, 14, 13, 12, 11})), 0.5);
}

TEST_F(RecallSamplerTest, AHitAsGoodAsTheLastIsOneOfThem) {
  for (int i = 0; i < 5; ++i) {
    ShardWrite write;
    write.document.id = "twin" + std::to_string(i);
    write.document.vector = {17};
    shard_->Write({&write, 1}, {});
  }
  const PinnedShard pinned{shard_, shard_->Pin()};
  AnsweredSearch search = Answer(4, {20, 19, 18});
  search.hits[0].push_back({24, 17});
  EXPECT_EQ(Recall(pinned, search), 1);
  search.hits[0].back() = {24, 16.9999f};
  EXPECT_EQ(Recall(pinned, search), 0.75);
}

TEST_F(RecallSamplerTest, WhatComesAndGoesMeanwhileIsNotHeldAgainstAnAnswer) {
  const PinnedShard pinned{shard_, shard_->Pin()};
  Put(30);
  Put(31);
  Delete(19);
  Delete(16);
  // As it was: 20, 19, 18, 17. What came later is not missed; what is gone was found.
  EXPECT_EQ(Recall(pinned, Answer(4, {20, 19, 18, 17})), 1);
  // A row that came while the search ran, and was found, has taken the place of the last.
  AnsweredSearch with_new = Answer(4, {20, 19, 18});
  with_new.hits[0].insert(with_new.hits[0].begin(), {21, 30});
  EXPECT_EQ(Recall(pinned, with_new), 1);
  // What is gone now cannot be asked for.
  EXPECT_EQ(Recall(pinned, Answer(4, {20, 18, 17, 15})), 1);
  EXPECT_EQ(Recall(pinned, Answer(4, {20, 18, 17, 14})), 0.75);
}

TEST_F(RecallSamplerTest, AStoredDocumentIsLeftOutOfItsOwnAnswer) {
  const PinnedShard pinned{shard_, shard_->Pin()};
  AnsweredSearch search = Answer(3, {20, 19, 18, 17});
  search.itself = {0, 20};
  EXPECT_EQ(Recall(pinned, search), 1);
  search.hits = Answer(3, {20, 19, 18, 16}).hits;
  search.itself = {0, 20};
  EXPECT_NEAR(*Recall(pinned, search), 2.0 / 3, 1e-9);
}

TEST_F(RecallSamplerTest, AShardIsMeasuredByItsPartOfAnAnswer) {
  const PinnedShard pinned{shard_, shard_->Pin()};
  AnsweredSearch search = Answer(4, {20, 19, 17, 15});
  const auto measure = [&](int aim_k) {
    search.aim_k = aim_k;
    const auto measured = MeasureRecall({&pinned, 1}, nullptr, nullptr, {&search, 1}, GoOn);
    EXPECT_TRUE(measured.ok()) << measured.status();
    EXPECT_EQ(measured->searches[0].recall, 0.75);  // of all it is always measured by k
    return *measured->searches[0].shards[0];
  };
  EXPECT_EQ(measure(0), 0.75);
  EXPECT_EQ(measure(2), 1);
  EXPECT_NEAR(measure(3), 2.0 / 3, 1e-9);
  EXPECT_EQ(measure(100), 0.75);  // as many as there are
  search.aim_k = 0;
  for (const auto& [merged_k, recall] : {std::pair(2, 1.0), {3, 2.0 / 3}, {4, 0.75}, {0, 0.75}}) {
    search.merged_k = merged_k;
    const auto measured = MeasureRecall({&pinned, 1}, nullptr, nullptr, {&search, 1}, GoOn);
    ASSERT_TRUE(measured.ok()) << measured.status();
    EXPECT_NEAR(*measured->searches[0].recall, recall, 1e-9) << merged_k;
    EXPECT_EQ(*measured->searches[0].shards[0], 0.75);
  }
}

TEST_F(RecallSamplerTest, MeasuresWhatItIsGiven) {
  RecallSampler sampler({.sample_every = 1, .samples_per_second = 1e6}, nullptr, &fake_metrics_);
  sampler.Start(nullptr);
  for (int i = 0; i < 10; ++i) {
    sampler.Offer(
        Task(absl::Now(), i % 2 == 0 ? std::vector<int>{20, 19} : std::vector<int>{20, 7}));
    ASSERT_TRUE(Eventually([&] { return book_->Stats(absl::Now()).live.samples == i + 1; }));
  }
  const RecallStats stats = book_->Stats(absl::Now());
  EXPECT_EQ(stats.live.recall, 0.75);
  EXPECT_NEAR(stats.live.recall_target, 0.9, 1e-6);
  ASSERT_EQ(stats.by_kind.size(), 1u);
  EXPECT_EQ(stats.by_kind[0].max_k, 10);
  ASSERT_TRUE(Eventually([&] { return shard_->LiveRecall().samples == 10; }));
  EXPECT_EQ(shard_->LiveRecall().recall, 0.75);
  EXPECT_TRUE(
      Eventually([&] { return fake_metrics_.Value("vecino_recall_samples_total,live") == 10; }));
  sampler.Stop();
  sampler.Offer(Task(absl::Now(), {20}));  // too late, and no harm
}

TEST_F(RecallSamplerTest, DropsTheOldestWhenTooManyWaitAndWhatIsTooOld) {
  {
    RecallSampler sampler({.sample_every = 1, .samples_per_second = 1e6, .hurry = 1, .queue = 3},
                          nullptr, &fake_metrics_);
    // Not started yet: nothing is taken out. Only the last three are good.
    for (int i = 0; i < 7; ++i) {
      sampler.Offer(Task(absl::Now(), i < 4 ? std::vector<int>{} : std::vector<int>{20, 19}));
    }
    EXPECT_EQ(Dropped("queue_full"), 4);
    sampler.Start(nullptr);
    ASSERT_TRUE(Eventually([&] { return book_->Stats(absl::Now()).live.samples == 3; }));
    EXPECT_EQ(book_->Stats(absl::Now()).live.recall, 1);
  }
  // Its view is let go, too.
  std::weak_ptr<const index::View> view;
  RecallSampler sampler({.sample_every = 1,
                         .samples_per_second = 1e-3,
                         .hurry = 1,
                         .max_age = absl::Milliseconds(300)},
                        nullptr, &fake_metrics_);
  sampler.Start(nullptr);
  sampler.Offer(Task(absl::Now() - absl::Seconds(1), {20, 19}));
  EXPECT_TRUE(Eventually([&] { return Dropped("too_old") == 1; }));
  sampler.Offer(Task(absl::Now(), {20, 19}));  // the one of a thousand seconds
  ASSERT_TRUE(Eventually([&] { return book_->Stats(absl::Now()).live.samples == 4; }));
  auto task = Task(absl::Now(), {20, 19});
  view = task->shards[0].pinned.view;
  for (int i = 0; i < 100; ++i) Put(100 + i);  // the shard has another view since
  while (!shard_->Maintain({})->worked) {
  }
  sampler.Offer(std::move(task));
  EXPECT_TRUE(Eventually([&] { return Dropped("too_old") == 2; }));
  EXPECT_TRUE(Eventually([&] { return view.expired(); }));
}

TEST_F(RecallSamplerTest, KeepsToItsRate) {
  RecallSampler sampler({.sample_every = 1, .samples_per_second = 20, .hurry = 1}, nullptr,
                        &fake_metrics_);
  for (int i = 0; i < 10; ++i) sampler.Offer(Task(absl::Now(), {20, 19}));
  const absl::Time start = absl::Now();
  sampler.Start(nullptr);
  ASSERT_TRUE(Eventually([&] { return book_->Stats(absl::Now()).live.samples == 10; }));
  EXPECT_GE(absl::Now() - start, absl::Seconds(9.0 / 20));
}

// One by one they would take seven seconds, at two passes a second; passes of 1, 2, 4, 1 and 7 take
// two.
TEST_F(RecallSamplerTest, OnePassServesTheExtraOnesThatLookForTheSame) {
  BuildIndex();
  // As good as none is not extra.
  RecallSampler sampler({.sample_every = 1'000'000,
                         .samples_per_second = 2,
                         .hurry = 1'000'000,
                         .max_age = absl::Hours(1)},
                        nullptr, &fake_metrics_);
  const uint64_t epoch = shard_->Pin().epoch;
  for (int i = 0; i < 8; ++i) sampler.Offer(Task(absl::Now(), {20, 19}));
  Put(30);  // from here on there are other rows to find
  for (int i = 0; i < 7; ++i) sampler.Offer(Task(absl::Now(), {20}));
  const absl::Time start = absl::Now();
  sampler.Start(nullptr);
  ASSERT_TRUE(Eventually([&] { return Measured("live_extra") == 15; }));
  EXPECT_GE(absl::Now() - start, absl::Milliseconds(1950));
  EXPECT_LT(absl::Now() - start, absl::Milliseconds(6900));
  // They correct breadths, and that is all.
  EXPECT_EQ(Measured("live"), 0);
  EXPECT_EQ(book_->Stats(absl::Now()).live.samples, 0);
  EXPECT_EQ(shard_->LiveRecall().samples, 0);
  int others = 0;  // that it takes until there are enough of which seven missed half
  while (shard_->Pin().epoch == epoch && others < 1000) {
    shard_->CorrectBreadth({absl::Now(), 2, 1, 0.5, 0.9}, epoch);
    ++others;
  }
  EXPECT_EQ(others, 35);
}

TEST_F(RecallSamplerTest, TheHurryEndsWhenThereAreNoBreadths) {
  RecallSampler sampler({.sample_every = 1, .samples_per_second = 1e6, .max_age = absl::Hours(1)},
                        nullptr, &fake_metrics_);
  sampler.Start(nullptr);
  for (int i = 1; i <= RecallSampler::kCalm + 5; ++i) {
    sampler.Offer(Task(absl::Now(), {20, 19}));
    ASSERT_TRUE(Eventually([&] { return Measured("live") == i; }));
  }
  EXPECT_FALSE(sampler.in_a_hurry());
}

TEST_F(RecallSamplerTest, TheHurryEndsWhenBreadthsAreSettledAndComesBackAtOnce) {
  BuildIndex();
  RecallSampler sampler({.sample_every = 20, .samples_per_second = 1e6, .max_age = absl::Hours(1)},
                        nullptr, &fake_metrics_);
  const auto take = [&] {  // of 10,000 searches
    int taken = 0;
    for (int i = 0; i < 10'000; ++i) taken += sampler.Take();
    return taken;
  };
  EXPECT_EQ(take(), 10'000);
  sampler.Start(nullptr);
  int measured = 0;
  const auto measure = [&](int searches) {
    for (int i = 0; i < searches; ++i) {
      ++measured;
      sampler.Offer(Task(absl::Now(), {20, 19}));
      ASSERT_TRUE(
          Eventually([&] { return Measured("live") + Measured("live_extra") == measured; }));
    }
  };
  measure(399);
  EXPECT_EQ(take(), 10'000);
  // One in twenty counts, as without a hurry.
  EXPECT_NEAR(Measured("live"), 20, 18);
  EXPECT_EQ(book_->Stats(absl::Now()).live.samples, Measured("live"));
  measure(RecallSampler::kCalm - 1);
  EXPECT_EQ(take(), 10'000);
  measure(2);
  EXPECT_NEAR(take(), 500, 150);
  index::IndexSpec spec = shard_->index_spec();
  spec.recall_target = 0.5;
  shard_->SetIndex(spec);  // what was learned is void
  measure(1);
  EXPECT_GE(take(), 9'999);  // also where a thread had drawn a count
}

TEST_F(RecallSamplerTest, InAHurryWhatIsTooMuchForEstimatesStillTellsOfABreadth) {
  RecallSampler sampler(
      {.sample_every = 1, .samples_per_second = 1e6, .queue = 3, .max_age = absl::Hours(1)},
      nullptr, &fake_metrics_);
  for (int i = 0; i < 7; ++i) sampler.Offer(Task(absl::Now(), {20, 19}));
  EXPECT_EQ(Dropped("extra"), 1);
  sampler.Start(nullptr);
  EXPECT_TRUE(Eventually([&] { return Measured("live") + Measured("live_extra") == 6; }));
  EXPECT_EQ(Measured("live"), 3);
}

TEST_F(RecallSamplerTest, ProbesWhenNothingElseIsToBeDoneUntilThereAreEnough) {
  RecallSampler sampler(
      {.sample_every = 1000, .samples_per_second = 1e6, .probe_interval = absl::Milliseconds(1)},
      nullptr, &fake_metrics_);
  std::atomic<int> asked = 0;
  sampler.Start([&](absl::FunctionRef<absl::Status()> checkpoint) {
    EXPECT_TRUE(checkpoint().ok());
    return ++asked <= 5;
  });
  EXPECT_TRUE(Eventually([&] { return asked > 10; }));
  EXPECT_EQ(fake_metrics_.Value("vecino_recall_samples_total,stored_documents"), 5);
}

// Each measurement is followed by three times as long a rest, whatever the rate allows. A probe may
// take longer than it sleeps, but then the rest is longer, too.
TEST_F(RecallSamplerTest, TakesAQuarterOfAProcessorAtMost) {
  constexpr size_t kProbes = 12;
  RecallSampler sampler(
      {.sample_every = 1000, .samples_per_second = 1e6, .probe_interval = absl::Milliseconds(1)},
      nullptr, &fake_metrics_);
  std::mutex mu;
  std::vector<std::pair<absl::Time, absl::Time>> probes;  // when they began and ended
  sampler.Start([&](absl::FunctionRef<absl::Status()>) {
    const absl::Time start = absl::Now();
    absl::SleepFor(absl::Milliseconds(20));
    const std::lock_guard lock(mu);
    probes.emplace_back(start, absl::Now());
    return true;
  });
  ASSERT_TRUE(Eventually([&] {
    const std::lock_guard lock(mu);
    return probes.size() >= kProbes;
  }));
  sampler.Stop();
  absl::Duration busy;
  for (size_t i = 0; i + 1 < kProbes; ++i) busy += probes[i].second - probes[i].first;
  const absl::Duration all = probes[kProbes - 1].first - probes[0].first;
  EXPECT_LE(absl::FDivDuration(busy, all), 0.26);
}

// Policy and niceness of the calling thread.
std::array<int, 2> Priority() {
  return {sched_getscheduler(0), getpriority(PRIO_PROCESS, static_cast<id_t>(syscall(SYS_gettid)))};
}

TEST_F(RecallSamplerTest, RunsAtTheLowestPriority) {
  // What there is: a container may forbid some of it.
  std::array<int, 2> lowest{};
  std::thread([&] {
    const sched_param param{};
    sched_setscheduler(0, SCHED_BATCH, &param);
    setpriority(PRIO_PROCESS, static_cast<id_t>(syscall(SYS_gettid)), 19);
    lowest = Priority();
  }).join();
  const std::array<int, 2> own = Priority();
  RecallSampler sampler(
      {.sample_every = 1000, .samples_per_second = 1e6, .probe_interval = absl::Milliseconds(1)},
      nullptr, &fake_metrics_);
  std::atomic<bool> seen = false;
  std::array<int, 2> priority{};
  bool background = false;
  sampler.Start([&](absl::FunctionRef<absl::Status()>) {
    if (!seen) {
      priority = Priority();
      background = index::IsBackground();
      seen = true;
    }
    return false;
  });
  ASSERT_TRUE(Eventually([&] { return seen.load(); }));
  EXPECT_EQ(priority, lowest);
  EXPECT_TRUE(background);  // so it makes way while there are searches
  EXPECT_EQ(Priority(), own);
  EXPECT_FALSE(index::IsBackground());
}

}  // namespace
}  // namespace vecino::engine
