// kill -9 at every step that maintenance takes on its files and in the store: what a start finds.
//
// A child process works on a real store and real files and dies at a chosen step; a second child
// opens what is left, compares it with what the first one had acknowledged, and goes on working.
// SIGKILL keeps what the kernel was given; a power cut is not tried here.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <limits>
#include <map>
#include <random>
#include <set>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "server/index/segment_kind.h"
#include "tests/server/engine/engine_kill_calls.h"
#include "tests/server/engine/engine_kill_child.h"

namespace vecino::engine {
namespace {

using index::IndexKind;

struct Case {
  IndexKind kind;
  int points;     // to try unless VECINO_KILL_POINTS says otherwise
  bool all_ends;  // the last of each kind of step at every moment, not only after it
};

class KillTest : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::path(absl::StrCat(testing::TempDir(), "/engine_kill_", getpid()))
                  .lexically_normal()
                  .string();
    shared_ = static_cast<Shared*>(
        mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    ASSERT_NE(shared_, MAP_FAILED);
    MakeBatches();
  }
  void TearDown() override {
    munmap(shared_, sizeof(Shared));
    std::filesystem::remove_all(folder_);
  }

  // Writes go half a tail on while maintenance works, then wait for it: so about the same steps are
  // taken in every run.
  void MakeBatches() {
    std::mt19937 rng(1);
    int version = 0, fresh = 0, since_settled = 0;
    const auto write = [&](int collection, int puts) {
      for (int i = 0; i < puts; ++i) {
        const bool deletes = i % 5 == 4;
        Batch batch{deletes ? Batch::kDelete : Batch::kPut, collection, {}, ++version};
        std::set<int> ids;
        while (ids.size() < (deletes ? 10u : 40u)) {
          const bool update = deletes || rng() % 4 == 0;
          ids.insert(update && fresh > 0 ? static_cast<int>(rng() % static_cast<uint32_t>(fresh))
                                         : fresh++ % kKillIds);
          fresh = std::min(fresh, kKillIds);
        }
        batch.ids.assign(ids.begin(), ids.end());
        batches_.push_back(batch);
        if ((since_settled += deletes ? 0 : 40) >= kKillTail) {
          since_settled = 0;
          batches_.push_back({Batch::kSettle, collection, {}, 0});
        }
      }
    };
    batches_.push_back({Batch::kCreate, 0, {}, 0});
    write(0, 2);
    batches_.push_back({Batch::kCreate, 1, {}, 0});
    write(0, 24);
    batches_.push_back({Batch::kCompact, 0, {}, 0});
    fresh = 0;
    write(1, 15);
    fresh = kKillIds / 2;
    batches_.push_back({Batch::kSettle, 1, {}, 0});
    batches_.push_back({Batch::kDrop, 1, {}, 0});
    write(0, 12);
    if (GetParam().kind == IndexKind::kAuto) batches_.push_back({Batch::kRetrain, 0, {}, 0});
    write(0, 5);
    first_run_ = static_cast<int>(batches_.size());
    for (int i = 0; i < 3; ++i) write(0, 10);
  }

  // Puts 80 documents in each of so many batches.
  void AddPuts(int batches) {
    for (int i = 0; i < batches; ++i) {
      Batch batch{Batch::kPut, 0, {}, ++version_};
      for (int j = 0; j < 80; ++j) batch.ids.push_back(id_++ % (kKillIds / 2));
      std::sort(batch.ids.begin(), batch.ids.end());
      batches_.push_back(batch);
    }
  }

  // Rows to train on, then a retrain with writes beside it, then some that a start goes on with.
  void MakeStageBatches() {
    batches_.clear();
    batches_.push_back({Batch::kCreate, 0, {}, 0});
    AddPuts(9);
    batches_.push_back({Batch::kSettle, 0, {}, 0});
    batches_.push_back({Batch::kRetrainBeside, 0, {}, 0});
    AddPuts(5);
    batches_.push_back({Batch::kSettle, 0, {}, 0});
    first_run_ = static_cast<int>(batches_.size());
    AddPuts(2);
    batches_.push_back({Batch::kRetrain, 0, {}, 0});
    AddPuts(1);
  }

  // Rows to train on, then a retrain that is rejected, then some that a start goes on with.
  void MakeRejectedBatches() {
    batches_.clear();
    batches_.push_back({Batch::kCreate, 0, {}, 0});
    AddPuts(9);
    batches_.push_back({Batch::kSettle, 0, {}, 0});  // the first training
    batches_.push_back({Batch::kRetrainSpoiled, 0, {}, 0});
    AddPuts(2);
    batches_.push_back({Batch::kSettle, 0, {}, 0});
    first_run_ = static_cast<int>(batches_.size());
    AddPuts(2);
    batches_.push_back({Batch::kRetrainSpoiled, 0, {}, 0});
    AddPuts(1);
  }

  // True when it was killed at the point. Adds a failure when anything was wrong.
  bool RunChild(State* state, int to, const KillPoint& point) {
    int notes[2];
    if (pipe(notes) != 0) {
      ADD_FAILURE() << "no pipe";
      return false;
    }
    new (shared_) Shared{};
    const pid_t child = fork();  // the parent never has a second thread
    if (child == 0) {
      ::close(notes[0]);
      RunKillChild(GetParam().kind, folder_, batches_, *state, to, point, shared_, notes[1]);
    }
    ::close(notes[1]);
    Note note;
    while (read(notes[0], &note, sizeof note) == sizeof note) {
      const Batch& batch = batches_[static_cast<size_t>(note.batch)];
      state->next = note.batch + (note.type == Note::kNothingOfIt ? 0 : 1);
      state->in_flight = note.type == Note::kBegun;
      if (note.type == Note::kDone) state->Apply(batch);
    }
    ::close(notes[0]);
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) != child) {
      ADD_FAILURE() << "no child";
      return false;
    }
    const bool killed =
        WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL && shared_->counts.killed;
    if (!killed && !(WIFEXITED(status) && WEXITSTATUS(status) == 0)) {
      ADD_FAILURE() << "the child ended with status " << status << ": " << shared_->failure;
    }
    return killed;
  }

  // Steps of a run from nothing that nobody kills.
  void CountSteps(std::array<int, kSteps>* counted) {
    State state;
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
    RunChild(&state, first_run_, {});
    ASSERT_FALSE(HasFailure());
    for (size_t step = 0; step < kSteps; ++step) {
      (*counted)[step] = shared_->counts.steps[step].load();
    }
  }

  // Work from nothing, killed at `point`; or, when that many such steps were not taken this time,
  // at one that comes a little earlier. False when none was reached.
  bool KillAt(KillPoint point, State* state) {
    for (const int last = point.number - 6; point.number > std::max(last, 0); --point.number) {
      std::filesystem::remove_all(folder_);
      std::filesystem::create_directories(folder_);
      *state = {};
      if (RunChild(state, first_run_, point)) return true;
      if (HasFailure()) return false;
    }
    return false;
  }

  // Kills runs `wanted` times in this stage, at calls spread evenly over those up to `last`, before
  // and after them in turns, and goes on with each. A run may pause less often than the one that
  // counted: then an earlier call is tried, and every run has the first. How many kills there were.
  int KillInStage(int step, int last, int wanted) {
    constexpr int kTries = 6;
    State state;
    int killed = 0;
    for (int i = 0; i < wanted; ++i) {
      int number = wanted == 1 ? last : 1 + i * (last - 1) / (wanted - 1);
      for (int tries = 1, done = killed + 1; tries <= kTries && killed < done; ++tries) {
        if (tries == kTries) number = 1;
        const KillPoint point{step, number, i % 2 == 0 ? Moment::kBefore : Moment::kAfter};
        SCOPED_TRACE(Describe(point));
        killed += KillAt(point, &state);
        if (HasFailure()) return killed;
        GoOn(&state);
        if (HasFailure()) return killed;
        number = std::max(1, number * 3 / 4);
      }
    }
    return killed;
  }

  // A start after a kill. True when this one was killed too.
  bool GoOn(State* state, const KillPoint& point = {}) {
    const int to = std::min(state->next + kBatchesAfterKill, static_cast<int>(batches_.size()));
    return RunChild(state, to, point);
  }

  static constexpr int kBatchesAfterKill = 10;
  std::string folder_;
  Shared* shared_ = nullptr;
  std::vector<Batch> batches_;
  int first_run_ = 0;         // batches of the run that is killed
  int version_ = 0, id_ = 0;  // of AddPuts
};

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;  // everything takes many times as long
#else
constexpr bool kSanitized = false;
#endif

// VECINO_KILL_POINTS: how many points are tried of each kind of index, or `all`.
int PointsToTry(int points) {
  const char* const text = std::getenv("VECINO_KILL_POINTS");
  if (text == nullptr) return kSanitized ? points / 4 : points;
  if (std::string(text) == "all") return std::numeric_limits<int>::max();
  EXPECT_TRUE(absl::SimpleAtoi(text, &points) && points > 0) << "VECINO_KILL_POINTS=" << text;
  return points;
}

std::vector<KillPoint> EvenlySpread(const std::vector<KillPoint>& points, size_t wanted) {
  const size_t take = std::min(wanted, points.size());
  std::vector<KillPoint> taken;
  for (size_t i = 0; i < take; ++i) {
    taken.push_back(points[(2 * i + 1) * points.size() / (2 * take)]);
  }
  return taken;
}

// Kills in each stage of a retrain: VECINO_KILL_STAGE_POINTS. 0: it is no number above 0.
int KillsInAStage() {
  const char* const text = std::getenv("VECINO_KILL_STAGE_POINTS");
  int wanted = kSanitized ? 3 : 20;
  if (text != nullptr && !(absl::SimpleAtoi(text, &wanted) && wanted > 0)) return 0;
  return wanted;
}

// First and last of each kind of step (some of them in a sanitizer's build), and `wanted` in all,
// evenly spread over what was counted.
std::vector<KillPoint> ChoosePoints(const StepCounts& counts, int wanted, bool all_ends) {
  std::vector<KillPoint> ends, between;
  for (int step = 0; step < kFirstStage; ++step) {
    const bool writes = step < kMakeFolder && step % kFileCalls == kWrite;
    for (int number = 1; number <= counts.steps[step]; ++number) {
      for (const Moment moment : {Moment::kBefore, Moment::kHalf, Moment::kAfter}) {
        if (moment == Moment::kHalf && !writes) continue;
        const bool first = number == 1;
        const bool last = number == counts.steps[step] && (all_ends || moment == Moment::kAfter);
        (first || last ? ends : between).push_back({step, number, moment});
      }
    }
  }
  const auto room = static_cast<size_t>(wanted);
  if (kSanitized && room < ends.size()) return EvenlySpread(ends, room);
  const auto more = EvenlySpread(between, room - std::min(room, ends.size()));
  ends.insert(ends.end(), more.begin(), more.end());
  return ends;
}

TEST_P(KillTest, AcknowledgedWritesStayAndNothingElseComes) {
  const bool is_auto = GetParam().kind == IndexKind::kAuto;
  State state;
  std::filesystem::remove_all(folder_);
  std::filesystem::create_directories(folder_);
  RunChild(&state, first_run_, {});
  ASSERT_FALSE(HasFailure());
  StepCounts counts{};
  for (int step = 0; step < kSteps; ++step) {
    counts.steps[step] = shared_->counts.steps[step].load();
    const int kind = step < kMakeFolder ? step / kFileCalls : static_cast<int>(kSegment);
    if (step >= kFirstStage) continue;
    if (!is_auto && kind != kSegment) continue;
    EXPECT_GT(counts.steps[step], 0) << StepName(step);
  }

  const int wanted = PointsToTry(GetParam().points);
  std::map<int, int> killed;
  int not_reached = 0, twice = 0;
  for (const KillPoint& point : ChoosePoints(counts, wanted, GetParam().all_ends)) {
    SCOPED_TRACE(Describe(point));
    KillAt(point, &state) ? ++killed[point.step] : ++not_reached;
    ASSERT_FALSE(HasFailure());
    GoOn(&state);
    ASSERT_FALSE(HasFailure());
  }

  // The start after a kill is killed as well, among others while it deletes what was left over.
  constexpr int kSegments = kSegment * kFileCalls;
  const KillPoint left_over{kSegments + kWrite, std::max(counts.steps[kSegments + kWrite] / 2, 1),
                            Moment::kHalf};
  for (const int step : {kSegments + kRemove, kSegments + kWrite, kSegments + kRename,
                         static_cast<int>(kPutManifest), static_cast<int>(kTrimChanges)}) {
    for (const Moment moment : {Moment::kBefore, Moment::kAfter}) {
      if (!is_auto && step != kSegments + kRemove) continue;
      const KillPoint second{step, 1, moment};
      SCOPED_TRACE(Describe(left_over) + ", then " + Describe(second));
      KillAt(left_over, &state);
      ASSERT_FALSE(HasFailure());
      twice += GoOn(&state, second);
      ASSERT_FALSE(HasFailure());
      GoOn(&state);
      ASSERT_FALSE(HasFailure());
    }
  }

  int total = 0;
  for (const auto& [step, points] : killed) {
    const int moments = step < kMakeFolder && step % kFileCalls == kWrite ? 3 : 2;
    std::cout << "  " << StepName(step) << ": killed at " << points << " of "
              << moments * counts.steps[step] << " points\n";
    total += points;
  }
  std::cout << index::IndexKindName(GetParam().kind) << ": " << total << " kills, " << not_reached
            << " points not reached, " << twice << " killed twice\n";
  EXPECT_LE(10 * not_reached, total);
  EXPECT_GE(twice, 2);
}

// In each stage of a retrain, with writes beside it that it has to catch up with: at its beginning,
// its end and between. VECINO_KILL_STAGE_POINTS: how often in each.
TEST_P(KillTest, EveryStageOfARetrain) {
  if (GetParam().kind != IndexKind::kAuto) GTEST_SKIP() << "FAISS's kinds have one stage";
  MakeStageBatches();
  const int wanted = KillsInAStage();
  ASSERT_GT(wanted, 0);
  std::array<int, kSteps> counted;
  ASSERT_NO_FATAL_FAILURE(CountSteps(&counted));
  for (int step = kFirstStage; step < kRejected; ++step) {
    EXPECT_GT(counted[static_cast<size_t>(step)], 0) << StepName(step);
  }
  for (int step = kFirstStage; step < kRejected; ++step) {
    // A stage of few calls more than once. Not the last ones of many: it pauses more or less often
    // each time.
    const int count = counted[static_cast<size_t>(step)];
    const int killed = KillInStage(step, count > 10 ? count * 9 / 10 : count, wanted);
    ASSERT_FALSE(HasFailure());
    std::cout << "  " << StepName(step) << ": killed " << killed << " times over " << count
              << " calls\n";
    EXPECT_EQ(killed, wanted) << StepName(step);
  }
}

// What a build that is rejected has written goes, whenever that ends; the old one serves on.
TEST_P(KillTest, EveryStageOfARetrainThatIsRejected) {
  if (GetParam().kind != IndexKind::kAuto) GTEST_SKIP() << "FAISS's kinds have no gate";
  MakeRejectedBatches();
  const int wanted = KillsInAStage();
  ASSERT_GT(wanted, 0);
  std::array<int, kSteps> counted;
  ASSERT_NO_FATAL_FAILURE(CountSteps(&counted));
  ASSERT_EQ(counted[kRejected], 1);
  for (const int step : {kTraining, kEncoding, kCalibrating, kValidating}) {
    // About the first half of the calls are those of the build before, which goes live.
    const int count = counted[static_cast<size_t>(step)];
    EXPECT_EQ(KillInStage(step, count > 10 ? count * 9 / 10 : count, 1), 1) << StepName(step);
    ASSERT_FALSE(HasFailure());
  }
  const int killed = KillInStage(kRejected, 1, wanted);
  ASSERT_FALSE(HasFailure());
  std::cout << "  rejected: killed " << killed << " times\n";
  EXPECT_EQ(killed, wanted);
}

INSTANTIATE_TEST_SUITE_P(Kinds, KillTest,
                         testing::Values(Case{IndexKind::kAuto, 105, true},
                                         Case{IndexKind::kIvfPq, 45, false},
                                         Case{IndexKind::kHnsw, 45, false}),
                         [](const auto& info) {
                           std::string name(index::IndexKindName(info.param.kind));
                           std::erase(name, '_');
                           return name;
                         });

}  // namespace
}  // namespace vecino::engine
