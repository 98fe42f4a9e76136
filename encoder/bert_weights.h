// The numbers of a BERT encoder, or of a relative of it, as plain floats, whatever file they came
// from.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"

namespace vecino::encoder {

// y = W·x + b, as torch.nn.Linear has it.
struct LinearWeights {
  int out = 0, in = 0;
  std::vector<float> weight;  // out × in
  std::vector<float> bias;    // out
};

struct NormWeights {
  std::vector<float> weight, bias;
};

// What makes a cross-encoder's logit of the first token: out(tanh(dense(x))).
struct HeadWeights {
  LinearWeights dense;  // width × width
  LinearWeights out;    // 1 × width
};

// A BERT whose query weights are scaled by 1/√(head size) and whose position embeddings have the
// first token type added, as encoder/export/bert_module.py makes it.
struct BertWeights {
  struct Layer {
    LinearWeights query_key_value;  // 3 · width × width
    LinearWeights attention_out;
    NormWeights attention_norm;
    LinearWeights up;  // followed by erf-GELU
    LinearWeights down;
    NormWeights out_norm;
  };

  int width = 0;  // floats of a token, and of the model's vector
  int heads = 0;  // divides width
  float norm_eps = 1e-12f;
  bool mean_pooling = true;  // else the first token's
  bool normalize = false;
  int vocab_size = 0, positions = 0;
  // From RoBERTa on, tokens are counted from this id + 1, those that are it are not counted, and
  // its position is itself; -1: all tokens are counted, from 0.
  int position_pad_id = -1;
  // MPNet's: heads × (2 · reach + 1) numbers that are added to scores, by key position − query
  // position from −reach on; a text is at most reach + 1 tokens. Empty: none.
  std::vector<float> relative_bias;
  int reach = 0;
  // Shared by all that is made of them.
  std::shared_ptr<const std::vector<float>> word;      // vocab_size × width
  std::shared_ptr<const std::vector<float>> position;  // positions × width
  NormWeights norm;
  std::vector<Layer> layers;
  // Of a cross-encoder, whose pooling is without meaning: what the tokens of a second text have
  // beside those of a first (width; empty: nothing), and the head.
  std::vector<float> second_type;
  std::optional<HeadWeights> head;
};

// OK when all sizes fit together and to texts of `max_tokens` tokens, so that whoever computes with
// them need not look again. INVALID_ARGUMENT, naming what does not fit.
absl::Status CheckBertWeights(const BertWeights& weights, int max_tokens);

}  // namespace vecino::encoder
