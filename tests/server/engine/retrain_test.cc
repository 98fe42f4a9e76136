#include <gmock/gmock.h>

#include <array>
#include <atomic>
#include <set>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/engine/tuning.h"
#include "server/index/search_report.h"
#include "tests/server/engine/retrain_fixture.h"

namespace vecino::engine {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsSupersetOf;
using OutcomeKind = Operation::Outcome::Kind;

class RetrainTest : public RetrainFixture {
 protected:
  // Rows for a sample that nothing can be learnt from.
  static void Spoil(std::vector<float>* sample) {
    std::fill(sample->begin(), sample->end(), 0.0f);
    std::mt19937 rng(3);
    std::normal_distribution<float> noise;
    for (size_t i = 0; i < sample->size(); i += kD) (*sample)[i] = noise(rng);
  }
  int64_t SegmentsOf(uint64_t generation) const {
    int64_t count = 0;
    for (const auto& segment : shard_->Stats().segment_list) {
      count += segment.generation == generation;
    }
    return count;
  }
};

TEST_F(RetrainTest, TellsItsStagesHowFarItIsAndWhatItMeasured) {
  Start();
  const uint64_t before = shard_->Stats().generation;
  auto watcher = events_.Watch("c");
  ASSERT_TRUE(watcher.ok());
  auto operation = Request();
  std::map<std::string, std::vector<std::pair<int64_t, int64_t>>> progress;
  at_stage_ = [&](const std::string& stage) {
    const Operation::Part part = operation->Snapshot().parts[0];
    if (part.stage == stage) progress[stage].push_back({part.rows_done, part.rows_total});
  };
  Maintain();
  EXPECT_THAT(stages_,
              ElementsAre("training", "encoding", "calibrating", "validating", "published"));
  for (const std::string stage : {"training", "encoding"}) {
    const auto& steps = progress[stage];
    ASSERT_GT(steps.size(), 2u) << stage;
    for (size_t i = 1; i < steps.size(); ++i) {
      EXPECT_GE(steps[i].first, steps[i - 1].first) << stage;
      EXPECT_LE(steps[i].first, steps[i].second) << stage;
    }
    EXPECT_GT(steps.back().first, steps.back().second / 2) << stage;
  }
  const Operation::Info info = operation->Snapshot();
  EXPECT_TRUE(info.status.ok()) << info.status;
  const Operation::Part& part = info.parts[0];
  EXPECT_EQ(part.stage, "published");
  EXPECT_EQ(part.outcome.kind, OutcomeKind::kPublished);
  EXPECT_GT(part.outcome.recall_before, 0.9);
  EXPECT_GT(part.outcome.recall_after, 0.9);
  EXPECT_GT(part.outcome.rows_before, 0);
  EXPECT_GT(part.outcome.rows_after, 0);
  EXPECT_THAT(shard_->Stats().last_choice, HasSubstr("; of the best row "));
  EXPECT_THAT(shard_->Stats().last_choice, HasSubstr("; of rows under a filter "));
  EXPECT_GT(shard_->Stats().generation, before);
  std::vector<std::string> told;
  while (const auto one = (*watcher)->Take()) told.push_back(one->event.message);
  EXPECT_THAT(told, IsSupersetOf({HasSubstr("training, 6000 rows"), HasSubstr("validating"),
                                  HasSubstr("asked for it; recall 0.")}));
  EXPECT_THAT(shard_->Stats().last_choice, HasSubstr("operation o asked for it; recall 0."));
  CheckRows();
}

TEST_F(RetrainTest, WhatIsWrittenMeanwhileIsEncodedBeforeItGoesLive) {
  Start();
  const int64_t used = budget_.used();
  bool written = false;
  int64_t caught_up = 0;
  auto operation = Request();
  at_stage_ = [&](const std::string& stage) {
    if (stage == "catching up") {
      caught_up = std::max(caught_up, operation->Snapshot().parts[0].rows_total);
    }
    if (stage != "encoding" || written) return;
    written = true;
    for (int id = 0; id < 1700; ++id) Put(id % 2 == 0 ? kRows + id : id);  // half of them updates
    for (int id = 3000; id < 3100; ++id) Delete(id);
  };
  Maintain();
  EXPECT_THAT(stages_, ElementsAre("training", "encoding", "catching up", "calibrating",
                                   "validating", "published"));
  EXPECT_GE(caught_up, 1500);
  const ShardStats stats = shard_->Stats();
  // What is not in the tail is under the new generation, without another merge.
  EXPECT_EQ(SegmentsOf(stats.generation), stats.segments);
  CheckRows();
  EXPECT_GT(Recall(), 0.93);
  EXPECT_GT(budget_.used(), used);
  Load();  // as after kill -9
  EXPECT_EQ(shard_->Stats().generation, stats.generation);
  CheckRows();
}

TEST_F(RetrainTest, ASpoiledBuildIsRejectedAndTheOldOneServesOn) {
  Start();
  const ShardStats before = shard_->Stats();
  const auto files = Files();
  const double recall = Recall();
  options_.hooks.spoil = Spoil;
  Load();
  const int64_t used = budget_.used();
  stages_.clear();
  auto watcher = events_.Watch("c");
  auto operation = Request();
  Maintain();
  EXPECT_EQ(stages_.back(), "rejected");
  const Operation::Info info = operation->Snapshot();
  EXPECT_EQ(info.status.code(), absl::StatusCode::kFailedPrecondition) << info.status;
  EXPECT_THAT(std::string(info.status.message()), HasSubstr("the old index serves on"));
  const Operation::Part& part = info.parts[0];
  EXPECT_EQ(part.stage, "rejected");
  EXPECT_EQ(part.outcome.kind, OutcomeKind::kRejected);
  EXPECT_THAT(part.outcome.reason, HasSubstr("the new build"));
  EXPECT_GT(part.outcome.recall_before, 0.9);
  const ShardStats after = shard_->Stats();
  EXPECT_EQ(after.generation, before.generation);
  EXPECT_EQ(after.segments, before.segments);
  EXPECT_EQ(Files(), files);
  EXPECT_EQ(budget_.used(), used);
  EXPECT_EQ(Recall(), recall);
  EXPECT_EQ(fake_metrics_.Value("vecino_retrains_rejected_total"), 1);
  std::vector<Event::Kind> kinds;
  while (const auto one = (*watcher)->Take()) kinds.push_back(one->event.kind);
  EXPECT_THAT(kinds, ::testing::Contains(Event::Kind::kRetrainRejected));
  CheckRows();
}

TEST_F(RetrainTest, TooFewListsCostTooMuch) {
  Start();
  options_.hooks.nlist = 2;
  Load();
  const uint64_t before = shard_->Stats().generation;
  auto operation = Request();
  Maintain();
  const Operation::Part part = operation->Snapshot().parts[0];
  EXPECT_EQ(part.outcome.kind, OutcomeKind::kRejected);
  EXPECT_THAT(part.outcome.reason, HasSubstr("rows a search"));
  EXPECT_GT(part.outcome.rows_after, part.outcome.rows_before);
  EXPECT_EQ(shard_->Stats().generation, before);
}

TEST_F(RetrainTest, AnAutomaticRetrainThatIsRejectedBacksOffAndTriesAgain) {
  options_.maintenance.retrain_wait = absl::Milliseconds(200);
  Start();
  const uint64_t before = shard_->Stats().generation;
  options_.hooks.spoil = Spoil;
  Load();
  for (int id = kRows; id < 2.7 * kRows; ++id) Put(id);
  std::vector<absl::Time> begun, rejected;
  std::string last;
  at_stage_ = [&](const std::string& stage) {
    if (stage != last && stage == "training") begun.push_back(absl::Now());
    if (stage == "rejected") rejected.push_back(absl::Now());
    last = stage;
  };
  const absl::Time deadline = absl::Now() + absl::Minutes(2);
  while (rejected.size() < 3 && absl::Now() < deadline) {
    const auto worked = shard_->Maintain({});
    ASSERT_TRUE(worked.ok()) << worked.status();
    if (worked->worked) continue;
    // It says when to look again, and has nothing to do before.
    ASSERT_FALSE(rejected.empty());
    ASSERT_LT(worked->look_again, absl::Now() + absl::Minutes(1));
    EXPECT_FALSE(shard_->MaintenanceDue());
    absl::SleepFor(worked->look_again - absl::Now());
  }
  ASSERT_EQ(rejected.size(), 3u);
  ASSERT_EQ(begun.size(), 3u);
  EXPECT_GE(begun[1] - rejected[0], absl::Milliseconds(195));
  EXPECT_GE(begun[2] - rejected[1], absl::Milliseconds(395));
  EXPECT_EQ(shard_->Stats().generation, before);
  EXPECT_THAT(shard_->Stats().last_choice, HasSubstr("rejected, the old index serves on"));
  const auto drift = shard_->Stats().drift;
  EXPECT_EQ(drift[0].name, "growth");
  EXPECT_TRUE(drift[0].due);
  CheckRows();
}

TEST_F(RetrainTest, AFirstTrainingThatIsBrokenLeavesRowsFlat) {
  options_.hooks.spoil = [](std::vector<float>* sample) {
    std::fill(sample->begin(), sample->end(), 0.0f);
  };
  Load();
  Fill();
  Maintain();
  EXPECT_EQ(stages_.back(), "rejected");
  EXPECT_EQ(shard_->Stats().generation, 0u);
  EXPECT_EQ(Recall(), 1);
  EXPECT_TRUE(Files().empty() || Files()[0].starts_with("fields")) << Files()[0];
  options_.hooks.spoil = nullptr;
  Load();
  Maintain();
  EXPECT_EQ(stages_.back(), "published");
  EXPECT_GT(shard_->Stats().generation, 0u);
}

TEST_F(RetrainTest, TheCallersGateRejects) {
  Start();
  const uint64_t before = shard_->Stats().generation;
  auto operation = Request(1.0);
  Maintain();
  EXPECT_EQ(operation->Snapshot().parts[0].outcome.kind, OutcomeKind::kRejected);
  EXPECT_THAT(operation->Snapshot().parts[0].outcome.reason, HasSubstr("1.000 that was asked for"));
  EXPECT_EQ(shard_->Stats().generation, before);
  // Builds of the same rows differ: by chance one is not better than the old one, a next one is.
  constexpr int kTries = 10;
  for (int i = 0; i < kTries; ++i) {
    operation = Request(0.5);
    Maintain();
    if (operation->Snapshot().parts[0].outcome.kind == OutcomeKind::kPublished) break;
    ASSERT_THAT(operation->Snapshot().parts[0].outcome.reason, HasSubstr("not better"));
  }
  EXPECT_EQ(operation->Snapshot().parts[0].outcome.kind, OutcomeKind::kPublished);
}

TEST_F(RetrainTest, FewRowsNeedNone) {
  Load();
  Fill(900);
  auto operation = Request();
  Maintain();
  const Operation::Info info = operation->Snapshot();
  EXPECT_TRUE(info.status.ok());
  EXPECT_EQ(info.parts[0].outcome.kind, OutcomeKind::kNotNeeded);
  EXPECT_THAT(info.parts[0].outcome.reason, HasSubstr("900 rows"));
  EXPECT_EQ(shard_->Stats().generation, 0u);
  EXPECT_TRUE(stages_.empty());
}

TEST_F(RetrainTest, CancelledAtAnyStageItLeavesNothingBehind) {
  Start();
  const ShardStats before = shard_->Stats();
  std::set<std::string> cancelled;
  const std::vector<std::string> all = {"training", "encoding", "catching up", "calibrating",
                                        "validating"};
  for (const std::string& stage : all) {
    // The first and a later call of the stage.
    for (const int nth : {1, 3}) {
      Compact();
      const auto files = Files();
      const int64_t used = budget_.used();
      const auto memory = [&] { return shard_->Stats().segment_bytes; };
      const int64_t bytes = memory();
      auto operation = Request();
      int calls = 0;
      bool written = false;
      at_stage_ = [&](const std::string& now) {
        if (now == "encoding" && stage == "catching up" && !written) {
          written = true;
          for (int id = 0; id < 600; ++id) Put(id);
        }
        if (now == stage && ++calls == nth) operation->Cancel();
      };
      Maintain();
      at_stage_ = nullptr;
      const Operation::Info info = operation->Snapshot();
      SCOPED_TRACE(absl::StrCat(stage, " ", nth));
      // It paused too seldom there, and came to its end.
      if (info.status.ok() || info.parts[0].stage == "rejected") {
        EXPECT_GT(nth, 1);
        continue;
      }
      EXPECT_EQ(info.status.code(), absl::StatusCode::kCancelled) << info.status;
      EXPECT_EQ(info.parts[0].stage, "cancelled");
      cancelled.insert(stage);
      // But for what the writes brought, everything is as it was.
      if (stage != "catching up") {
        EXPECT_EQ(Files(), files);
        EXPECT_EQ(memory(), bytes);
        EXPECT_EQ(budget_.used(), used);
      }
      for (const std::string& file : Files()) EXPECT_THAT(file, ::testing::Not(HasSubstr("tmp")));
      CheckRows();
    }
  }
  EXPECT_EQ(cancelled.size(), all.size());
}

TEST_F(RetrainTest, LiveRecallUnderTargetBringsOneAndNoLoop) {
  Start();
  int told = 0;
  shard_->OnMaintenanceDue([&] { ++told; });
  RecallFigures low = {
      .lower = 0.85, .upper = 0.90, .target = 0.95, .samples = 300, .oldest = absl::Now()};
  uint64_t generation = shard_->Stats().generation;
  shard_->NoteRecall(low);
  EXPECT_EQ(told, 1);
  EXPECT_TRUE(shard_->Stats().drift[5].due);
  // Not before as much time has passed as the last training took, which it says.
  MaintainInTime();
  EXPECT_GT(shard_->Stats().generation, generation);
  EXPECT_THAT(shard_->Stats().last_choice, HasSubstr("recall 0.85 is below 0.95"));
  EXPECT_FALSE(shard_->Stats().drift[5].due);
  // Samples of before say nothing of the new build.
  shard_->NoteRecall(low);
  EXPECT_EQ(told, 1);
  EXPECT_FALSE(shard_->Stats().drift[5].due);
  // New ones do, once more.
  generation = shard_->Stats().generation;
  low.oldest = absl::Now();
  shard_->NoteRecall(low);
  EXPECT_EQ(told, 2);
  MaintainInTime();
  EXPECT_GT(shard_->Stats().generation, generation);
  // That did not help: the next waits for longer.
  low.oldest = absl::Now();
  shard_->NoteRecall(low);
  Maintain();
  const auto idle = shard_->Maintain({});
  ASSERT_TRUE(idle.ok());
  EXPECT_FALSE(idle->worked);
  EXPECT_GT(idle->look_again, absl::Now() + absl::Seconds(40));
}

TEST_F(RetrainTest, RecallOfBeforeATuningBringsNone) {
  Start();
  shard_->NoteRecall(
      {.lower = 0.85, .upper = 0.90, .target = 0.95, .samples = 300, .oldest = absl::Now()});
  EXPECT_TRUE(shard_->Stats().drift[5].due);
  const std::vector<TuningRung> rungs = TuningLadder(/*fixed=*/false);
  std::vector<RungFigures> figures(rungs.size());
  for (RungFigures& rung : figures) {
    rung.exact = false;
    rung.searches = 100;
    for (int i = 0; i < 100; ++i) rung.recalls.Add(1);
  }
  Operation::Outcome outcome;
  const absl::Status status = shard_->StoreTuning(shard_->BeginTuning(),
                                                  {.k = 10,
                                                   .k_searched = 10,
                                                   .share = 1,
                                                   .filtered = false,
                                                   .target = 0.95,
                                                   .rungs = rungs,
                                                   .figures = figures},
                                                  &outcome);
  ASSERT_TRUE(status.ok()) << status;
  ASSERT_EQ(outcome.kind, Operation::Outcome::Kind::kPublished) << outcome.reason;
  EXPECT_FALSE(shard_->Stats().drift[5].due);
}

// Searches of a graph go by the ef that was measured, also after a start.
TEST_F(RetrainTest, ATuningOfAGraphIsKept) {
  options_.index.graph = true;
  options_.maintenance.graph_rows = 1000;
  options_.maintenance.graph_quiet = absl::ZeroDuration();
  Start();
  ASSERT_EQ(shard_->Stats().segment_list[0].kind, "IVF+GRAPH");
  const std::vector<float> query(kD, 0.5f);
  const auto search = [&](int k, double target) {
    index::SearchReport report;
    const auto hits =
        shard_->Search(query.data(), {.k = k, .recall_target = target, .report = &report},
                       [] { return absl::OkStatus(); });
    EXPECT_TRUE(hits.ok()) << hits.status();
    return report;
  };
  const index::SearchReport before = search(10, 0.95), of_one = search(1, 0.95);
  ASSERT_FALSE(before.exact);
  ASSERT_GT(before.ef, 0);
  // No breadth finds more than .93, it says: .95 takes all rows.
  const std::vector<TuningRung> rungs = TuningLadder(/*fixed=*/false);
  std::vector<RungFigures> figures(rungs.size());
  for (RungFigures& rung : figures) {
    rung.exact = false;
    rung.searches = 100;
    for (int i = 0; i < 100; ++i) rung.recalls.Add(0.93);
  }
  const TunedKind kind = {.k = 10,
                          .k_searched = 10,
                          .share = 1,
                          .filtered = false,
                          .target = 0.95,
                          .rungs = rungs,
                          .figures = figures};
  const Shard::TuningBasis basis = shard_->BeginTuning();
  Operation::Outcome outcome;
  const absl::Status status = shard_->StoreTuning(basis, kind, &outcome);
  ASSERT_TRUE(status.ok()) << status;
  ASSERT_EQ(outcome.kind, OutcomeKind::kPublished) << outcome.reason;
  EXPECT_GT(outcome.rows_after, outcome.rows_before);
  EXPECT_THAT(shard_->Stats().last_choice, HasSubstr("tuned its graph for k 10"));
  for (const bool reopened : {false, true}) {
    SCOPED_TRACE(reopened);
    if (reopened) Load();
    EXPECT_TRUE(search(10, 0.95).exact);
    EXPECT_FALSE(search(10, 0.88).exact);
    EXPECT_LE(search(10, 0.88).ef, before.ef);
    EXPECT_NEAR(search(1, 0.95).ef, of_one.ef, 1);  // kept as logarithms
    EXPECT_GT(shard_->Stats().tuned_points, 0);
  }
  // What was measured of another index is not stored.
  EXPECT_TRUE(absl::IsAborted(shard_->StoreTuning(basis, kind, &outcome)));
}

TEST_F(RetrainTest, DriftedRowsAreSeenAndRetrained) {
  options_.maintenance.min_drift_rows = 1000;
  Start();
  const ShardStats before = shard_->Stats();
  for (const auto& signal : before.drift) EXPECT_FALSE(signal.due) << signal.name;
  EXPECT_NEAR(before.drift[0].value, 1, 0.01);
  for (int id = kRows; id < kRows + 1000; ++id) Put(id);
  Maintain();
  ASSERT_EQ(shard_->Stats().generation, before.generation);
  // Rows like those of training are no drift.
  EXPECT_NEAR(shard_->Stats().drift[2].value, 1, 0.15);
  EXPECT_NEAR(shard_->Stats().drift[4].value, 1, 0.15);
  // A start finds them again.
  const double error = shard_->Stats().drift[2].value, codes = shard_->Stats().drift[4].value;
  Load();
  EXPECT_NEAR(shard_->Stats().drift[2].value, error, 0.05);
  EXPECT_NEAR(shard_->Stats().drift[4].value, codes, 0.1);
  for (int id = kRows + 1000; id < kRows + 5000; ++id) Put(id, 2.5f);
  Maintain();
  EXPECT_GT(shard_->Stats().generation, before.generation);
  for (const auto& signal : shard_->Stats().drift) EXPECT_FALSE(signal.due) << signal.name;
  EXPECT_GT(Recall(), 0.93);
}

TEST_F(RetrainTest, QueriesOfCallersArePartOfTheTrial) {
  size_t asked = 0;
  options_.recent_queries = [&](size_t most) {
    asked = most;
    return std::vector<float>(37 * kD, 0.5f);
  };
  Start();
  EXPECT_GT(asked, 37u);
  auto operation = Request();
  Maintain();
  EXPECT_EQ(operation->Snapshot().parts[0].outcome.kind, OutcomeKind::kPublished);
  EXPECT_THAT(shard_->Stats().last_choice, HasSubstr("queries"));
}

TEST_F(RetrainTest, KindsOfFaissAreGatedToo) {
  options_.index.kind = index::IndexKind::kIvfFlat;
  options_.maintenance.min_index_rows = 500;
  Load();
  Fill();
  Maintain();
  auto operation = Request();
  Maintain();
  const Operation::Part part = operation->Snapshot().parts[0];
  EXPECT_TRUE(part.status.ok()) << part.status;
  EXPECT_EQ(part.outcome.kind, OutcomeKind::kPublished) << part.outcome.reason;
  EXPECT_GT(part.outcome.recall_after, 0.9);
  operation = Request(1.0);
  const auto files = Files();
  Maintain();
  if (operation->Snapshot().parts[0].outcome.recall_after < 1) {
    EXPECT_EQ(operation->Snapshot().parts[0].outcome.kind, OutcomeKind::kRejected);
    EXPECT_EQ(Files(), files);
  }
  CheckRows();
}

TEST_F(RetrainTest, WritesAndSearchesGoOnThroughout) {
  Start();
  // A call counts for a stage when it began and ended in it: one that the stage holds up does not.
  constexpr int kNone = -1, kStages = 5;
  const std::vector<std::string> names = {"training", "encoding", "catching up", "calibrating",
                                          "validating"};
  ASSERT_EQ(names.size(), size_t{kStages});
  std::atomic<int> stage = kNone;
  std::atomic<int64_t> visit = 0;  // of a stage
  std::array<std::atomic<int64_t>, kStages> searches{}, writes{};
  std::atomic<int64_t> written = 0;
  const auto count = [&](std::array<std::atomic<int64_t>, kStages>* counts, auto call) {
    const int64_t before = visit;
    const int at = stage;
    call();
    if (at != kNone && visit == before) ++(*counts)[static_cast<size_t>(at)];
  };
  std::string last;
  at_stage_ = [&](const std::string& now) {
    if (now == last) return;
    last = now;
    const auto found = std::find(names.begin(), names.end(), now);
    // kNone first: who reads the new visit must not read the old stage.
    stage = kNone;
    ++visit;
    if (found == names.end()) return;
    if (now == "encoding") {
      // More than a tail's worth comes meanwhile, or there is nothing to catch up with.
      const int64_t enough = written + 2 * options_.tail_capacity;
      while (written < enough) absl::SleepFor(absl::Milliseconds(1));
    }
    stage = static_cast<int>(found - names.begin());
  };
  std::atomic<bool> stop = false;
  std::thread reader([&] {
    const std::vector<float> query(kD, 0.5f);
    while (!stop) {
      count(&searches, [&] {
        const auto hits = shard_->Search(query.data(), {.k = 10}, [] { return absl::OkStatus(); });
        ASSERT_TRUE(hits.ok());
        ASSERT_EQ(hits->size(), 10u);
      });
    }
  });
  std::thread writer([&] {
    for (int id = 0; !stop; id = (id + 1) % kRows) {
      count(&writes, [&] { Put(id); });
      ++written;
      absl::SleepFor(absl::Microseconds(200));  // or maintenance never gets to a request
    }
  });
  // A stage may take less than the machine leaves the other threads waiting for a processor: then
  // another round tells.
  const auto none = [&](const auto& counts) {
    return std::any_of(counts.begin(), counts.end(), [](const auto& n) { return n == 0; });
  };
  for (int round = 0; round < 3 || (round < 20 && (none(searches) || none(writes))); ++round) {
    auto operation = Request();
    Maintain();
    EXPECT_NE(operation->Snapshot().parts[0].outcome.kind, OutcomeKind::kNone);
  }
  stop = true;
  reader.join();
  writer.join();
  at_stage_ = nullptr;
  for (size_t i = 0; i < names.size(); ++i) {
    EXPECT_GT(searches[i], 0) << names[i];
    EXPECT_GT(writes[i], 0) << names[i];
  }
  CheckRows();
}

}  // namespace
}  // namespace vecino::engine
