#include "server/fields/columns.h"

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"

#include "tests/server/fields/random_rows.h"

namespace vecino::fields {
namespace {

std::vector<Row> MakeRows(RandomFields* random, size_t count) {
  std::vector<Row> rows;
  for (size_t i = 0; i < count; ++i) rows.push_back(*ReadMetadata(random->Json()));
  return rows;
}

// Every slot says what the filter says of its row.
void ExpectSame(const Columns& columns, const std::vector<Row>& rows, RandomFields* random,
                int filters) {
  ASSERT_EQ(columns.slots(), rows.size());
  for (int f = 0; f < filters; ++f) {
    const std::string text = random->Filter();
    const auto filter = Filter::Parse(text);
    ASSERT_TRUE(filter.ok()) << text << ": " << filter.status();
    const Roaring slots = columns.Evaluate((*filter)->root());
    for (uint32_t slot = 0; slot < rows.size(); ++slot) {
      ASSERT_EQ(slots.contains(slot), (*filter)->Passes(rows[slot])) << text << " slot " << slot;
    }
  }
}

TEST(Columns, SayWhatRowsSay) {
  RandomFields random(1);
  for (const size_t count : {size_t{1}, size_t{64}, size_t{300}, size_t{5000}}) {
    const std::vector<Row> rows = MakeRows(&random, count);
    ExpectSame(*Columns::Build(rows), rows, &random, count > 1000 ? 60 : 300);
  }
}

TEST(Columns, MergedWithoutTheDead) {
  RandomFields random(2);
  std::vector<std::vector<Row>> sources;
  std::vector<std::shared_ptr<const Columns>> built;
  std::vector<std::vector<uint32_t>> maps;
  std::vector<Row> expected;
  for (const size_t count : {700, 1, 256, 3000}) {
    sources.push_back(MakeRows(&random, count));
    built.push_back(Columns::Build(sources.back()));
    std::vector<uint32_t>& map = maps.emplace_back();
    for (const Row& row : sources.back()) {
      const bool gone = random.Below(4) == 0;
      map.push_back(gone ? Columns::kGone : static_cast<uint32_t>(expected.size()));
      if (!gone) expected.push_back(row);
    }
  }
  std::vector<Columns::Source> parts;
  for (size_t i = 0; i < built.size(); ++i) parts.push_back({built[i].get(), maps[i]});
  const auto merged = Columns::Merge(parts, static_cast<uint32_t>(expected.size()));
  ExpectSame(*merged, expected, &random, 60);

  const auto parsed = Columns::Parse(merged->Serialize());
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  ExpectSame(**parsed, expected, &random, 30);
  EXPECT_EQ((*parsed)->Serialize(), merged->Serialize());
}

TEST(Columns, DamagedBytesAreRefused) {
  RandomFields random(4);
  const std::string bytes = Columns::Build(MakeRows(&random, 400))->Serialize();
  for (size_t length = 0; length < bytes.size(); length += 97) {
    EXPECT_FALSE(Columns::Parse(std::string_view(bytes).substr(0, length)).ok()) << length;
  }
  EXPECT_FALSE(Columns::Parse(bytes + "x").ok());
  for (int i = 0; i < 3000; ++i) {
    std::string damaged = bytes;
    damaged[random.Below(damaged.size())] = static_cast<char>(random.Below(256));
    const auto parsed = Columns::Parse(damaged);  // must not crash; a changed value may go unseen
    if (parsed.ok()) (*parsed)->Evaluate((*Filter::Parse("year > 2001 AND lang = \"a*\""))->root());
  }
}

TEST(Columns, FieldsBeyondTheLimitAreTold) {
  std::vector<Row> rows;
  for (size_t i = 0; i < Columns::kMaxPaths + 5; ++i) {
    rows.push_back(*ReadMetadata(absl::StrCat("{\"f", i, "\":1}")));
  }
  const auto columns = Columns::Build(rows);
  EXPECT_FALSE(columns->Overflows("f0"));
  EXPECT_TRUE(columns->Overflows("f1002"));
  EXPECT_TRUE(columns->Overflows("never"));
  EXPECT_FALSE(Columns::Build({rows.data(), 10})->Overflows("f1002"));
}

TEST(Columns, ValuesWithTheirSlots) {
  const auto columns = Columns::Build(
      std::vector<Row>{*ReadMetadata(R"({"a":["x","y","x"]})"), *ReadMetadata(R"({"a":"x"})"),
                       *ReadMetadata(R"({"a":[1,true,null]})"), *ReadMetadata(R"({"a":null})")});
  std::vector<std::string> shown;
  columns->ForEachValue("a", [&](const Literal& value, const Roaring& slots) {
    shown.push_back(absl::StrCat(value.type == ValueType::kNumber ? absl::StrCat(value.number)
                                 : value.type == ValueType::kBool ? "true"
                                                                  : value.text,
                                 ":", slots.cardinality()));
  });
  EXPECT_EQ(shown, (std::vector<std::string>{"true:1", "1:1", "x:2", "y:1"}));
  EXPECT_EQ(columns->Present("a")->cardinality(), 3u);
  EXPECT_EQ(columns->Present("b"), nullptr);
}

}  // namespace
}  // namespace vecino::fields
