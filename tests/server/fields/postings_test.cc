#include "server/fields/postings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <string>
#include <utility>

#include "server/fields/postings_cursor.h"
#include "tests/server/fields/word_corpus.h"

namespace vecino::fields {
namespace {

using PostingsPtr = std::shared_ptr<const Postings>;
// Term → slot → frequency.
using Reference = std::map<std::string, std::map<uint32_t, uint32_t>>;

absl::Status GoOn() { return absl::OkStatus(); }

PostingsPtr Build(const std::vector<DocumentTerms>& rows) {
  const auto pointers = Pointers(rows);
  auto built = Postings::Build(pointers);
  EXPECT_TRUE(built.ok()) << built.status();
  return *built;
}

void AddTo(const DocumentTerms& row, uint32_t slot, Reference* reference) {
  for (size_t i = 0; i < row.size(); ++i) {
    (*reference)[std::string(row.term(i))][slot] = row.entry(i).frequency;
  }
}

Reference ReferenceOf(const std::vector<DocumentTerms>& rows) {
  Reference reference;
  for (uint32_t slot = 0; slot < rows.size(); ++slot) AddTo(rows[slot], slot, &reference);
  return reference;
}

Reference Contents(const Postings& postings) {
  Reference contents;
  for (uint32_t t = 0; t < postings.term_count(); ++t) {
    auto& slots = contents[std::string(postings.term(t))];
    PostingsCursor cursor(postings, t);
    for (bool more = cursor.Advance(0); more; more = cursor.Next()) {
      slots[cursor.slot()] = cursor.frequency();
    }
    EXPECT_EQ(slots.size(), postings.document_frequency(t));
    EXPECT_EQ(postings.Find(postings.term(t)), t);
  }
  return contents;
}

uint64_t Length(const Reference& reference) {
  uint64_t length = 0;
  for (const auto& [term, slots] : reference) {
    for (const auto& [slot, frequency] : slots) length += frequency;
  }
  return length;
}

PostingsPtr Reparse(const Postings& postings) {
  auto parsed = Postings::Parse(nullptr, postings.data(), GoOn);
  EXPECT_TRUE(parsed.ok()) << parsed.status();
  return *parsed;
}

TEST(Postings, HoldsWhatWasBuilt) {
  std::mt19937 rng(1);
  for (const int count : {0, 1, 2, 130, 3000}) {
    const auto rows = TermsOf(RandomTexts(&rng, count, 40, 2000));
    const Reference expected = ReferenceOf(rows);
    const PostingsPtr postings = Build(rows);
    EXPECT_EQ(postings->document_count(), rows.size());
    EXPECT_EQ(Contents(*postings), expected);
    EXPECT_EQ(postings->total_length(), Length(expected));
    EXPECT_EQ(postings->Find("nosuchword"), std::nullopt);
    EXPECT_EQ(postings->Find(""), std::nullopt);
    EXPECT_EQ(Contents(*Reparse(*postings)), expected);
  }
}

TEST(Postings, BytesOfAnExample) {
  // docs/storage_format.md tells these bytes.
  const std::vector<DocumentTerms> rows = TermsOf({"to be or not to be", "", "be"});
  const PostingsPtr postings = Build(rows);
  std::string hex;
  for (const char c : postings->data()) {
    static constexpr char kDigits[] = "0123456789abcdef";
    hex += kDigits[static_cast<unsigned char>(c) >> 4];
    hex += kDigits[static_cast<unsigned char>(c) & 15];
  }
  EXPECT_EQ(hex,
            "504f5354"
            "01000000"
            "01000000"
            "03000000"
            "02000000"
            "04000000"  // header
            "0700000000000000"
            "0900000000000000"
            "1200000000000000"
            "0600010000000000"  // norms
            "00000000"
            "02000000"
            "0000000000000000"  // be: in two documents
            "02000000"
            "01000000"
            "0000000001000000"  // not: in 0, once
            "05000000"
            "01000000"
            "0000000001000000"  // or
            "07000000"
            "01000000"
            "0000000002000000"  // to: in 0, twice
            "09000000"
            "00000000"
            "0000000000000000"
            "62656e6f746f72746f00000000000000"  // names
            "02000000"
            "02"
            "01"
            "01"
            "01"  // be: last slot 2, frequency 2 at most, norm 1 at least
            "02"
            "01"  // distances 0, 1; frequencies less one: 1, 0
            "0000000000000000");
}

TEST(Postings, FrequenciesAndGapsOfAnySize) {
  std::vector<std::string> texts(100'000);
  std::string many;
  for (int i = 0; i < 70'000; ++i) many += "often ";
  texts[0] = many;
  texts[70'001] = "often";
  texts[99'999] = "often once";
  const auto rows = TermsOf(texts);
  const PostingsPtr postings = Build(rows);
  EXPECT_EQ(Contents(*postings), ReferenceOf(rows));
  EXPECT_EQ(Contents(*Reparse(*postings)), ReferenceOf(rows));
  EXPECT_EQ(postings->documents_with_words(), 3u);
}

TEST(Postings, CursorAdvancesAsALinearSearchWould) {
  std::mt19937 rng(2);
  const auto rows = TermsOf(RandomTexts(&rng, 5000, 20, 50));
  const PostingsPtr postings = Build(rows);
  for (uint32_t t = 0; t < postings->term_count(); ++t) {
    std::vector<uint32_t> slots;
    PostingsCursor all(*postings, t);
    for (bool more = all.Advance(0); more; more = all.Next()) slots.push_back(all.slot());
    for (int round = 0; round < 20; ++round) {
      PostingsCursor cursor(*postings, t);
      uint32_t target = 0;
      size_t at = 0;
      while (true) {
        if (rng() % 3 == 0) {
          EXPECT_EQ(cursor.Pass(target), target <= slots.back());
        }
        while (at < slots.size() && slots[at] < target) ++at;
        const bool there = cursor.Advance(target);
        ASSERT_EQ(there, at < slots.size());
        if (!there) break;
        ASSERT_EQ(cursor.slot(), slots[at]);
        target = slots[at] + static_cast<uint32_t>(rng() % 700);
      }
      EXPECT_EQ(cursor.lowest(), PostingsCursor::kEnd);
    }
  }
}

TEST(Postings, MergesWithoutWhatIsGone) {
  std::mt19937 rng(4);
  for (int round = 0; round < 10; ++round) {
    std::vector<std::vector<DocumentTerms>> rows;
    std::vector<PostingsPtr> parts;
    std::vector<std::vector<uint32_t>> maps;
    Reference expected;
    uint32_t next = 0;
    for (int part = 0; part < 4; ++part) {
      rows.push_back(TermsOf(RandomTexts(&rng, 400, 30, 800)));
      parts.push_back(Build(rows.back()));
      auto& map = maps.emplace_back();
      for (const DocumentTerms& row : rows.back()) {
        const bool gone = part == 2 || rng() % 3 == 0;  // nothing is left of one of them
        map.push_back(gone ? Postings::kGone : next);
        if (!gone) AddTo(row, next++, &expected);
      }
    }
    std::vector<Postings::Input> inputs;
    for (size_t i = 0; i < parts.size(); ++i) inputs.push_back({parts[i].get(), maps[i]});
    const auto merged = Postings::Merge(inputs, next, GoOn);
    ASSERT_TRUE(merged.ok()) << merged.status();
    EXPECT_EQ(Contents(**merged), expected);
    EXPECT_EQ((*merged)->total_length(), Length(expected));
    EXPECT_EQ((*merged)->document_count(), next);
    EXPECT_EQ(Contents(*Reparse(**merged)), expected);
  }
}

TEST(Postings, MergeOfAllIsTheSameBytesAsBuildingAtOnce) {
  std::mt19937 rng(5);
  const auto texts = RandomTexts(&rng, 1000, 30, 500);
  const auto half = texts.begin() + 400;
  const PostingsPtr whole = Build(TermsOf(texts));
  const PostingsPtr a = Build(TermsOf({texts.begin(), half}));
  const PostingsPtr b = Build(TermsOf({half, texts.end()}));
  std::vector<uint32_t> first(400), second(600);
  for (uint32_t i = 0; i < 400; ++i) first[i] = i;
  for (uint32_t i = 0; i < 600; ++i) second[i] = 400 + i;
  const Postings::Input inputs[] = {{a.get(), first}, {b.get(), second}};
  const auto merged = Postings::Merge(inputs, 1000, GoOn);
  ASSERT_TRUE(merged.ok());
  EXPECT_EQ((*merged)->data(), whole->data());
}

TEST(Postings, LongWorkStopsAtItsCheckpoint) {
  std::mt19937 rng(6);
  const PostingsPtr postings = Build(TermsOf(RandomTexts(&rng, 40'000, 60, 100)));
  const auto stop = [] { return absl::CancelledError("stop"); };
  std::vector<uint32_t> map(postings->document_count());
  for (uint32_t i = 0; i < map.size(); ++i) map[i] = i;
  const Postings::Input inputs[] = {{postings.get(), map}};
  EXPECT_TRUE(
      absl::IsCancelled(Postings::Merge(inputs, postings->document_count(), stop).status()));
  EXPECT_TRUE(absl::IsCancelled(Postings::Parse(nullptr, postings->data(), stop).status()));
}

TEST(Postings, UnalignedBytesAreCopied) {
  std::mt19937 rng(7);
  const PostingsPtr postings = Build(TermsOf(RandomTexts(&rng, 100, 30, 500)));
  auto shifted = std::make_shared<std::string>("x" + std::string(postings->data()));
  auto parsed = Postings::Parse(shifted, std::string_view(*shifted).substr(1), GoOn);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  shifted->assign(shifted->size(), '\0');
  shifted.reset();
  EXPECT_EQ(Contents(**parsed), Contents(*postings));
}

// P3. Bytes are changed at random; what is not refused is walked over. Sanitizers watch.
TEST(Postings, DamageIsFoundOrHarmless) {
  std::mt19937 rng(8);
  const PostingsPtr postings = Build(TermsOf(RandomTexts(&rng, 700, 12, 40)));
  int refused = 0;
  constexpr int kRounds = 4000;
  for (int round = 0; round < kRounds; ++round) {
    std::string bytes(postings->data());
    for (unsigned changes = 1 + rng() % 3; changes > 0; --changes) {
      // Half of them into the header.
      const size_t at = rng() % (rng() % 2 == 0 ? 48 : bytes.size());
      bytes[at] = static_cast<char>(rng() % 4 == 0 ? rng() : bytes[at] ^ 1 << rng() % 8);
    }
    if (rng() % 8 == 0) bytes.resize(rng() % bytes.size());
    const auto parsed = Postings::Parse(nullptr, bytes, GoOn);
    if (!parsed.ok()) {
      ++refused;
      ASSERT_TRUE(absl::IsDataLoss(parsed.status()) || absl::IsFailedPrecondition(parsed.status()))
          << parsed.status();
      continue;
    }
    for (const auto& [term, slots] : Contents(**parsed)) {
      for (const auto& [slot, frequency] : slots) {
        ASSERT_LT(slot, (*parsed)->document_count());
        ASSERT_NE((*parsed)->norms()[slot], 0);
        ASSERT_GE(frequency, 1u);
      }
    }
  }
  EXPECT_GT(refused, kRounds / 2);
}

TEST(Postings, NewerFormatIsNotDamage) {
  std::string bytes(Build({})->data());
  bytes[4] = 2;
  EXPECT_TRUE(absl::IsFailedPrecondition(Postings::Parse(nullptr, bytes, GoOn).status()));
}

TEST(Norm, AscendsAndIsNear) {
  EXPECT_EQ(NormOf(0), 0);
  uint8_t before = 0;
  for (uint32_t length = 1; length < 600'000; ++length) {
    const uint8_t norm = NormOf(length);
    ASSERT_GE(norm, before);
    ASSERT_NE(norm, 0);
    before = norm;
    if (length < 32) {
      ASSERT_EQ(LengthOf(norm), static_cast<float>(length));
    } else if (length < 507'904) {
      ASSERT_NEAR(LengthOf(norm), length, .032 * length);
    } else {
      ASSERT_EQ(norm, 255);
    }
  }
}

}  // namespace
}  // namespace vecino::fields
