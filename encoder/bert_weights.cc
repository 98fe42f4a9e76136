#include "encoder/bert_weights.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/str_cat.h"

namespace vecino::encoder {
namespace {

bool Fits(const LinearWeights& linear, int out, int in) {
  return linear.out == out && linear.in == in &&
         linear.weight.size() == static_cast<size_t>(out) * static_cast<size_t>(in) &&
         linear.bias.size() == static_cast<size_t>(out);
}

bool Fits(const NormWeights& norm, int width) {
  return norm.weight.size() == static_cast<size_t>(width) &&
         norm.bias.size() == static_cast<size_t>(width);
}

}  // namespace

absl::Status CheckBertWeights(const BertWeights& w, int max_tokens) {
  const auto refuse = [](const std::string& what) {
    return absl::InvalidArgumentError(absl::StrCat("not a BERT's weights: ", what));
  };
  if (w.layers.empty()) return refuse("no layers");
  if (w.width < 1 || w.heads < 1 || w.width % w.heads != 0) {
    return refuse(absl::StrCat(w.heads, " heads in a width of ", w.width));
  }
  const auto width = static_cast<size_t>(w.width);
  if (w.word == nullptr || w.position == nullptr) return refuse("no embeddings");
  if (w.vocab_size < 1 || w.word->size() != static_cast<size_t>(w.vocab_size) * width) {
    return refuse("the word embeddings' size");
  }
  if (w.position->size() != static_cast<size_t>(w.positions) * width) {
    return refuse("the position embeddings' size");
  }
  const int64_t positions = int64_t{w.positions} - w.position_pad_id - 1;
  if (w.position_pad_id < -1 || max_tokens < 1 || max_tokens > positions) {
    return refuse(absl::StrCat("a window of ", max_tokens, " and ", positions, " positions"));
  }
  const size_t distances = 2 * static_cast<size_t>(std::max(w.reach, 0)) + 1;
  if (!w.relative_bias.empty() &&
      (w.relative_bias.size() != static_cast<size_t>(w.heads) * distances ||
       max_tokens > w.reach + 1)) {
    return refuse(absl::StrCat(w.relative_bias.size(), " relative biases of reach ", w.reach));
  }
  const int inner = w.layers.front().up.out;
  bool fits = Fits(w.norm, w.width) && inner > 0;
  for (const BertWeights::Layer& layer : w.layers) {
    fits = fits && Fits(layer.query_key_value, 3 * w.width, w.width) &&
           Fits(layer.attention_out, w.width, w.width) && Fits(layer.up, inner, w.width) &&
           Fits(layer.down, w.width, inner) && Fits(layer.attention_norm, w.width) &&
           Fits(layer.out_norm, w.width);
  }
  if (!fits) return refuse("a layer's size");
  if (!w.second_type.empty() && w.second_type.size() != width)
    return refuse("the second type's size");
  if (w.head.has_value() &&
      !(Fits(w.head->dense, w.width, w.width) && Fits(w.head->out, 1, w.width))) {
    return refuse("the head's size");
  }
  return absl::OkStatus();
}

}  // namespace vecino::encoder
