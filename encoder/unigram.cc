#include "encoder/unigram.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <limits>
#include <optional>
#include <string_view>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "encoder/metaspace.h"
#include "encoder/precompiled_normalizer.h"
#include "encoder/utf8.h"
#include "encoder/wordpiece_trie.h"

namespace vecino::encoder {
namespace {

constexpr double kUnknownPenalty = 10;  // sentencepiece's kUnkPenalty: below the least score
using PieceIds = std::vector<std::pair<std::string_view, int32_t>>;

// The best way to a place of a word.
struct Step {
  double score;   // of all pieces up to here
  int32_t id;     // of the last one
  int32_t begin;  // the place where it begins; < 0: no way leads here yet
};

// Steps of one word, in the frame of its caller unless the word is long.
class Steps {
 public:
  // `count` steps, of which the first is taken and the others are not.
  Step* Start(size_t count) {
    if (count > few_.size() && count > many_.size()) many_.resize(count);
    Step* const steps = count > few_.size() ? many_.data() : few_.data();
    for (size_t i = 0; i < count; ++i) steps[i].begin = -1;
    steps[0].score = 0;
    return steps;
  }

 private:
  std::array<Step, 256> few_;
  std::vector<Step> many_;
};

class Unigram : public Subwords {
 public:
  Unigram(PieceIds pieces, const UnigramVocabulary& vocabulary,
          std::optional<PrecompiledNormalizer> normalizer)
      : normalizer_(std::move(normalizer)),
        metaspace_(vocabulary),
        trie_(std::move(pieces)),
        mark_(trie_.Descend(kMetaspaceMark)),
        unk_id_(vocabulary.unk_id) {
    double least = std::numeric_limits<double>::infinity();
    scores_.reserve(vocabulary.pieces.size());
    for (const auto& [piece, score] : vocabulary.pieces) {
      scores_.push_back(score);
      if (score < least) least = score;  // not of NaN
    }
    unk_score_ = least - kUnknownPenalty;
  }

  void Append(std::string_view text, std::vector<int32_t>* ids) const override {
    std::string repaired, normal;
    if (FindInvalidUtf8(text)) text = repaired = RepairUtf8(text);
    if (normalizer_) {
      normal.reserve(text.size() + text.size() / 8);
      normalizer_->Append(text, &normal);
      text = normal;
    }
    Steps steps;
    metaspace_.Split(
        text, [&](bool mark, std::string_view word) { AppendWord(mark, word, &steps, ids); });
  }

 private:
  // Hugging Face's encode_optimized. A mark, when there is one, stands before `word` and is one
  // place of it. Of equal sums the one found first counts.
  void AppendWord(bool mark, std::string_view word, Steps* scratch,
                  std::vector<int32_t>* ids) const {
    const size_t front = mark ? 1 : 0, size = front + word.size();
    Step* const steps = scratch->Start(size + 1);
    const auto offer = [&](size_t begin, size_t end, int32_t id, double score) {
      Step& step = steps[end];
      score += steps[begin].score;
      if (step.begin < 0 || score > step.score) step = {score, id, static_cast<int32_t>(begin)};
    };
    if (mark) {
      const int32_t id = trie_.IdAt(mark_);
      if (id >= 0) offer(0, 1, id, scores_[id]);
      trie_.ForEachMatch(mark_, word, [&](WordPieceTrie::Match match) {
        offer(0, 1 + match.length, match.id, scores_[match.id]);
      });
      if (id < 0) offer(0, 1, unk_id_, unk_score_);
    }
    for (size_t at = 0, length; at < word.size(); at += length) {
      length = std::max(1, std::countl_one(static_cast<uint8_t>(word[at])));
      bool single = false;  // a piece is this one character
      trie_.ForEachMatch(WordPieceTrie::kRoot, word.substr(at), [&](WordPieceTrie::Match match) {
        offer(front + at, front + at + match.length, match.id, scores_[match.id]);
        single |= match.length == length;
      });
      if (!single) offer(front + at, front + at + length, unk_id_, unk_score_);
    }

    const size_t before = ids->size();
    for (size_t end = size; end > 0;) {
      size_t begin = steps[end].begin;
      int32_t id = steps[end].id;
      if (id == unk_id_) {  // neighbours are one
        while (begin > 0 && steps[begin].id == unk_id_) begin = steps[begin].begin;
        id = UnknownId(mark && begin == 0, word.substr(begin < front ? 0 : begin - front,
                                                       end - std::max(begin, front)));
      }
      ids->push_back(id);
      end = begin;
    }
    std::reverse(ids->begin() + before, ids->end());
  }

  // A run of unknowns is looked up once more by the reference, as one: where scores are positive it
  // can be a piece.
  int32_t UnknownId(bool mark, std::string_view run) const {
    const WordPieceTrie::Node from = mark ? mark_ : WordPieceTrie::kRoot;
    int32_t id = run.empty() ? trie_.IdAt(from) : -1;
    trie_.ForEachMatch(from, run, [&](WordPieceTrie::Match match) {
      if (match.length == run.size()) id = match.id;
    });
    return id < 0 ? unk_id_ : id;
  }

  const std::optional<PrecompiledNormalizer> normalizer_;
  const Metaspace metaspace_;
  const WordPieceTrie trie_;
  const WordPieceTrie::Node mark_;
  const int32_t unk_id_;
  std::vector<double> scores_;
  double unk_score_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Subwords>> MakeUnigram(const UnigramVocabulary& vocabulary) {
  const auto& all = vocabulary.pieces;
  if (vocabulary.unk_id < 0 || static_cast<size_t>(vocabulary.unk_id) >= all.size() ||
      std::isnan(all[vocabulary.unk_id].second)) {
    return absl::InvalidArgumentError(absl::StrCat("unk_id is ", vocabulary.unk_id,
                                                   "; it must be the id of one of the ", all.size(),
                                                   " pieces, with a score"));
  }
  absl::flat_hash_map<std::string_view, int32_t> ids;
  for (size_t id = 0; id < all.size(); ++id) {
    const auto& [piece, score] = all[id];
    if (std::isnan(score)) continue;
    if (std::isinf(score)) {
      return absl::InvalidArgumentError(
          absl::StrCat("piece ", id, ": its score is infinite; give it a number"));
    }
    if (FindInvalidUtf8(piece)) {
      return absl::InvalidArgumentError(
          absl::StrCat("piece ", id, " is not UTF-8; no text can hold it"));
    }
    if (!piece.empty()) ids.insert_or_assign(piece, static_cast<int32_t>(id));
  }
  std::optional<PrecompiledNormalizer> normalizer;
  if (!vocabulary.charsmap.empty()) {
    auto made = PrecompiledNormalizer::Make(vocabulary.charsmap);
    if (!made.ok()) return made.status();
    normalizer = *std::move(made);
  }
  return std::make_unique<Unigram>(PieceIds(ids.begin(), ids.end()), vocabulary,
                                   std::move(normalizer));
}

}  // namespace vecino::encoder
