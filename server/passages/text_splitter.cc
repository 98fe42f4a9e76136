#include "server/passages/text_splitter.h"

#include <unicode/ubrk.h>
#include <unicode/utext.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace vecino::passages {
namespace {

// Of a typical token; a first guess only.
constexpr size_t kBytesPerToken = 4;
// Pieces of long sentences are not made smaller than this though the overlap is.
constexpr int kLeastPiece = 8;

bool IsSpace(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

bool IsBlank(std::string_view text) { return std::all_of(text.begin(), text.end(), IsSpace); }

// Where ICU sees boundaries of one kind, as offsets into a text in UTF-8.
class Boundaries {
 public:
  explicit Boundaries(UBreakIteratorType type) {
    UErrorCode error = U_ZERO_ERROR;
    iterator_.reset(ubrk_open(type, "", nullptr, 0, &error));
    if (U_FAILURE(error)) iterator_.reset();
  }

  // Those in `text` behind its begin, its end among them, ascending.
  absl::StatusOr<std::vector<size_t>> Find(std::string_view text) {
    UErrorCode error = U_ZERO_ERROR;
    UText opened = UTEXT_INITIALIZER;
    if (iterator_ == nullptr) error = U_MISSING_RESOURCE_ERROR;
    utext_openUTF8(&opened, text.data(), static_cast<int64_t>(text.size()), &error);
    if (U_SUCCESS(error)) ubrk_setUText(iterator_.get(), &opened, &error);
    std::vector<size_t> found;
    if (U_SUCCESS(error)) {
      ubrk_first(iterator_.get());
      for (int32_t at; (at = ubrk_next(iterator_.get())) != UBRK_DONE;) {
        found.push_back(static_cast<size_t>(at));
      }
    }
    utext_close(&opened);
    if (U_FAILURE(error)) {
      return absl::InternalError(absl::StrCat("ICU cannot find boundaries in a text of ",
                                              text.size(), " bytes: ", u_errorName(error)));
    }
    return found;
  }

 private:
  struct Close {
    void operator()(UBreakIterator* iterator) const { ubrk_close(iterator); }
  };
  std::unique_ptr<UBreakIterator, Close> iterator_;
};

// A sentence, or a piece of a long one.
struct Unit {
  size_t begin = 0, end = 0;
  int tokens = 0;
};

class Splitter {
 public:
  Splitter(std::string_view text, const SplitOptions& options, TokenCounter count)
      : text_(text), options_(options), count_(count) {}

  absl::StatusOr<std::vector<TextRange>> Run() {
    if (text_.empty()) return std::vector<TextRange>();
    const auto ends = Boundaries(UBRK_SENTENCE).Find(text_);
    if (!ends.ok()) return ends.status();
    size_t begin = 0;
    for (const size_t end : *ends) {
      if (absl::Status status = AddSentence(begin, end); !status.ok()) return status;
      begin = end;
    }
    return Pack();
  }

 private:
  std::string_view Between(size_t begin, size_t end) const {
    return text_.substr(begin, end - begin);
  }

  absl::Status AddSentence(size_t begin, size_t end) {
    const std::string_view sentence = Between(begin, end);
    if (!units_.empty() && IsBlank(sentence)) {
      units_.back().end = end;
      return absl::OkStatus();
    }
    const absl::StatusOr<int> tokens = count_(sentence);
    if (!tokens.ok()) return tokens.status();
    if (*tokens <= options_.max_tokens) {
      units_.push_back({begin, end, *tokens});
      return absl::OkStatus();
    }
    // In pieces that an overlap can hold.
    const int piece = options_.overlap_tokens == 0 ? options_.max_tokens
                                                   : std::max(options_.overlap_tokens, kLeastPiece);
    return Cut(Level::kWords, begin, end, piece);
  }

  enum class Level { kWords, kClusters, kCharacters };

  // Where [begin, end) may be cut, as offsets into the whole text, its end among them.
  absl::StatusOr<std::vector<size_t>> Ends(Level level, size_t begin, size_t end) {
    std::vector<size_t> ends;
    if (level == Level::kCharacters) {
      for (size_t at = begin + 1; at <= end; ++at) {
        if (at == end || (static_cast<unsigned char>(text_[at]) & 0xC0) != 0x80) ends.push_back(at);
      }
      return ends;
    }
    const bool words = level == Level::kWords;
    std::optional<Boundaries>& boundaries = words ? words_ : clusters_;
    if (!boundaries.has_value()) boundaries.emplace(words ? UBRK_WORD : UBRK_CHARACTER);
    auto found = boundaries->Find(Between(begin, end));
    if (!found.ok()) return found.status();
    for (const size_t at : *found) {
      // White space stays with the word before it.
      if (!words || begin + at == end || !IsSpace(text_[begin + at])) ends.push_back(begin + at);
    }
    return ends;
  }

  // Cuts [begin, end) into units of at most `most` tokens, on the level or, what is too long on it,
  // on the next.
  absl::Status Cut(Level level, size_t begin, size_t end, int most) {
    const absl::StatusOr<std::vector<size_t>> found = Ends(level, begin, end);
    if (!found.ok()) return found.status();
    const std::vector<size_t>& ends = *found;
    for (size_t next = 0; next < ends.size();) {
      Unit unit{begin, begin, 0};
      const absl::StatusOr<size_t> taken = Longest(ends, next, most, &unit);
      if (!taken.ok()) return taken.status();
      if (*taken > next) {
        units_.push_back(unit);
        next = *taken;
      } else if (level == Level::kCharacters) {  // nothing is smaller
        units_.push_back({begin, ends[next], most});
        ++next;
      } else {
        const Level below = level == Level::kWords ? Level::kClusters : Level::kCharacters;
        absl::Status status = Cut(below, begin, ends[next], most);
        if (!status.ok()) return status;
        ++next;
      }
      begin = ends[next - 1];
    }
    return absl::OkStatus();
  }

  // Makes `unit`, whose begin is set, end at the last of `ends` from `first` on up to which there
  // are at most `most` tokens. The number of the end behind that one; `first` when there is none.
  absl::StatusOr<size_t> Longest(const std::vector<size_t>& ends, size_t first, int most,
                                 Unit* unit) const {
    size_t low = first,
           high = ends.size() + 1;  // ends before `low` fit, that before `high` does not
    size_t bytes = static_cast<size_t>(most) * kBytesPerToken;
    while (high - low > 1) {
      // Until one does not fit, by twice as many bytes each time; then the middle of those that
      // may.
      size_t end = low + (high - low) / 2;
      if (high > ends.size()) {
        const auto behind = std::upper_bound(ends.begin() + static_cast<ptrdiff_t>(low), ends.end(),
                                             unit->begin + bytes);
        end = std::max(low + 1, static_cast<size_t>(behind - ends.begin()));
        bytes *= 2;
      }
      const absl::StatusOr<int> tokens = count_(Between(unit->begin, ends[end - 1]));
      if (!tokens.ok()) return tokens.status();
      if (*tokens <= most) {
        low = end;
        unit->end = ends[end - 1];
        unit->tokens = *tokens;
      } else {
        high = end;
      }
    }
    return low;
  }

  // The number of the unit behind the last one that fits beside that of number `begin`.
  absl::StatusOr<size_t> Fill(size_t begin) const {
    size_t end = begin;
    int sum = 0;
    while (end < units_.size() &&
           (end == begin || sum + units_[end].tokens <= options_.max_tokens)) {
      sum += units_[end++].tokens;
    }
    // Together they may have a few tokens more than one by one.
    for (; end > begin + 1; --end) {
      const absl::StatusOr<int> tokens = count_(Between(units_[begin].begin, units_[end - 1].end));
      if (!tokens.ok()) return tokens.status();
      if (*tokens <= options_.max_tokens) break;
    }
    return end;
  }

  absl::StatusOr<std::vector<TextRange>> Pack() const {
    std::vector<TextRange> passages;
    size_t done = 0;  // units before it are in a passage
    for (size_t begin = 0; done < units_.size();) {
      const absl::StatusOr<size_t> end = Fill(begin);
      if (!end.ok()) return end.status();
      if (*end <= done) {  // the overlap left no room for more
        begin = done;
        continue;
      }
      if (passages.size() == options_.max_passages) {
        return absl::InvalidArgumentError(absl::StrCat(
            "makes more than ", options_.max_passages, " passages of at most ", options_.max_tokens,
            " tokens, which is the limit; split it into several documents, or let passages be "
            "longer"));
      }
      passages.push_back({units_[begin].begin, units_[*end - 1].end});
      done = *end;
      const size_t before = begin;
      int sum = 0;
      for (begin = done; begin > before + 1; --begin) {
        if (sum + units_[begin - 1].tokens > options_.overlap_tokens) break;
        sum += units_[begin - 1].tokens;
      }
      while (begin < done && done < units_.size() &&
             sum + units_[done].tokens > options_.max_tokens) {
        sum -= units_[begin++].tokens;
      }
    }
    return passages;
  }

  const std::string_view text_;
  const SplitOptions& options_;
  const TokenCounter count_;
  std::vector<Unit> units_;
  std::optional<Boundaries> words_, clusters_;  // made when they are needed
};

}  // namespace

absl::StatusOr<std::vector<TextRange>> SplitText(std::string_view text, const SplitOptions& options,
                                                 TokenCounter count) {
  return Splitter(text, options, count).Run();
}

}  // namespace vecino::passages
