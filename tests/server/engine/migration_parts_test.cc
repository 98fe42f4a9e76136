// The parts of migrations that stand alone: gate, record, figures.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <thread>

#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "server/engine/migration_state.h"
#include "server/engine/overlap.h"
#include "server/engine/write_gate.h"

namespace vecino::engine {
namespace {

using Ids = std::vector<std::string>;

TEST(OverlapTest, CountsWhatIsCommon) {
  EXPECT_DOUBLE_EQ(OverlapOf(Ids{"a", "b", "c", "d"}, Ids{"d", "x", "a", "y"}), 0.5);
  EXPECT_DOUBLE_EQ(OverlapOf(Ids{"a", "b"}, Ids{"a"}), 0.5);
  EXPECT_DOUBLE_EQ(OverlapOf(Ids{}, Ids{"a"}), 0);
  EXPECT_DOUBLE_EQ(OverlapOf(Ids{}, Ids{}), 0);
}

TEST(OverlapTest, RankBiasedOverlapIsThatOfThePaper) {
  const Ids a = {"a", "b", "c"};
  EXPECT_NEAR(RankBiasedOverlap(a, a, 0.9), 1, 1e-12);
  EXPECT_DOUBLE_EQ(RankBiasedOverlap(a, Ids{"x", "y", "z"}, 0.9), 0);
  EXPECT_DOUBLE_EQ(RankBiasedOverlap(Ids{}, Ids{}, 0.9), 0);
  // Agreement by depth: 0, 1, 2/3. RBO = A(3)·p³ + (1−p)/p · Σ A(d)·p^d.
  const double p = 0.9;
  EXPECT_NEAR(RankBiasedOverlap(a, Ids{"b", "a", "x"}, p),
              2.0 / 3 * p * p * p + (1 - p) / p * (p * p + 2.0 / 3 * p * p * p), 1e-12);
  // What differs at the top costs more.
  EXPECT_LT(RankBiasedOverlap(a, Ids{"x", "b", "c"}, p),
            RankBiasedOverlap(a, Ids{"a", "b", "x"}, p));
}

MigrationState Example() {
  MigrationState state;
  state.operation = "17-3";
  state.queries = {"one", "two"};
  state.top_k = 20;
  state.automatic = true;
  state.min_overlap = 0.825;
  state.allow_vectorless = true;
  state.begin_time = absl::FromUnixMicros(5'000'001);
  state.switch_time = absl::FromUnixMicros(7);
  state.copy_through = {0, uint64_t{1} << 45, 3};
  state.checked = state.built = state.switched = true;
  state.overlap = MigrationOverlap{
      .samples = 9, .top_k = 20, .overlap = 0.5, .rank_biased = 0.25, .own_texts = true};
  return state;
}

TEST(MigrationStateTest, ComesBack) {
  const auto state = DecodeMigrationState(EncodeMigrationState(Example()));
  ASSERT_TRUE(state.ok()) << state.status();
  EXPECT_EQ(state->operation, "17-3");
  EXPECT_EQ(state->queries, Example().queries);
  EXPECT_EQ(state->top_k, 20);
  EXPECT_TRUE(state->automatic && state->allow_vectorless && state->checked && state->built &&
              state->switched);
  EXPECT_DOUBLE_EQ(state->min_overlap, 0.825);
  EXPECT_EQ(state->begin_time, Example().begin_time);
  EXPECT_EQ(state->switch_time, Example().switch_time);
  EXPECT_EQ(state->copy_through, Example().copy_through);
  ASSERT_TRUE(state->overlap.has_value());
  EXPECT_EQ(state->overlap->samples, 9);
  EXPECT_DOUBLE_EQ(state->overlap->rank_biased, 0.25);
  EXPECT_TRUE(state->overlap->own_texts);

  MigrationState plain;
  plain.begin_time = absl::FromUnixMicros(1);
  const auto read = DecodeMigrationState(EncodeMigrationState(plain));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->switch_time, absl::InfinitePast());
  EXPECT_FALSE(read->overlap.has_value() || read->built || read->switched || read->automatic);
}

TEST(MigrationStateTest, DamageIsSeen) {
  const std::string bytes = EncodeMigrationState(Example());
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_EQ(DecodeMigrationState(bytes.substr(0, size)).status().code(),
              absl::StatusCode::kDataLoss)
        << size;
  }
  EXPECT_FALSE(DecodeMigrationState(bytes + "?").ok());
  std::string newer = bytes;
  newer[0] = 2;
  EXPECT_FALSE(DecodeMigrationState(newer).ok());
}

TEST(WriteGateTest, ClosesBehindThoseInside) {
  WriteGate gate;
  auto inside = gate.Enter({});
  ASSERT_TRUE(inside.ok() && *inside);
  EXPECT_EQ(gate.Close(absl::Now() + absl::Milliseconds(1)).code(),
            absl::StatusCode::kDeadlineExceeded);
  EXPECT_TRUE(gate.TryEnter()) << "it is open as before";
  std::atomic<bool> left{false};
  std::thread other([&, pass = *std::move(inside)]() mutable {
    absl::SleepFor(absl::Milliseconds(20));  // only makes what is tested likelier
    left = true;
    pass = WriteGate::Pass();
  });
  EXPECT_TRUE(gate.Close(absl::InfiniteFuture()).ok());
  EXPECT_TRUE(left.load());
  EXPECT_FALSE(gate.TryEnter());
  other.join();
}

TEST(WriteGateTest, QuietIsWaitedForWithTheGateOpen) {
  WriteGate gate;
  EXPECT_TRUE(gate.WaitQuiet(absl::Now()));
  auto pass = gate.Enter({});
  ASSERT_TRUE(pass.ok() && *pass);
  EXPECT_FALSE(gate.WaitQuiet(absl::Now() + absl::Milliseconds(1)));
  EXPECT_TRUE(gate.TryEnter());
  std::thread leaves([&] { *pass = WriteGate::Pass(); });
  EXPECT_TRUE(gate.WaitQuiet(absl::InfiniteFuture()));
  leaves.join();
}

TEST(WriteGateTest, WhoWaitsGoesInOrElsewhere) {
  WriteGate gate;
  ASSERT_TRUE(gate.Close(absl::InfiniteFuture()).ok());
  CallContext late;
  late.deadline = absl::Now() + absl::Milliseconds(1);
  EXPECT_EQ(gate.Enter(late).status().code(), absl::StatusCode::kDeadlineExceeded);
  CallContext gone;
  std::stop_source stop;
  gone.stop = stop.get_token();
  stop.request_stop();
  EXPECT_EQ(gate.Enter(gone).status().code(), absl::StatusCode::kCancelled);

  for (const bool moved : {false, true}) {
    ASSERT_TRUE(gate.Close(absl::InfiniteFuture()).ok());
    absl::Notification begun;
    std::atomic<int> entered{-1};
    std::thread waiting([&] {
      begun.Notify();
      const auto pass = gate.Enter({});
      entered = pass.ok() && *pass ? 1 : 0;
    });
    begun.WaitForNotification();
    moved ? gate.Move() : gate.Open();
    waiting.join();
    EXPECT_EQ(entered.load(), moved ? 0 : 1);
  }
  gate.Open();
  EXPECT_TRUE(gate.TryEnter());
}

}  // namespace
}  // namespace vecino::engine
