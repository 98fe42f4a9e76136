#include "encoder/tokenizer.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <utility>

#include "encoder/white_space.h"

namespace vecino::encoder {
namespace {

class AnyTokenizer : public Tokenizer {
 public:
  AnyTokenizer(std::unique_ptr<const Subwords> subwords, SpecialTokens special)
      : subwords_(std::move(subwords)), special_(std::move(special)) {
    std::stable_sort(special_.added.begin(), special_.added.end(),
                     [](const AddedToken& a, const AddedToken& b) {
                       return a.content.size() > b.content.size();
                     });
    for (const AddedToken& token : special_.added) {
      if (first_bytes_.find(token.content.front()) == std::string::npos) {
        first_bytes_ += token.content.front();
      }
    }
  }

  Tokens Encode(std::string_view text, int max_tokens) const override {
    Tokens tokens;
    tokens.ids.reserve(std::min(static_cast<size_t>(std::max(max_tokens, 2)), text.size() / 4 + 8));
    tokens.ids.push_back(special_.begin);
    Append(text, &tokens.ids);
    tokens.count = static_cast<int>(tokens.ids.size()) + 1;
    const auto room = static_cast<size_t>(std::max(max_tokens, 2)) - 1;
    tokens.truncated = tokens.ids.size() > room;
    if (tokens.truncated) tokens.ids.resize(room);
    tokens.ids.push_back(special_.end);
    return tokens;
  }

  std::vector<int32_t> Ids(std::string_view text) const override {
    std::vector<int32_t> ids;
    Append(text, &ids);
    return ids;
  }

  Tokens EncodePair(std::span<const int32_t> a, std::span<const int32_t> b,
                    int max_tokens) const override {
    const size_t around = special_.two_between ? 4 : 3;
    Tokens tokens;
    tokens.count = static_cast<int>(a.size() + b.size() + around);
    const size_t room = static_cast<size_t>(std::max<int>(max_tokens, 4)) - around;
    if (a.size() + b.size() > room) {
      tokens.truncated = true;
      // Hugging Face's truncate_encodings: the shorter keeps at most half, the longer the rest.
      const bool swapped = a.size() > b.size();
      std::span<const int32_t>&shorter = swapped ? b : a, &longer = swapped ? a : b;
      size_t longest =
          shorter.size() > room ? shorter.size() : std::max(shorter.size(), room - shorter.size());
      if (shorter.size() + longest > room) {
        shorter = shorter.first(room / 2);
        longest = room / 2 + room % 2;
      }
      longer = longer.first(longest);
    }
    tokens.ids.reserve(a.size() + b.size() + around);
    tokens.ids.push_back(special_.begin);
    tokens.ids.insert(tokens.ids.end(), a.begin(), a.end());
    tokens.ids.insert(tokens.ids.end(), around - 2, special_.end);
    tokens.second = static_cast<int>(tokens.ids.size());
    tokens.ids.insert(tokens.ids.end(), b.begin(), b.end());
    tokens.ids.push_back(special_.end);
    return tokens;
  }

  int32_t pad_id() const override { return special_.pad; }

 private:
  // The longest added token at the front of `text`, or null.
  const AddedToken* AddedAt(std::string_view text) const {
    for (const AddedToken& token : special_.added) {
      if (text.starts_with(token.content)) return &token;
    }
    return nullptr;
  }

  size_t FindFirstByte(std::string_view text, size_t from) const {
    if (first_bytes_.size() == 1) return text.find(first_bytes_[0], from);
    return text.find_first_of(first_bytes_, from);
  }

  void AppendPart(std::string_view part, std::vector<int32_t>* ids) const {
    if (!part.empty()) subwords_->Append(part, ids);
  }

  void Append(std::string_view text, std::vector<int32_t>* ids) const {
    size_t done = 0;  // text before it is dealt with
    for (size_t at = FindFirstByte(text, 0); at < text.size(); at = FindFirstByte(text, at)) {
      const AddedToken* const token = AddedAt(text.substr(at));
      if (token == nullptr) {
        ++at;
        continue;
      }
      std::string_view before = text.substr(done, at - done);
      if (token->lstrip) before = WithoutWhiteAtEnd(before);
      AppendPart(before, ids);
      ids->push_back(token->id);
      at += token->content.size();
      if (token->rstrip) at += WhiteAtFront(text.substr(at));
      done = at;
    }
    AppendPart(text.substr(done), ids);
  }

  const std::unique_ptr<const Subwords> subwords_;
  SpecialTokens special_;
  std::string first_bytes_;  // of the added tokens
};

}  // namespace

std::unique_ptr<Tokenizer> MakeTokenizer(std::unique_ptr<const Subwords> subwords,
                                         SpecialTokens special) {
  return std::make_unique<AnyTokenizer>(std::move(subwords), std::move(special));
}

}  // namespace vecino::encoder
