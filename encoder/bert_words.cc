#include "encoder/bert_words.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "encoder/unicode_tables.h"
#include "encoder/utf8.h"

namespace vecino::encoder {

// One pass over one text. The steps are the reference's, in its order, each handing code points to
// the next: Clean → Canonical (decompose, order marks, drop accents) → Lower → Cut (words) → the
// buffer of the word.
class BertWords::Pass {
 public:
  Pass(const BertWords& words, Sink sink) : words_(words), options_(words.options_), sink_(sink) {
    word_.resize(4 * (options_.max_word_chars + 1));
  }

  void Run(std::string_view text) {
    size_t i = 0;
    while (i < text.size()) {
      i = AsciiRun(text, i);
      // A mark held back must see what follows it, even when that is ASCII.
      while (i < text.size() && (static_cast<uint8_t>(text[i]) >= 0x80 || !marks_.empty())) {
        const DecodedChar c = DecodeUtf8(text.substr(i));
        Clean(c.code);
        i += c.length;
      }
    }
    FlushMarks();
    EndWord();
  }

 private:
  // Takes ASCII from text[i] on; returns where it ends.
  size_t AsciiRun(std::string_view text, size_t i) {
    const uint16_t* const ascii = words_.ascii_.data();
    char* const word = word_.data();
    const int max_chars = options_.max_word_chars;
    for (; i < text.size(); ++i) {
      const uint16_t what = ascii[static_cast<uint8_t>(text[i])];
      if (what < kRemoved) {
        if (chars_ > max_chars) continue;
        word[bytes_++] = static_cast<char>(what);
        ++chars_;
      } else if (what == kWhite) {
        EndWord();
      } else if (what == kPunctuation) {
        EndWord();
        sink_(text.substr(i, 1), 1);
      } else if (what == kNotAscii) {
        break;
      }
    }
    return i;
  }

  void Clean(char32_t c) {
    uint16_t properties = CharProperties(c);
    if (options_.clean_text) {
      if (properties & kCharRemoved) return;
      if (properties & kCharSpace) {
        c = ' ';
        properties = CharProperties(c);
      }
    }
    if (options_.handle_chinese_chars && properties & kCharChinese) {
      Canonical(' ', CharProperties(' '));
      Canonical(c, properties);
      Canonical(' ', CharProperties(' '));
    } else {
      Canonical(c, properties);
    }
  }

  void Canonical(char32_t c, uint16_t properties) {
    if (!words_.strip_accents_) {
      Lower(c, properties);
    } else if (properties & kCharDecomposes) {
      for (const char32_t part : Decomposition(c)) Decomposed(part, CharProperties(part));
    } else if (properties & kCharHangul) {
      char32_t jamo[3];
      const int n = DecomposeHangul(c, jamo);
      for (int i = 0; i < n; ++i) Decomposed(jamo[i], CharProperties(jamo[i]));
    } else {
      Decomposed(c, properties);
    }
  }

  // A starter ends the run of marks before it even when it is itself dropped.
  void Decomposed(char32_t c, uint16_t properties) {
    const int combining_class = properties >> kCombiningShift;
    if (combining_class == 0) {
      FlushMarks();
      if (!(properties & kCharMark)) Lower(c, properties);
    } else if (!(properties & kCharMark)) {
      marks_.emplace_back(combining_class, c);
    }
  }

  void FlushMarks() {
    if (marks_.empty()) return;
    std::stable_sort(marks_.begin(), marks_.end(),
                     [](const auto& a, const auto& b) { return a.first < b.first; });
    for (const auto& [combining_class, c] : marks_) Lower(c, CharProperties(c));
    marks_.clear();
  }

  void Lower(char32_t c, uint16_t properties) {
    if (options_.lowercase && properties & kCharLowers) {
      for (const char32_t part : Lowercase(c)) Cut(part, CharProperties(part));
    } else {
      Cut(c, properties);
    }
  }

  void Cut(char32_t c, uint16_t properties) {
    if (properties & kCharWhite) {
      EndWord();
    } else if (properties & kCharPunctuation) {
      EndWord();
      Append(c);
      EndWord();
    } else {
      Append(c);
    }
  }

  void Append(char32_t c) {
    if (chars_ > options_.max_word_chars) return;
    bytes_ += WriteUtf8(c, word_.data() + bytes_);
    ++chars_;
  }

  void EndWord() {
    if (chars_ > 0) sink_({word_.data(), bytes_}, chars_);
    bytes_ = 0;
    chars_ = 0;
  }

  const BertWords& words_;
  const WordPieceOptions& options_;
  Sink sink_;
  std::string word_;  // the word under way: room for max_word_chars + 1 code points, bytes_ used
  size_t bytes_ = 0;
  int chars_ = 0;
  std::vector<std::pair<int, char32_t>> marks_;  // class and mark, since the last starter
};

BertWords::BertWords(const WordPieceOptions& options)
    : options_(options), strip_accents_(options.strip_accents.value_or(options.lowercase)) {
  for (int byte = 0; byte < 256; ++byte) {
    const uint16_t properties = byte < 0x80 ? CharProperties(byte) : 0;
    if (byte >= 0x80) {
      ascii_[byte] = kNotAscii;
    } else if (options.clean_text && properties & kCharRemoved) {
      ascii_[byte] = kRemoved;
    } else if (properties & kCharWhite || (options.clean_text && properties & kCharSpace)) {
      ascii_[byte] = kWhite;
    } else if (properties & kCharPunctuation) {
      ascii_[byte] = kPunctuation;
    } else if (options.lowercase && properties & kCharLowers) {
      ascii_[byte] = static_cast<uint16_t>(Lowercase(byte)[0]);
    } else {
      ascii_[byte] = static_cast<uint16_t>(byte);
    }
  }
}

void BertWords::Split(std::string_view text, Sink sink) const { Pass(*this, sink).Run(text); }

}  // namespace vecino::encoder
