// Random documents of words that are as unevenly spread as those of a language.
#pragma once

#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "server/fields/document_terms.h"

namespace vecino::fields {

// A word that the analyzer leaves as it is.
inline std::string Word(int rank) { return "w" + std::to_string(rank); }

inline int RandomRank(std::mt19937* rng, int vocabulary) {
  const double u = std::uniform_real_distribution<double>(0, 1)(*rng);
  return static_cast<int>(std::pow(vocabulary, u)) - 1;  // Zipf's law
}

// Texts of 0 to `longest` words.
inline std::vector<std::string> RandomTexts(std::mt19937* rng, int count, int longest,
                                            int vocabulary) {
  std::vector<std::string> texts(static_cast<size_t>(count));
  for (std::string& text : texts) {
    const int words = std::uniform_int_distribution<int>(0, longest)(*rng);
    for (int i = 0; i < words; ++i) text += Word(RandomRank(rng, vocabulary)) + " ";
  }
  return texts;
}

inline std::vector<DocumentTerms> TermsOf(const std::vector<std::string>& texts) {
  std::vector<DocumentTerms> rows;
  for (const std::string& text : texts) rows.emplace_back(text);
  return rows;
}

inline std::vector<const DocumentTerms*> Pointers(const std::vector<DocumentTerms>& rows) {
  std::vector<const DocumentTerms*> pointers;
  for (const DocumentTerms& row : rows) pointers.push_back(row.empty() ? nullptr : &row);
  return pointers;
}

}  // namespace vecino::fields
