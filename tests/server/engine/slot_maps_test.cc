#include "server/engine/slot_maps.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <random>

#include "server/fields/field_index.h"
#include "server/index/flat_segment.h"

namespace vecino::engine {
namespace {

std::shared_ptr<const index::Segment> Vectors(const std::vector<uint64_t>& labels) {
  index::FlatSegmentBuilder builder(index::Metric::kL2, 1);
  const float value = 1;
  for (const uint64_t label : labels) EXPECT_TRUE(builder.Add(label, &value).ok());
  auto segment = builder.Build();
  EXPECT_TRUE(segment.ok()) << segment.status();
  return *segment;
}

std::shared_ptr<const fields::FieldSegment> Documents(const std::vector<uint64_t>& labels) {
  return fields::FieldSegment::Build(labels, std::vector<fields::Row>(labels.size()));
}

std::vector<uint64_t> Ascending(std::mt19937* rng, uint64_t from, uint64_t to, int one_in) {
  std::vector<uint64_t> labels;
  for (uint64_t label = from; label < to; ++label) {
    if ((*rng)() % static_cast<unsigned>(one_in) == 0) labels.push_back(label);
  }
  if (labels.empty()) labels.push_back(from);
  return labels;
}

TEST(SlotMapTest, AgreesWithLookingUpEachLabel) {
  std::mt19937 rng(5);
  for (int round = 0; round < 200; ++round) {
    const uint64_t from = rng() % 300, to = from + 1 + rng() % 300;
    // With one_in 1 on both sides each document has a row.
    const auto vectors = Vectors(Ascending(&rng, from, to, 1 + static_cast<int>(rng() % 2)));
    const auto documents =
        Documents(Ascending(&rng, rng() % 300, 301 + rng() % 300, 1 + static_cast<int>(rng() % 2)));
    Roaring passing;
    for (uint32_t slot = 0; slot < documents->size(); ++slot) {
      if (rng() % 3 != 0) passing.add(slot);
    }
    std::vector<uint64_t> expected(static_cast<size_t>((vectors->size() + 63) / 64));
    for (const uint32_t slot : passing) {
      const int64_t row = vectors->FindSlot(documents->label(slot));
      if (row >= 0) expected[static_cast<size_t>(row / 64)] |= uint64_t{1} << (row % 64);
    }
    std::vector<uint64_t> words(expected.size());
    const SlotMap map(*vectors, {}, *documents);
    map.AddRows(passing, &words);
    ASSERT_EQ(words, expected) << round;
    EXPECT_LE(map.bytes(), static_cast<int64_t>(sizeof(SlotMap)) + 8 * documents->size() + 8);
  }
}

TEST(SlotMapsTest, KeepsWhatWasUsedLastWithinItsBytes) {
  std::vector<uint64_t> labels(1000);
  for (size_t i = 0; i < labels.size(); ++i) labels[i] = i + 1;
  const auto documents = Documents(labels);
  const auto a = Vectors(labels), b = Vectors(labels), c = Vectors(labels);
  SlotMaps maps(10'000, nullptr);  // two of about 4,200 bytes
  EXPECT_EQ(maps.Find(*a, *documents), nullptr);
  const auto made = maps.Make(*a, {}, *documents);
  EXPECT_EQ(maps.Find(*a, *documents), made);
  maps.Make(*b, {}, *documents);
  EXPECT_NE(maps.Find(*a, *documents), nullptr);
  EXPECT_GT(maps.bytes(), 8000);
  EXPECT_NE(maps.Make(*c, {}, *documents), nullptr);
  EXPECT_LE(maps.bytes(), 10'000);
  EXPECT_NE(maps.Find(*a, *documents), nullptr);
  EXPECT_EQ(maps.Find(*b, *documents), nullptr);
  EXPECT_NE(maps.Find(*c, *documents), nullptr);
  // Other documents with the same labels have maps of their own.
  EXPECT_EQ(maps.Find(*a, *Documents(labels)), nullptr);
  SlotMaps small(1000, nullptr);
  EXPECT_NE(small.Make(*a, {}, *documents), nullptr);
  EXPECT_EQ(small.bytes(), 0);
}

TEST(SlotMapsTest, MakesRoomForWhatTheBudgetIsFor) {
  std::vector<uint64_t> labels(1000);
  for (size_t i = 0; i < labels.size(); ++i) labels[i] = i + 1;
  const auto documents = Documents(labels);
  const auto a = Vectors(labels), b = Vectors(labels);
  MemoryBudget budget(10'000);
  SlotMaps maps(1 << 20, &budget);
  maps.Make(*a, {}, *documents);
  maps.Make(*b, {}, *documents);
  EXPECT_GT(maps.bytes(), 8000);
  EXPECT_EQ(budget.used(), 0);
  // A build is not refused for their sake, and they go when they are looked at next.
  EXPECT_TRUE(budget.Reserve(5000, "a build").ok());
  EXPECT_NE(maps.Find(*a, *documents), nullptr);
  EXPECT_EQ(maps.Find(*b, *documents), nullptr);
  EXPECT_LE(maps.bytes(), 5000);
  EXPECT_TRUE(budget.Reserve(4000, "another").ok());
  EXPECT_NE(maps.Make(*b, {}, *documents), nullptr);
  EXPECT_EQ(maps.bytes(), 0);
}

}  // namespace
}  // namespace vecino::engine
