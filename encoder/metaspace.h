// Normalised text to the words of a Unigram model: Hugging Face's Strip, Replace(" {2,}"),
// WhitespaceSplit and Metaspace in one pass.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/functional/function_ref.h"

namespace vecino::encoder {

inline constexpr std::string_view kMetaspaceMark = "\u2581";

struct UnigramVocabulary;

// Thread safety: const methods are safe from any thread at once.
class Metaspace {
 public:
  // One word: `mark` says that a mark stands before `word`, which holds neither marks nor spaces.
  // Without a mark it is not empty.
  using Sink = absl::FunctionRef<void(bool mark, std::string_view word)>;

  explicit Metaspace(const UnigramVocabulary& options);

  // Hands the words of `text`, which is UTF-8, to `sink` in order.
  void Split(std::string_view text, Sink sink) const;

 private:
  // What the character is that begins with a byte. kLead: that needs the whole character.
  enum Kind : uint8_t { kOther, kWhite, kMark, kLead };
  struct Place {
    Kind kind;
    int length;
  };

  Place At(std::string_view text) const;
  std::string_view Strip(std::string_view text) const;

  const bool strip_left_, strip_right_, whitespace_split_, prefix_space_;
  const std::string collapse_spaces_;
  std::array<Kind, 256> kinds_;  // by byte; those inside a character are kOther
};

}  // namespace vecino::encoder
