// From a text to the words it is found by.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/functional/function_ref.h"

struct sb_stemmer;

namespace vecino::fields {

// A change of what Analyze yields needs a new number: postings that were made under another one are
// made again.
inline constexpr uint32_t kAnalyzerVersion = 1;

// Terms are cut to so many bytes, at a character's end.
inline constexpr size_t kMaxTermBytes = 64;

// Cuts a text into words, folds them, and stems them:
//  - A word is a run of letters, marks, digits and `_`. An apostrophe between two letters and a `.`
//  or
//    `,` between two digits belong to it; a hyphen does not. (Unicode's UAX #29 but that `a.b` and
//    `a:b` are two words, so that `example.com` is found by `example`.)
//  - Chinese, Japanese and Korean characters yield each two neighbours as a term, one alone itself;
//    Thai, Lao, Khmer and Burmese are cut by ICU's dictionaries.
//  - Case, width and compatibility forms are folded (NFKC_Casefold); accents are not.
//  - Words of ASCII and Latin letters are stemmed as English (Snowball's porter2). No word is left
//  out.
// Bytes that are no UTF-8 separate words.
//
// Thread safety: one call at a time; ForThisThread() gives each thread its own.
class Analyzer {
 public:
  Analyzer();
  ~Analyzer();
  Analyzer(const Analyzer&) = delete;
  Analyzer& operator=(const Analyzer&) = delete;

  static Analyzer& ForThisThread();

  // Calls `take` with each term in the order of the text, 1 to kMaxTermBytes bytes that are valid
  // during that call.
  void Analyze(std::string_view text, absl::FunctionRef<void(std::string_view term)> take);

 private:
  struct Icu;  // the break iterator, made when it is first needed
  using Take = absl::FunctionRef<void(std::string_view term)>;

  // word: folded. ascii: whether all of it is.
  void Emit(std::string_view word, bool ascii, Take take);
  void EmitStem(std::string_view word, Take take);
  // A stretch with characters beyond ASCII: folds it and cuts it.
  void AnalyzeUnicode(std::string_view stretch, Take take);
  void EmitRun(std::string_view run, Take take);         // one word of AnalyzeUnicode
  void EmitPairs(std::string_view run, Take take);       // of a script that is indexed in pairs
  void EmitDictionary(std::string_view run, Take take);  // of a script without spaces

  // Stems of short words seen lately; most words of a text are.
  static constexpr size_t kCached = 4096;
  static constexpr size_t kCachedBytes = 14;
  struct Cached {
    uint8_t word_bytes = 0, stem_bytes = 0;
    char word[kCachedBytes];
    char stem[kCachedBytes];
  };

  std::unique_ptr<std::array<Cached, kCached>> cache_;
  sb_stemmer* const stemmer_;
  std::unique_ptr<Icu> icu_;
  std::string folded_;
};

}  // namespace vecino::fields
