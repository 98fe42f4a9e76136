#include "server/fields/analyzer.h"

#include <libstemmer.h>
#include <unicode/bytestream.h>
#include <unicode/normalizer2.h>
#include <unicode/stringpiece.h>
#include <unicode/ubrk.h>
#include <unicode/uchar.h>
#include <unicode/uscript.h>
#include <unicode/utf16.h>
#include <unicode/utf8.h>

#include <cstring>
#include <new>
#include <vector>

namespace vecino::fields {
namespace {

// What a character is to the cutting of words.
enum class Kind : uint8_t {
  kOther,
  kLetter,
  kDigit,
  kJoin,        // `_`
  kMark,        // belongs to the character before it
  kApostrophe,  // between letters
  kPoint,       // between digits
  kPair,        // indexed in pairs
  kDictionary,  // of a script without spaces, cut by ICU
};

constexpr bool InWord(Kind kind) {
  return kind == Kind::kLetter || kind == Kind::kDigit || kind == Kind::kJoin;
}

struct AsciiTable {
  Kind kind[128] = {};
  char lower[128] = {};
};

constexpr AsciiTable MakeAscii() {
  AsciiTable table;
  for (int c = 0; c < 128; ++c) {
    const bool upper = c >= 'A' && c <= 'Z';
    table.lower[c] = static_cast<char>(upper ? c + 32 : c);
    if (upper || (c >= 'a' && c <= 'z')) table.kind[c] = Kind::kLetter;
    if (c >= '0' && c <= '9') table.kind[c] = Kind::kDigit;
  }
  table.kind['_'] = Kind::kJoin;
  table.kind['\''] = Kind::kApostrophe;
  table.kind['.'] = table.kind[','] = Kind::kPoint;
  return table;
}
constexpr AsciiTable kAscii = MakeAscii();

bool IsAscii(char c) { return static_cast<unsigned char>(c) < 0x80; }
Kind AsciiKind(char c) { return kAscii.kind[static_cast<unsigned char>(c)]; }

Kind KindByIcu(UChar32 c) {
  if (c < 0x80) return kAscii.kind[c];
  if (c == 0x2019) return Kind::kApostrophe;
  const auto mask = U_MASK(u_charType(c));
  if (mask & (U_GC_M_MASK | U_GC_CF_MASK)) return Kind::kMark;
  if (mask & U_GC_ND_MASK) return Kind::kDigit;
  if (!(mask & (U_GC_L_MASK | U_GC_NL_MASK | U_GC_NO_MASK))) return Kind::kOther;
  if (u_getIntPropertyValue(c, UCHAR_LINE_BREAK) == U_LB_COMPLEX_CONTEXT) return Kind::kDictionary;
  UErrorCode error = U_ZERO_ERROR;
  switch (uscript_getScript(c, &error)) {
    case USCRIPT_HAN:
    case USCRIPT_HIRAGANA:
    case USCRIPT_KATAKANA:
    case USCRIPT_HANGUL:
    case USCRIPT_BOPOMOFO:
      return Kind::kPair;
    default:
      break;
  }
  if (u_hasBinaryProperty(c, UCHAR_IDEOGRAPHIC)) return Kind::kPair;
  // The mark that lengthens a vowel of Katakana and Hiragana.
  if (c == 0x30fc) return Kind::kPair;
  return mask & U_GC_NO_MASK ? Kind::kDigit : Kind::kLetter;
}

// Of the characters of the basic plane; the others ask ICU each time.
struct PlaneTable {
  Kind kind[0x10000];
  PlaneTable() {
    for (UChar32 c = 0; c < 0x10000; ++c) kind[c] = KindByIcu(c);
  }
};

Kind KindOf(UChar32 c) {
  static const auto& table = *new PlaneTable();
  if (c < 0) return Kind::kOther;  // no UTF-8
  return c < 0x10000 ? table.kind[c] : KindByIcu(c);
}

std::string_view CutTerm(std::string_view term) {
  if (term.size() <= kMaxTermBytes) return term;
  size_t end = kMaxTermBytes;
  while (end > 0 && (static_cast<unsigned char>(term[end]) & 0xc0) == 0x80) --end;
  return term.substr(0, end == 0 ? kMaxTermBytes : end);
}

// Buffers that one long text made are not kept.
constexpr size_t kKeptBytes = 64 << 10;

}  // namespace

struct Analyzer::Icu {
  UBreakIterator* words = nullptr;
  std::u16string text;
  std::vector<int32_t> offsets;  // of each UTF-16 unit's character in the UTF-8 text

  ~Icu() {
    if (words != nullptr) ubrk_close(words);
  }
};

Analyzer::Analyzer()
    : cache_(std::make_unique<std::array<Cached, kCached>>()),
      stemmer_(sb_stemmer_new("english", "UTF_8")) {
  if (stemmer_ == nullptr) throw std::bad_alloc();  // the only reason that the library gives
}

Analyzer::~Analyzer() { sb_stemmer_delete(stemmer_); }

Analyzer& Analyzer::ForThisThread() {
  thread_local Analyzer analyzer;
  return analyzer;
}

void Analyzer::Analyze(std::string_view text, Take take) {
  const size_t n = text.size();
  char word[kMaxTermBytes];
  size_t i = 0;
  while (i < n) {
    const size_t begin = i;
    size_t bytes = 0;  // of the word, those beyond its room too
    Kind last = Kind::kOther;
    // A word of ASCII, folded into `word`.
    for (; i < n && IsAscii(text[i]); ++i) {
      const Kind kind = AsciiKind(text[i]);
      if (!InWord(kind)) {
        if (i + 1 == n || !IsAscii(text[i + 1])) break;
        const Kind next = AsciiKind(text[i + 1]);
        const bool inside =
            (kind == Kind::kApostrophe && last == Kind::kLetter && next == Kind::kLetter) ||
            (kind == Kind::kPoint && last == Kind::kDigit && next == Kind::kDigit);
        if (!inside) break;
      }
      if (bytes < kMaxTermBytes) word[bytes] = kAscii.lower[static_cast<unsigned char>(text[i])];
      ++bytes;
      last = kind;
    }
    const bool joined = i < n && (!IsAscii(text[i]) ||
                                  // An apostrophe before a letter beyond ASCII.
                                  (bytes > 0 && AsciiKind(text[i]) == Kind::kApostrophe &&
                                   i + 1 < n && !IsAscii(text[i + 1])));
    if (!joined) {
      if (bytes > 0) {
        Emit({word, bytes < kMaxTermBytes ? bytes : kMaxTermBytes}, true, take);
      } else {
        ++i;
      }
      continue;
    }
    // Up to what surely ends a word.
    while (i < n && (!IsAscii(text[i]) || AsciiKind(text[i]) != Kind::kOther)) ++i;
    AnalyzeUnicode(text.substr(begin, i - begin), take);
  }
  if (folded_.capacity() > kKeptBytes) std::string().swap(folded_);
}

void Analyzer::Emit(std::string_view word, bool ascii, Take take) {
  if (!ascii || word.size() > kCachedBytes) return EmitStem(word, take);
  // FNV-1a.
  uint32_t hash = 2166136261u;
  for (const char c : word) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619u;
  Cached& cached = (*cache_)[(hash ^ hash >> 15) % kCached];
  if (cached.word_bytes != word.size() || std::memcmp(cached.word, word.data(), word.size()) != 0) {
    bool kept = false;
    EmitStem(word, [&](std::string_view stem) {
      if (stem.size() <= kCachedBytes) {
        cached.word_bytes = static_cast<uint8_t>(word.size());
        cached.stem_bytes = static_cast<uint8_t>(stem.size());
        std::memcpy(cached.word, word.data(), word.size());
        std::memcpy(cached.stem, stem.data(), stem.size());
        kept = true;
      }
      take(stem);
    });
    if (!kept) cached.word_bytes = 0;
    return;
  }
  take({cached.stem, cached.stem_bytes});
}

void Analyzer::EmitStem(std::string_view word, Take take) {
  const sb_symbol* stem = sb_stemmer_stem(stemmer_, reinterpret_cast<const sb_symbol*>(word.data()),
                                          static_cast<int>(word.size()));
  if (stem == nullptr) throw std::bad_alloc();
  const int bytes = sb_stemmer_length(stemmer_);
  // Nothing is left of no word known, but a term is never empty.
  if (bytes > 0) word = {reinterpret_cast<const char*>(stem), static_cast<size_t>(bytes)};
  take(CutTerm(word));
}

void Analyzer::AnalyzeUnicode(std::string_view stretch, Take take) {
  UErrorCode error = U_ZERO_ERROR;
  const icu::Normalizer2* folding = icu::Normalizer2::getNFKCCasefoldInstance(error);
  folded_.clear();
  icu::StringByteSink<std::string> sink(&folded_);
  folding->normalizeUTF8(0, icu::StringPiece(stretch.data(), static_cast<int32_t>(stretch.size())),
                         sink, nullptr, error);
  if (U_FAILURE(error)) throw std::bad_alloc();  // the only reason that is left
  const char* const text = folded_.data();
  const auto n = static_cast<int32_t>(folded_.size());

  int32_t begin = 0;  // of the run that is open
  Kind open =
      Kind::kOther;  // what the run is of: kLetter stands for any word; kOther: none is open
  Kind last = Kind::kOther;  // of the run's last character that is no mark
  const auto close = [&](int32_t end) {
    const std::string_view run(text + begin, static_cast<size_t>(end - begin));
    if (open == Kind::kLetter) EmitRun(run, take);
    if (open == Kind::kPair) EmitPairs(run, take);
    if (open == Kind::kDictionary) EmitDictionary(run, take);
    open = Kind::kOther;
  };
  for (int32_t i = 0; i < n;) {
    const int32_t at = i;
    UChar32 c = 0;
    U8_NEXT(text, i, n, c);
    const Kind kind = KindOf(c);
    if (kind == Kind::kMark) continue;  // of the run that is open, or of nothing
    if (kind == Kind::kApostrophe || kind == Kind::kPoint) {
      UChar32 next = -1;
      if (i < n) {
        int32_t behind = i;
        U8_NEXT(text, behind, n, next);
      }
      const Kind wanted = kind == Kind::kApostrophe ? Kind::kLetter : Kind::kDigit;
      if (open == Kind::kLetter && last == wanted && KindOf(next) == wanted) {
        last = kind;
        continue;
      }
    }
    const Kind run = InWord(kind)                                       ? Kind::kLetter
                     : kind == Kind::kPair || kind == Kind::kDictionary ? kind
                                                                        : Kind::kOther;
    if (run != open) {
      close(at);
      open = run;
      begin = at;
    }
    last = kind;
  }
  close(n);
}

// One apostrophe for all, and no cut inside of a character.
void Analyzer::EmitRun(std::string_view run, Take take) {
  static constexpr std::string_view kRight = "\u2019";
  run = run.substr(0, CutTerm(run).size());
  bool ascii = true;
  for (const char c : run) ascii &= IsAscii(c);
  if (ascii || run.find(kRight) == std::string_view::npos) return Emit(run, ascii, take);
  char word[kMaxTermBytes];
  size_t bytes = 0;
  ascii = true;
  for (size_t i = 0; i < run.size();) {
    if (run.substr(i).starts_with(kRight)) {
      word[bytes++] = '\'';
      i += kRight.size();
    } else {
      ascii &= IsAscii(run[i]);
      word[bytes++] = run[i++];
    }
  }
  Emit({word, bytes}, ascii, take);
}

void Analyzer::EmitPairs(std::string_view run, Take take) {
  const auto n = static_cast<int32_t>(run.size());
  // Characters begin at a, b; the marks behind one belong to it.
  const auto end_of = [&](int32_t at) {
    U8_FWD_1(run.data(), at, n);
    while (at < n) {
      int32_t next = at;
      UChar32 c = 0;
      U8_NEXT(run.data(), next, n, c);
      if (KindOf(c) != Kind::kMark) break;
      at = next;
    }
    return at;
  };
  int32_t a = 0, b = end_of(0);
  if (b >= n) return take(CutTerm(run));
  while (b < n) {
    const int32_t end = end_of(b);
    take(CutTerm(run.substr(static_cast<size_t>(a), static_cast<size_t>(end - a))));
    a = b;
    b = end;
  }
}

void Analyzer::EmitDictionary(std::string_view run, Take take) {
  if (icu_ == nullptr) icu_ = std::make_unique<Icu>();
  icu_->text.clear();
  icu_->offsets.clear();
  const auto n = static_cast<int32_t>(run.size());
  for (int32_t i = 0; i < n;) {
    const int32_t at = i;
    UChar32 c = 0;
    U8_NEXT_OR_FFFD(run.data(), i, n, c);
    char16_t units[U16_MAX_LENGTH];
    int32_t count = 0;
    U16_APPEND_UNSAFE(units, count, c);
    icu_->text.append(units, static_cast<size_t>(count));
    icu_->offsets.insert(icu_->offsets.end(), static_cast<size_t>(count), at);
  }
  icu_->offsets.push_back(n);
  UErrorCode error = U_ZERO_ERROR;
  if (icu_->words == nullptr) icu_->words = ubrk_open(UBRK_WORD, "", nullptr, 0, &error);
  if (U_SUCCESS(error)) {
    ubrk_setText(icu_->words, icu_->text.data(), static_cast<int32_t>(icu_->text.size()), &error);
  }
  if (U_FAILURE(error)) return Emit(CutTerm(run), false, take);  // no dictionary: the run as it is
  int32_t begin = ubrk_first(icu_->words);
  for (int32_t end; (end = ubrk_next(icu_->words)) != UBRK_DONE; begin = end) {
    const auto from = static_cast<size_t>(icu_->offsets[static_cast<size_t>(begin)]);
    const auto to = static_cast<size_t>(icu_->offsets[static_cast<size_t>(end)]);
    if (to > from) take(CutTerm(run.substr(from, to - from)));
  }
  if (icu_->text.capacity() > kKeptBytes) icu_.reset();
}

}  // namespace vecino::fields
