#include "server/fields/bm25.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <string>

#include "server/fields/postings.h"
#include "tests/server/fields/word_corpus.h"

namespace vecino::fields {
namespace {

absl::Status GoOn() { return absl::OkStatus(); }

// Documents in parts, some of them segments and some rows, with tombstones and a filter.
struct Corpus {
  struct Part {
    std::vector<DocumentTerms> rows;
    std::vector<const DocumentTerms*> pointers;
    std::shared_ptr<const Postings> postings;  // null: rows
    std::vector<uint64_t> dead, allowed;
    bool has_dead = false, has_allowed = false;
  };
  std::vector<Part> parts;

  std::vector<LexicalPart> View() const {
    std::vector<LexicalPart> view;
    for (const Part& part : parts) {
      view.push_back(
          {part.postings.get(),
           part.postings == nullptr ? part.pointers : std::span<const DocumentTerms* const>(),
           part.has_dead ? part.dead.data() : nullptr,
           part.has_allowed ? part.allowed.data() : nullptr});
    }
    return view;
  }
};

bool Bit(const std::vector<uint64_t>& words, size_t i) { return words[i / 64] >> (i % 64) & 1; }

Corpus::Part MakePart(const std::vector<std::string>& texts, bool segment, double dead,
                      double allowed, std::mt19937* rng) {
  Corpus::Part part;
  part.rows = TermsOf(texts);
  part.pointers = Pointers(part.rows);
  if (segment) part.postings = *Postings::Build(part.pointers);
  const auto bits = [&](double share) {
    std::vector<uint64_t> words((texts.size() + 63) / 64);
    for (size_t i = 0; i < texts.size(); ++i) {
      if (std::uniform_real_distribution<double>(0, 1)(*rng) < share) {
        words[i / 64] |= uint64_t{1} << i % 64;
      }
    }
    return words;
  };
  part.dead = bits(dead);
  part.has_dead = dead > 0;
  part.allowed = bits(allowed);
  part.has_allowed = allowed < 1;
  return part;
}

// Scores every document by the formula of bm25.h, in double.
std::vector<LexicalHit> BruteForce(const Corpus& corpus, const std::vector<LexicalTerm>& terms,
                                   const Bm25& options) {
  double documents = 0, length = 0;
  std::vector<double> with(terms.size());
  for (const auto& part : corpus.parts) {
    for (const DocumentTerms& row : part.rows) {
      documents += !row.empty();
      length += row.length();
      for (size_t t = 0; t < terms.size(); ++t) {
        with[t] += row.Frequency(terms[t].hash, terms[t].term) > 0;
      }
    }
  }
  const double mean = length / documents;
  std::vector<LexicalHit> hits;
  for (uint32_t p = 0; p < corpus.parts.size(); ++p) {
    const auto& part = corpus.parts[p];
    for (uint32_t slot = 0; slot < part.rows.size(); ++slot) {
      if (part.has_dead && Bit(part.dead, slot)) continue;
      if (part.has_allowed && !Bit(part.allowed, slot)) continue;
      const DocumentTerms& row = part.rows[slot];
      double score = 0;
      for (size_t t = 0; t < terms.size(); ++t) {
        const double f = row.Frequency(terms[t].hash, terms[t].term);
        if (f == 0) continue;
        const double idf = std::log(1 + (documents - with[t] + .5) / (with[t] + .5));
        const double norm = 1 - options.b + options.b * LengthOf(NormOf(row.length())) / mean;
        score += terms[t].count * idf * f * (options.k1 + 1) / (f + options.k1 * norm);
      }
      if (score > 0 && score > options.above) hits.push_back({p, slot, static_cast<float>(score)});
    }
  }
  std::stable_sort(hits.begin(), hits.end(),
                   [](const LexicalHit& a, const LexicalHit& b) { return a.score > b.score; });
  return hits;
}

// The hits are the best ones: scores agree place by place, and each document has the score that the
// formula gives it. (Two documents whose scores differ by rounding alone may change places.)
void ExpectSame(const std::vector<LexicalHit>& got, const std::vector<LexicalHit>& all, int k) {
  ASSERT_EQ(got.size(), std::min(all.size(), static_cast<size_t>(k)));
  for (size_t i = 0; i < got.size(); ++i) {
    ASSERT_NEAR(got[i].score, all[i].score, 2e-6 * all[i].score) << i;
    const auto same = std::find_if(all.begin(), all.end(), [&](const LexicalHit& hit) {
      return hit.part == got[i].part && hit.slot == got[i].slot;
    });
    ASSERT_NE(same, all.end());
    ASSERT_NEAR(got[i].score, same->score, 2e-6 * same->score) << i;
    if (i > 0) {
      const LexicalHit& before = got[i - 1];
      ASSERT_TRUE(before.score > got[i].score ||
                  (before.score == got[i].score &&
                   std::pair(before.part, before.slot) < std::pair(got[i].part, got[i].slot)));
    }
  }
}

std::string RandomQuery(std::mt19937* rng, int words, int vocabulary) {
  std::string text;
  for (int i = 0; i < words; ++i) text += Word(RandomRank(rng, vocabulary)) + " ";
  return text;
}

TEST(Bm25, AgreesWithScoringEveryDocument) {
  std::mt19937 rng(1);
  for (int round = 0; round < 12; ++round) {
    const int vocabulary = round % 2 == 0 ? 300 : 5000;
    const double dead = round % 3 == 0 ? 0 : .3;
    const double allowed = round % 4 == 0 ? .02 : round % 4 == 1 ? .5 : 1;
    Corpus corpus;
    corpus.parts.push_back(
        MakePart(RandomTexts(&rng, 9000, 30, vocabulary), true, dead, allowed, &rng));
    corpus.parts.push_back(
        MakePart(RandomTexts(&rng, 700, 200, vocabulary), true, dead, allowed, &rng));
    corpus.parts.push_back(
        MakePart(RandomTexts(&rng, 100, 30, vocabulary), false, dead, allowed, &rng));
    corpus.parts.push_back(MakePart({}, true, 0, 1, &rng));
    corpus.parts.push_back(MakePart({}, false, 0, 1, &rng));
    for (int query = 0; query < 60; ++query) {
      const auto terms = LexicalTerms(RandomQuery(&rng, 1 + query % 9, vocabulary));
      Bm25 options;
      options.k = query % 5 == 0 ? 1 : query % 5 == 1 ? 1000 : 10;
      if (query % 7 == 0) options.above = 3;
      const auto got = SearchBm25(terms, corpus.View(), options, GoOn);
      ASSERT_TRUE(got.ok());
      ExpectSame(*got, BruteForce(corpus, terms, options), options.k);
    }
  }
}

// Whatever is passed over: with k as large as all there is nothing is, and its first 10 are the
// same.
TEST(Bm25, PassingOverChangesNothing) {
  std::mt19937 rng(2);
  Corpus corpus;
  corpus.parts.push_back(MakePart(RandomTexts(&rng, 20'000, 25, 800), true, .1, 1, &rng));
  corpus.parts.push_back(MakePart(RandomTexts(&rng, 200, 25, 800), false, .1, 1, &rng));
  for (int query = 0; query < 100; ++query) {
    const auto terms = LexicalTerms(RandomQuery(&rng, 2 + query % 5, 800));
    Bm25 all;
    all.k = 1'000'000;
    const auto every = *SearchBm25(terms, corpus.View(), all, GoOn);
    const auto best = *SearchBm25(terms, corpus.View(), Bm25{}, GoOn);
    ASSERT_EQ(best.size(), std::min<size_t>(10, every.size()));
    for (size_t i = 0; i < best.size(); ++i) {
      ASSERT_EQ(best[i].score, every[i].score);
      ASSERT_EQ(best[i].part, every[i].part);
      ASSERT_EQ(best[i].slot, every[i].slot);
    }
  }
}

// A document scores the same as a row and in a segment, alone or merged.
TEST(Bm25, ScoresDoNotDependOnTheParts) {
  std::mt19937 rng(3);
  const auto texts = RandomTexts(&rng, 900, 40, 400);
  const auto half = texts.begin() + 450;
  Corpus one, two;
  one.parts.push_back(MakePart(texts, true, 0, 1, &rng));
  two.parts.push_back(MakePart({texts.begin(), half}, true, 0, 1, &rng));
  two.parts.push_back(MakePart({half, texts.end()}, false, 0, 1, &rng));
  for (int query = 0; query < 50; ++query) {
    const auto terms = LexicalTerms(RandomQuery(&rng, 3, 400));
    const auto a = *SearchBm25(terms, one.View(), Bm25{}, GoOn);
    const auto b = *SearchBm25(terms, two.View(), Bm25{}, GoOn);
    ASSERT_EQ(a.size(), b.size());
    for (size_t i = 0; i < a.size(); ++i) {
      EXPECT_EQ(a[i].score, b[i].score);
      EXPECT_EQ(a[i].slot, b[i].slot + (b[i].part == 1 ? 450 : 0));
    }
  }
}

TEST(Bm25, EqualScoresComeInOrder) {
  std::mt19937 rng(4);
  Corpus corpus;
  corpus.parts.push_back(MakePart(std::vector<std::string>(5000, "same"), true, 0, 1, &rng));
  corpus.parts.push_back(MakePart(std::vector<std::string>(10, "same"), false, 0, 1, &rng));
  const auto hits = *SearchBm25(LexicalTerms("same"), corpus.View(), Bm25{}, GoOn);
  ASSERT_EQ(hits.size(), 10u);
  for (uint32_t i = 0; i < 10; ++i) {
    EXPECT_EQ(hits[i].part, 0u);
    EXPECT_EQ(hits[i].slot, i);
    EXPECT_GT(hits[i].score, 0);  // a word that all have counts little, but counts
  }
}

TEST(Bm25, NothingToFind) {
  std::mt19937 rng(5);
  Corpus corpus;
  EXPECT_TRUE(SearchBm25(LexicalTerms("a"), corpus.View(), Bm25{}, GoOn)->empty());
  corpus.parts.push_back(MakePart({"some words", ""}, true, 0, 1, &rng));
  EXPECT_TRUE(SearchBm25(LexicalTerms("other"), corpus.View(), Bm25{}, GoOn)->empty());
  EXPECT_TRUE(SearchBm25(LexicalTerms("?!"), corpus.View(), Bm25{}, GoOn)->empty());
  EXPECT_TRUE(SearchBm25({}, corpus.View(), Bm25{}, GoOn)->empty());
}

TEST(Bm25, StopsAtItsCheckpoint) {
  std::mt19937 rng(6);
  Corpus corpus;
  corpus.parts.push_back(MakePart(RandomTexts(&rng, 100'000, 5, 50), true, 0, 1, &rng));
  int calls = 0;
  const auto result = SearchBm25(LexicalTerms("w0 w1 w2"), corpus.View(), Bm25{}, [&] {
    return ++calls < 2 ? absl::OkStatus() : absl::CancelledError("stop");
  });
  EXPECT_TRUE(absl::IsCancelled(result.status()));
}

TEST(LexicalTerms, CountsInOrder) {
  const auto terms = LexicalTerms("Big dogs, big cats");
  ASSERT_EQ(terms.size(), 3u);
  EXPECT_EQ(terms[0].term, "big");
  EXPECT_EQ(terms[0].count, 2);
  EXPECT_EQ(terms[1].term, "dog");
  EXPECT_EQ(terms[2].term, "cat");
  EXPECT_EQ(terms[2].hash, HashTerm("cat"));
}

}  // namespace
}  // namespace vecino::fields
