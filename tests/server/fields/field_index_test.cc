#include "server/fields/field_index.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <map>

#include "server/fields/passing.h"
#include "tests/server/fields/random_rows.h"

namespace vecino::fields {
namespace {

class FieldIndexTest : public testing::Test {
 protected:
  void Add(uint64_t label) {
    Row row = *ReadMetadata(random_.Json());
    live_[label] = row;
    index_.Add(label, std::move(row));
  }
  void RemoveSome() {
    if (live_.empty()) return;
    auto at = live_.begin();
    std::advance(at, static_cast<ptrdiff_t>(random_.Below(live_.size())));
    EXPECT_TRUE(index_.Remove(at->first));
    EXPECT_FALSE(index_.Remove(at->first));
    live_.erase(at);
  }
  void Expect(int filters) {
    EXPECT_EQ(index_.live(), static_cast<int64_t>(live_.size()));
    for (int i = 0; i < filters; ++i) {
      const std::string text = random_.Filter();
      const auto filter = Filter::Parse(text);
      const Passing passing(index_.Pin(), **filter);
      int64_t expected = 0;
      for (const auto& [label, row] : live_) {
        const bool passes = (*filter)->Passes(row);
        expected += passes;
        ASSERT_EQ(passing.Contains(label), passes) << text << " label " << label;
      }
      ASSERT_EQ(passing.CountLive(), expected) << text;
      int64_t seen = 0;
      uint64_t last = 0;
      passing.ForEach([&](uint64_t label) {
        EXPECT_LT(last, label);
        last = label;
        seen += live_.contains(label);
      });
      ASSERT_EQ(seen, expected) << text;
      const uint64_t low = 1 + random_.Below(4000), high = low + random_.Below(4000);
      std::vector<uint64_t> between;
      passing.ForEach([&](uint64_t label) {
        if (label >= low && label <= high) between.push_back(label);
      });
      // Nothing known before; what is known then; and what that is after documents were excluded.
      for (int times = 0; times < 3; ++times) {
        Passing part(index_.Pin(), **filter, low, high, times == 0 ? nullptr : &known_);
        std::vector<uint64_t> labels;
        part.ForEach([&](uint64_t label) { labels.push_back(label); });
        ASSERT_EQ(labels, between) << text << " from " << low << " to " << high;
        part.Exclude(between);
        part.ForEach([&](uint64_t label) { ADD_FAILURE() << text << " label " << label; });
      }
    }
  }

  class Known final : public Evaluations {
   public:
    Slots FindSlots(uint64_t segment, const std::string& filter) override {
      const auto at = slots_.find({segment, filter});
      return at == slots_.end() ? nullptr : at->second;
    }
    void PutSlots(uint64_t segment, const std::string& filter, Slots slots) override {
      EXPECT_TRUE(slots_.emplace(std::pair(segment, filter), std::move(slots)).second);
    }

   private:
    std::map<std::pair<uint64_t, std::string>, Slots> slots_;
  };

  RandomFields random_{7};
  FieldIndex index_;
  Known known_;
  std::map<uint64_t, Row> live_;
};

TEST_F(FieldIndexTest, MemoryIsCounted) {
  const int64_t empty = index_.bytes();
  EXPECT_GE(empty, static_cast<int64_t>(sizeof(OpenChunk)));
  // A row of the chunk counts with its texts.
  index_.Add(1, *ReadRow(R"({"a long name of a field":")" + std::string(10'000, 'x') + "\"}",
                         "some words of a text"));
  const int64_t one = index_.bytes();
  EXPECT_GE(one, empty + 10'000 + 60);
  EXPECT_LE(one, empty + 30'000);
  index_.Seal();
  EXPECT_EQ(index_.Pin()->parts.size(), 1u);
  EXPECT_EQ(index_.bytes(), empty + index_.Pin()->parts[0].segment->bytes() + 8);
  EXPECT_GE(index_.bytes(), empty + 10'000);
  for (uint64_t label = 2; label < 3000; ++label) Add(label);
  const int64_t before = index_.bytes();
  const auto work = index_.BeginMerge();
  ASSERT_TRUE(work.has_value());
  EXPECT_GT(work->bytes(), 0);
  EXPECT_EQ(work->rows() % OpenChunk::kRows, work->sources[0].segment->size() == 1 ? 1 : 0);
  auto copy = *work;
  copy.Run();
  ASSERT_TRUE(index_.Publish(copy));
  int64_t parts = 0;
  for (const FieldPart& part : index_.Pin()->parts) {
    parts += part.segment->bytes() + static_cast<int64_t>(part.dead->word_count()) * 8;
  }
  EXPECT_LT(index_.bytes(), before);
  EXPECT_GE(index_.bytes(), parts + empty);
}

TEST_F(FieldIndexTest, RandomWritesAndMerges) {
  uint64_t label = 0;
  for (int round = 0; round < 12; ++round) {
    for (int i = 0; i < 900; ++i) {
      Add(label += 1 + random_.Below(3));
      if (random_.Below(3) == 0) RemoveSome();
    }
    Expect(4);
    // What is removed while a merge runs stays removed.
    if (auto work = index_.BeginMerge()) {
      for (int i = 0; i < 50; ++i) RemoveSome();
      work->Run();
      for (int i = 0; i < 50; ++i) RemoveSome();
      ASSERT_TRUE(index_.Publish(*work));
      EXPECT_FALSE(index_.Publish(*work));
      Expect(4);
    }
  }
  while (auto work = index_.BeginMerge()) {
    work->Run();
    ASSERT_TRUE(index_.Publish(*work));
  }
  EXPECT_LT(index_.Pin()->parts.size(), 2 * FieldIndex::kFanOut);
  Expect(20);
  while (!live_.empty()) RemoveSome();
  Expect(3);
}

TEST_F(FieldIndexTest, ALabelThatWasAddedIsNotAddedAgain) {
  Add(5);
  index_.Add(5, {});
  index_.Add(3, {});
  EXPECT_EQ(index_.live(), 1);
  EXPECT_FALSE(index_.Remove(3));
  EXPECT_TRUE(index_.Remove(5));
  index_.Add(5, {});
  EXPECT_EQ(index_.live(), 0);
}

TEST_F(FieldIndexTest, FilesBringItBack) {
  const std::string folder = testing::TempDir() + "/fields";
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  for (uint64_t label = 1; label <= 3000; ++label) {
    Add(label);
    if (random_.Below(4) == 0) RemoveSome();
  }
  EXPECT_LT(index_.SavedThrough(), 3000u);
  index_.Seal();
  uint64_t file = 0;
  while (auto work = index_.BeginSave()) {
    work->Run();
    work->file = ++file;
    ASSERT_TRUE(work->segment->Save(folder + "/" + std::to_string(file)).ok());
    ASSERT_TRUE(index_.Publish(*work));
  }
  EXPECT_GT(index_.SavedThrough(), 3000u);
  RemoveSome();
  FieldIndex loaded;
  for (const FieldPart& part : index_.Pin()->parts) {
    auto segment = FieldSegment::Load(folder + "/" + std::to_string(part.file));
    ASSERT_TRUE(segment.ok()) << segment.status();
    loaded.AddPart(*segment, part.dead->Snapshot(), part.file);
  }
  EXPECT_EQ(loaded.live(), index_.live());
  EXPECT_EQ(loaded.last_label(), index_.Pin()->parts.back().segment->labels().back());
  const auto filter = Filter::Parse("year > 2010 AND NOT lang = \"a\"");
  EXPECT_EQ(Passing(loaded.Pin(), **filter).CountLive(),
            Passing(index_.Pin(), **filter).CountLive());
  EXPECT_GT(Passing(loaded.Pin(), **filter).CountLive(), 0);
  EXPECT_EQ(FieldSegment::Load(folder + "/99").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(FieldIndexTest, ValuesAreCountedAmongWhatPasses) {
  for (uint64_t label = 1; label <= 700; ++label) Add(label);
  for (int i = 0; i < 100; ++i) RemoveSome();
  const auto filter = Filter::Parse("draft = true");
  std::map<std::string, int64_t> expected, got;
  int64_t present = 0, expected_present = 0;
  for (const auto& [label, row] : live_) {
    if (!(*filter)->Passes(row)) continue;
    std::map<std::string, int64_t> once;
    bool any = false;
    for (const FieldValue& value : row.values) {
      if (value.path != "tags") continue;
      any = true;
      if (value.type == ValueType::kString) once[value.text] = 1;
    }
    expected_present += any;
    for (const auto& [text, one] : once) expected[text] += one;
  }
  Passing(index_.Pin(), **filter)
      .ForEachValue(
          "tags", [&](const Literal& value, int64_t count) { got[value.text] += count; }, &present);
  EXPECT_EQ(got, expected);
  EXPECT_EQ(present, expected_present);
}

TEST_F(FieldIndexTest, ComparingWithATypeThatIsNotThere) {
  for (uint64_t label = 1; label <= 600; ++label) Add(label);
  const std::shared_ptr<const FieldView> views[] = {index_.Pin()};
  EXPECT_TRUE(
      CheckFilter(views, **Filter::Parse("year > 3 AND lang = \"a\" AND mixed = 7 AND nobody = 3"))
          .ok());
  EXPECT_EQ(CheckFilter(views, **Filter::Parse("year = \"x\"")).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(CheckFilter(views, **Filter::Parse("draft = 1")).code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace vecino::fields
