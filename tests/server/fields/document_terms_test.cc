#include "server/fields/document_terms.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <string>

#include "server/fields/analyzer.h"
#include "tests/server/fields/word_corpus.h"

namespace vecino::fields {
namespace {

TEST(DocumentTerms, Counts) {
  const DocumentTerms terms("The cat and the cats: the CAT.");
  EXPECT_EQ(terms.length(), 7u);
  EXPECT_EQ(terms.size(), 3u);
  EXPECT_EQ(terms.Frequency(HashTerm("the"), "the"), 3u);
  EXPECT_EQ(terms.Frequency(HashTerm("cat"), "cat"), 3u);
  EXPECT_EQ(terms.Frequency(HashTerm("and"), "and"), 1u);
  EXPECT_EQ(terms.Frequency(HashTerm("dog"), "dog"), 0u);
  // An equal hash alone is not enough.
  EXPECT_EQ(terms.Frequency(HashTerm("cat"), "dog"), 0u);
}

TEST(DocumentTerms, NoWordsNoMemory) {
  for (const char* text : {"", "  ", "?!"}) {
    const DocumentTerms terms(text);
    EXPECT_TRUE(terms.empty());
    EXPECT_EQ(terms.length(), 0u);
    EXPECT_EQ(terms.bytes(), 0u);
    EXPECT_EQ(terms.Frequency(HashTerm("a"), "a"), 0u);
  }
}

TEST(DocumentTerms, AgreesWithAMap) {
  std::mt19937 rng(3);
  // Long ones make the counter's table grow, and let go of it.
  for (const int longest : {20, 300, 40'000, 50}) {
    for (const std::string& text : RandomTexts(&rng, 20, longest, 30'000)) {
      std::map<std::string, uint32_t, std::less<>> expected;
      uint32_t length = 0;
      Analyzer::ForThisThread().Analyze(text, [&](std::string_view term) {
        ++expected[std::string(term)];
        ++length;
      });
      const DocumentTerms terms(text);
      ASSERT_EQ(terms.size(), expected.size());
      ASSERT_EQ(terms.length(), length);
      for (const auto& [term, frequency] : expected) {
        ASSERT_EQ(terms.Frequency(HashTerm(term), term), frequency) << term;
      }
    }
  }
}

}  // namespace
}  // namespace vecino::fields
