#include "server/index/recall_table.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <utility>
#include <vector>

#include "server/index/calibration.h"

namespace vecino::index {
namespace {

using How = RecallTable::How;

// breadth · (1 + place of the aim); none from `last` on.
RecallTable::Curve CurveOf(float breadth, size_t last = RecallTable::kAims.size()) {
  RecallTable::Curve curve;
  for (size_t i = 0; i < last; ++i) {
    curve[i] = {breadth * static_cast<float>(i + 1), 10 * breadth, RecallTable::kAims[i],
                0.001f * breadth};
  }
  return curve;
}

size_t PlaceOf(float aim) {
  size_t i = 0;
  while (RecallTable::kAims[i] != aim) ++i;
  return i;
}

RecallTable Grid() {
  RecallTable table;
  table.Add(How::kCodes, 1, 1, CurveOf(1));
  table.Add(How::kCodes, 1, 0.1f, CurveOf(4));
  table.Add(How::kCodes, 10, 1, CurveOf(2));
  table.Add(How::kCodes, 10, 0.1f, CurveOf(8));
  table.Add(How::kCodes, 100, 1, CurveOf(4));
  table.Add(How::kCodes, 100, 0.1f, CurveOf(16));
  return table;
}

TEST(RecallTable, GivesWhatWasMeasured) {
  const RecallTable table = Grid();
  EXPECT_FALSE(table.empty());
  EXPECT_TRUE(table.has(How::kCodes));
  EXPECT_FALSE(table.has(How::kRows));
  const auto place = static_cast<double>(PlaceOf(0.95f) + 1);
  const auto choice = table.For(How::kCodes, 0.95f, 10, 1);
  EXPECT_NEAR(choice.breadth, 2 * place, 1e-3);
  EXPECT_NEAR(choice.rerank, 20, 1e-3);
  EXPECT_NEAR(choice.recall, 0.95, 1e-6);
  EXPECT_NEAR(choice.scanned, 0.002, 1e-6);
  EXPECT_NEAR(table.For(How::kCodes, 0.95f, 100, 0.1).breadth, 16 * place, 1e-3);
  EXPECT_EQ(table.For(How::kRows, 0.95, 10, 1).breadth, 0);
  EXPECT_EQ(RecallTable().For(How::kCodes, 0.95, 10, 1).breadth, 0);
}

TEST(RecallTable, GoesBetweenByLogarithms) {
  const RecallTable table = Grid();
  const auto place = static_cast<double>(PlaceOf(0.95f) + 1);
  EXPECT_NEAR(table.For(How::kCodes, 0.95f, 10, std::sqrt(0.1)).breadth, 4 * place, 0.01);
  // Half way from 10 to 100 is 31.6.
  const double thirty_two = table.For(How::kCodes, 0.95f, 32, 1).breadth;
  EXPECT_NEAR(thirty_two, 2 * std::sqrt(2.0) * place, 0.1);
  const double between = table.For(How::kCodes, (0.93 + 0.95) / 2, 10, 1).breadth;
  EXPECT_NEAR(between, 2 * std::sqrt(place * (place - 1)), 0.01);
  // Below the least aim it is that of the least.
  EXPECT_NEAR(table.For(How::kCodes, 0.1, 10, 1).breadth, 2, 1e-3);
}

TEST(RecallTable, GoesOnBeyondWhatWasMeasured) {
  const RecallTable table = Grid();
  const auto place = static_cast<double>(PlaceOf(0.95f) + 1);
  // From 10 to 100 it doubled, from a share of 1 to a tenth it grew fourfold.
  EXPECT_NEAR(table.For(How::kCodes, 0.95f, 1000, 1).breadth, 8 * place, 0.01);
  EXPECT_NEAR(table.For(How::kCodes, 0.95f, 1000, 1).rerank, 400, 0.1);
  EXPECT_NEAR(table.For(How::kCodes, 0.95f, 10, 0.01).breadth, 32 * place, 0.01);
}

TEST(RecallTable, SaysWhatCannotBeReached) {
  RecallTable table;
  table.Add(How::kCodes, 10, 1, CurveOf(2));
  table.Add(How::kCodes, 10, 0.5f, CurveOf(4, PlaceOf(0.99f)));
  EXPECT_GT(table.For(How::kCodes, 0.99, 10, 1).breadth, 0);
  EXPECT_EQ(table.For(How::kCodes, 0.99f, 10, 0.5).breadth, 0);
  EXPECT_EQ(table.For(How::kCodes, 0.99f, 10, 0.7).breadth, 0);
  EXPECT_GT(table.For(How::kCodes, 0.95, 10, 0.5).breadth, 0);
  EXPECT_EQ(table.For(How::kCodes, 0.9999, 10, 1).breadth, 0);
  EXPECT_EQ(table.For(How::kCodes, 1, 10, 1).breadth, 0);
}

// A float's .9 is a little less than a double's.
TEST(RecallTable, AnAimThatIsReachedNeedsNoneAboveIt) {
  for (const double target : {0.9, 0.95, 0.99}) {
    const size_t place = PlaceOf(static_cast<float>(target));
    RecallTable table;
    table.Add(How::kCodes, 10, 1, CurveOf(2, place + 1));
    const auto choice = table.For(How::kCodes, target, 10, 1);
    EXPECT_NEAR(choice.breadth, 2 * static_cast<double>(place + 1), 1e-3) << target;
    EXPECT_EQ(table.For(How::kCodes, target + 1e-4, 10, 1).breadth, 0) << target;
  }
}

TEST(RecallTable, TellsTheRecallOfABreadth) {
  const RecallTable table = Grid();
  for (const double target : {0.6, 0.9, 0.94, 0.985}) {
    const double breadth = table.For(How::kCodes, target, 10, 0.3).breadth;
    EXPECT_NEAR(table.RecallOf(How::kCodes, breadth, 10, 0.3), target, 0.002) << target;
  }
  EXPECT_LT(table.RecallOf(How::kCodes, 0.1, 10, 1), 0.5);
  EXPECT_NEAR(table.RecallOf(How::kCodes, 1e6, 10, 1), 0.999, 1e-6);
  EXPECT_EQ(RecallTable().RecallOf(How::kCodes, 10, 10, 1), 0);
}

TEST(RecallTable, BytesGiveTheSameTable) {
  RecallTable table = Grid();
  table.Add(How::kRows, 10, 0.1f, CurveOf(3, 7));
  table.Add(How::kRows, 10, 0.02f, CurveOf(5, 6));
  const auto bytes = table.Bytes();
  const auto read = RecallTable::FromBytes(bytes.data(), bytes.size());
  ASSERT_TRUE(read.ok()) << read.status();
  for (const How how : {How::kCodes, How::kRows}) {
    for (const double target : {0.5, 0.7, 0.95, 0.999}) {
      const auto one = table.For(how, target, 30, 0.06), two = read->For(how, target, 30, 0.06);
      EXPECT_NEAR(one.breadth, two.breadth, 1e-4 * one.breadth);
      EXPECT_NEAR(one.scanned, two.scanned, 1e-4 * one.scanned);
    }
  }
  EXPECT_TRUE(RecallTable().Bytes().empty());
  const auto none = RecallTable::FromBytes(nullptr, 0);
  ASSERT_TRUE(none.ok());
  EXPECT_TRUE(none->empty());
}

TEST(RecallTable, BytesThatAreNoneAreRefused) {
  const auto bytes = Grid().Bytes();
  for (size_t size : {size_t{1}, size_t{7}, size_t{8}, bytes.size() - 1}) {
    EXPECT_FALSE(RecallTable::FromBytes(bytes.data(), size).ok()) << size;
  }
  // Another version, another k within a curve, a share that is none, a curve that is missing.
  for (const size_t at : {size_t{0}, size_t{8 + 32 + 4}, size_t{8 + 8 + 3}}) {
    auto other = bytes;
    other[at] ^= 0x41;
    EXPECT_FALSE(RecallTable::FromBytes(other.data(), other.size()).ok()) << at;
  }
  auto shorter = bytes;
  const auto records = static_cast<uint32_t>(5 * RecallTable::kAims.size());
  std::memcpy(shorter.data() + 4, &records, 4);
  EXPECT_FALSE(RecallTable::FromBytes(shorter.data(), shorter.size()).ok());
}

TEST(RecallTable, TakesUpAnotherCurve) {
  const RecallTable table = Grid();
  const auto place = static_cast<double>(PlaceOf(0.95f) + 1);
  const auto at = [](const RecallTable& of, int k, double share) {
    return of.For(How::kCodes, 0.95f, k, share).breadth;
  };
  // In the place of one that is there: the others stay.
  const RecallTable replaced = table.With(How::kCodes, 10, 1, CurveOf(3));
  EXPECT_NEAR(at(replaced, 10, 1), 3 * place, 1e-2);
  EXPECT_NEAR(at(replaced, 10, 0.1), 8 * place, 1e-2);
  EXPECT_NEAR(at(replaced, 100, 1), 4 * place, 1e-2);
  // Of a k and a share of its own: what lay there before is still found beside it.
  const RecallTable more = table.With(How::kCodes, 30, 0.5f, CurveOf(50));
  EXPECT_NEAR(at(more, 30, 0.5), 50 * place, 0.1);
  for (const auto& [k, share] : std::vector<std::pair<int, double>>{
           {1, 1.0}, {10, 1.0}, {10, 0.1}, {100, 0.1}, {10, 0.5}, {30, 1.0}, {30, 0.1}}) {
    EXPECT_NEAR(at(more, k, share), at(table, k, share), 1e-3 * at(table, k, share)) << k << share;
  }
  const std::vector<uint8_t> bytes = more.Bytes();
  const auto read = RecallTable::FromBytes(bytes.data(), bytes.size());
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_NEAR(at(*read, 30, 0.5), 50 * place, 0.1);
  // It does not grow without end.
  RecallTable many = table;
  for (int i = 0; i < 40; ++i) {
    many = many.With(How::kCodes, 200 + i, 0.9f - 0.02f * static_cast<float>(i), CurveOf(60));
    EXPECT_NEAR(at(many, 200 + i, 0.9f - 0.02f * static_cast<float>(i)), 60 * place, 0.1);
  }
  EXPECT_LE(many.shares(How::kCodes).size(), RecallTable::kMost);
  EXPECT_LE(many.Bytes().size(), 8 + 32 * 16 * RecallTable::kMost * RecallTable::kMost);
  EXPECT_TRUE(RecallTable::FromBytes(many.Bytes().data(), many.Bytes().size()).ok());
}

TEST(RecallTable, CurvesThroughSettingsHaveTheMargin) {
  const std::vector<MeasuredSetting> settings = {
      {{.breadth = 2, .rerank = 20, .recall = 0, .scanned = 0.01f}, 0.8, 0.0001},
      {{.breadth = 8, .rerank = 80, .recall = 0, .scanned = 0.04f}, 0.98, 0.0001},
      {{.breadth = 0, .rerank = 0, .recall = 0, .scanned = 0}, 1, 0}};
  const RecallTable::Curve curve = CurveThroughSettings(settings);
  // .8 is sure to be .78, .98 is sure to be .978.
  EXPECT_EQ(curve[PlaceOf(0.7f)].breadth, 2);
  EXPECT_EQ(curve[PlaceOf(0.7f)].rerank, 20);
  const auto& between = curve[PlaceOf(0.9f)];
  EXPECT_GT(between.breadth, 2);
  EXPECT_LT(between.breadth, 8);
  EXPECT_NEAR(between.rerank, 10 * between.breadth, 0.01);
  EXPECT_GT(between.recall, 0.9);
  EXPECT_NEAR(curve[PlaceOf(0.965f)].breadth, 8, 1);
  EXPECT_EQ(curve[PlaceOf(0.98f)].breadth, 0);
  EXPECT_EQ(curve[PlaceOf(0.999f)].breadth, 0);
  for (const auto& setting : CurveThroughSettings({})) EXPECT_EQ(setting.breadth, 0);
}

TEST(RecallTableTest, OfAPartIsTakenWhatCostsLess) {
  RecallTable table;
  table.Add(How::kCodes, 1, 1, CurveOf(40, 9));  // and no aim beyond
  table.Add(How::kCodes, 10, 1, CurveOf(20));
  const float reached = RecallTable::kAims[8], high = RecallTable::kAims[12];
  const auto of = [&](const RecallTable& from, float aim, int part) {
    return from.ForPart(How::kCodes, aim, part, 10, 1, 1e6).breadth;
  };
  const auto only = [&](const RecallTable& from, float aim, int k) {
    return from.For(How::kCodes, aim, k, 1).breadth;
  };
  EXPECT_EQ(of(table, reached, 10), only(table, reached, 10));
  EXPECT_EQ(of(table, reached, 20), only(table, reached, 20));
  // Dearer for three than for ten: what is sure to find ten finds these.
  EXPECT_GT(only(table, reached, 3), only(table, reached, 10));
  EXPECT_EQ(of(table, reached, 3), only(table, reached, 10));
  EXPECT_EQ(only(table, high, 3), 0);
  EXPECT_EQ(of(table, high, 3), only(table, high, 10));
  EXPECT_GT(of(table, high, 3), 0);
  // What was measured for just so many holds, dearer or not reached.
  EXPECT_EQ(of(table, reached, 1), only(table, reached, 1));
  const RecallTable tuned = table.With(How::kCodes, 3, 1, CurveOf(80, 5));
  EXPECT_FLOAT_EQ(of(tuned, RecallTable::kAims[4], 3), CurveOf(80)[4].breadth);
  EXPECT_EQ(of(tuned, reached, 3), 0);
  // Where it is cheaper it is taken.
  RecallTable easy;
  easy.Add(How::kCodes, 1, 1, CurveOf(5));
  easy.Add(How::kCodes, 10, 1, CurveOf(20));
  EXPECT_EQ(of(easy, reached, 3), only(easy, reached, 3));
  EXPECT_LT(of(easy, reached, 3), only(easy, reached, 10));
}

TEST(RecallTableTest, WhatIsKeptDoesNotGiveWay) {
  RecallTable table;
  table.Add(How::kCodes, 1, 1, CurveOf(5));
  table.Add(How::kCodes, 10, 1, CurveOf(20));
  table.Add(How::kCodes, 100, 1, CurveOf(80));
  const std::vector<int> keep = {4, 26};
  for (const int k : keep) table = table.With(How::kCodes, k, 1, CurveOf(33), keep);
  for (int k = 27; k < 60; ++k) table = table.With(How::kCodes, k, 1, CurveOf(50), keep);
  for (const int k : keep) {
    EXPECT_FLOAT_EQ(table.CurveForPart(How::kCodes, k, k, 1, 1e6)[3].breadth,
                    CurveOf(33)[3].breadth)
        << k;
  }
  EXPECT_FLOAT_EQ(table.CurveForPart(How::kCodes, 59, 59, 1, 1e6)[3].breadth,
                  CurveOf(50)[3].breadth);
}

}  // namespace
}  // namespace vecino::index
