#include "encoder/fused_executor.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <new>
#include <utility>

#include "absl/strings/str_cat.h"
#include "encoder/packed_matrix.h"

namespace vecino::encoder {
namespace {

// A linear layer ready to run.
struct PackedLinear {
  std::unique_ptr<const PackedMatrix> matrix;
  std::vector<float> bias;
};

struct PackedLayer {
  PackedLinear query_key_value, attention_out, up, down;
  NormWeights attention_norm, out_norm;
};

struct FusedModel {
  BertWeights weights;  // without `layers`
  std::vector<PackedLayer> layers;
  std::vector<float> head_columns;  // of a cross-encoder: the head's dense weights, in × out
  FusedOptions options;

  const PackedMatrix& up() const { return *layers.front().up.matrix; }
};

// Activations of some tokens, encoded for a product. Rows are padded to what a product takes.
class Activations {
 public:
  void Resize(size_t rows, size_t width, size_t element) {
    rows += PackedMatrix::kMostRows;
    row_bytes_ = width * element;
    if (bytes_.size() < rows * row_bytes_) bytes_.resize(rows * row_bytes_);
    if (terms_.size() < rows) terms_.resize(rows);
  }
  std::byte* row(size_t i) { return bytes_.data() + i * row_bytes_; }
  ByteRow& terms(size_t i) { return terms_[i]; }

 private:
  size_t row_bytes_ = 0;
  std::vector<std::byte> bytes_;
  std::vector<ByteRow> terms_;
};

class FusedExecutor : public Executor {
 public:
  explicit FusedExecutor(std::shared_ptr<const FusedModel> model)
      : model_(std::move(model)),
        weights_(model_->weights),
        kernels_(*model_->options.kernels),
        width_(static_cast<size_t>(weights_.width)) {}

  absl::Status Run(std::span<const TokenRow> rows, std::span<float> vectors) override {
    const bool pairs = weights_.head.has_value();
    const RowLimits limits = {pairs ? 1 : weights_.width, model_->options.max_tokens,
                              weights_.vocab_size, pairs};
    if (absl::Status status = CheckRows(rows, vectors, limits); !status.ok()) return status;
    try {
      return Forward(rows, vectors);
    } catch (const std::bad_alloc&) {
      return absl::InternalError("no memory for a batch");
    }
  }

 private:
  absl::Status Forward(std::span<const TokenRow> rows, std::span<float> vectors) {
    size_t tokens = 0, longest = 0;
    for (const auto& row : rows) {
      tokens += row.size();
      longest = std::max(longest, row.size());
    }
    Reserve(tokens, longest);
    Embed(rows);
    for (const PackedLayer& layer : model_->layers) {
      if (absl::Status status = ForwardLayer(layer, rows, tokens); !status.ok()) return status;
    }
    if (weights_.head.has_value()) {
      Score(rows, vectors);
    } else {
      Pool(rows, vectors);
    }
    return absl::OkStatus();
  }

  void Reserve(size_t tokens, size_t longest) {
    const size_t heads = static_cast<size_t>(weights_.heads);
    const auto inner = static_cast<size_t>(model_->up().out());
    const size_t element = model_->up().activation_bytes();
    const auto grow = [](std::vector<float>* floats, size_t size) {
      if (floats->size() < size) floats->resize(size);
    };
    grow(&hidden_, tokens * width_);
    grow(&query_key_value_, tokens * 3 * width_);
    grow(&context_, tokens * width_);
    grow(&attention_, AttentionScratch(longest, width_ / heads));
    grow(&products_, PackedMatrix::kMostRows * std::max(3 * width_, inner));
    grow(&row_, std::max(3 * width_, inner));
    in_.Resize(tokens, width_, element);
    middle_.Resize(0, width_, element);
    inner_.Resize(0, inner, element);
  }

  // Sums of word, type and position, normed.
  void Embed(std::span<const TokenRow> rows) {
    float* x = hidden_.data();
    size_t token = 0;
    const int32_t pad = weights_.position_pad_id;
    const std::vector<float>& type = weights_.second_type;
    for (const TokenRow& row : rows) {
      const size_t second = type.empty() ? row.size() : static_cast<size_t>(row.second);
      int32_t counted = pad;
      for (size_t i = 0; i < row.size(); ++i, x += width_) {
        std::memcpy(x, weights_.word->data() + static_cast<size_t>(row[i]) * width_,
                    width_ * sizeof(float));
        if (i >= second) {
          for (size_t j = 0; j < width_; ++j) x[j] += type[j];
        }
        const size_t position = pad < 0 ? i : static_cast<size_t>(row[i] == pad ? pad : ++counted);
        kernels_.add_norm(x, weights_.position->data() + position * width_,
                          weights_.norm.weight.data(), weights_.norm.bias.data(), weights_.norm_eps,
                          width_);
        Encode(x, width_, &in_, token++);
      }
    }
  }

  // Into row `i` of `to`, as the model's precision has it.
  void Encode(const float* x, size_t n, Activations* to, size_t i) const {
    std::byte* const out = to->row(i);
    const bool native = model_->options.native;
    switch (model_->options.precision) {
      case Precision::kFp32:
        std::memcpy(out, x, n * sizeof(float));
        break;
      case Precision::kBf16:
        if (native) {
          kernels_.to_bf16(x, n, reinterpret_cast<uint16_t*>(out));
        } else {
          kernels_.round_bf16(x, n, reinterpret_cast<float*>(out));
        }
        break;
      case Precision::kInt8:
        to->terms(i) = native ? kernels_.to_bytes(x, n, reinterpret_cast<uint8_t*>(out))
                              : kernels_.round_bytes(x, n, reinterpret_cast<float*>(out));
        break;
    }
  }

  // products_ of a chunk, from row `first` of `in` on.
  absl::Status Multiply(const PackedLinear& linear, Activations* in, size_t first, int rows) {
    return linear.matrix->Multiply(in->row(first), rows, products_.data(), &scratch_);
  }

  // Row `i` of products_, which comes from activations with `terms`, as the layer's output.
  void Finish(const PackedLinear& linear, size_t i, ByteRow terms, float* out) const {
    const auto n = static_cast<size_t>(linear.matrix->out());
    const float* const in = products_.data() + i * n;
    if (model_->options.precision == Precision::kInt8) {
      kernels_.add_bias_int8(in, terms, linear.matrix->column_scales().data(),
                             linear.matrix->column_sums().data(), linear.bias.data(), n, out);
    } else {
      kernels_.add_bias(in, linear.bias.data(), n, out);
    }
  }

  absl::Status ForwardLayer(const PackedLayer& layer, std::span<const TokenRow> rows,
                            size_t tokens) {
    for (size_t first = 0; first < tokens;) {
      const int chunk = PackedMatrix::NextRows(static_cast<int>(tokens - first));
      absl::Status status = Multiply(layer.query_key_value, &in_, first, chunk);
      if (!status.ok()) return status;
      const size_t count = std::min(tokens - first, static_cast<size_t>(chunk));
      for (size_t i = 0; i < count; ++i) {
        Finish(layer.query_key_value, i, in_.terms(first + i),
               query_key_value_.data() + (first + i) * 3 * width_);
      }
      first += count;
    }
    size_t first = 0;
    const auto heads = static_cast<size_t>(weights_.heads);
    const auto reach = static_cast<size_t>(weights_.reach);
    const float* const bias =
        weights_.relative_bias.empty() ? nullptr : weights_.relative_bias.data() + reach;
    for (const auto& row : rows) {
      kernels_.attention(query_key_value_.data() + first * 3 * width_, row.size(), heads,
                         width_ / heads, bias, 2 * reach + 1, attention_.data(),
                         context_.data() + first * width_);
      first += row.size();
    }
    for (first = 0; first < tokens;) {
      const int chunk = PackedMatrix::NextRows(static_cast<int>(tokens - first));
      const size_t count = std::min(tokens - first, static_cast<size_t>(chunk));
      if (absl::Status status = AfterAttention(layer, first, count, chunk); !status.ok()) {
        return status;
      }
      first += count;
    }
    return absl::OkStatus();
  }

  // Tokens first to first + count − 1, from their context to the layer's output.
  absl::Status AfterAttention(const PackedLayer& layer, size_t first, size_t count, int chunk) {
    float* const hidden = hidden_.data() + first * width_;
    for (size_t i = 0; i < count; ++i) {
      Encode(context_.data() + (first + i) * width_, width_, &middle_, i);
    }
    absl::Status status = Multiply(layer.attention_out, &middle_, 0, chunk);
    if (!status.ok()) return status;
    for (size_t i = 0; i < count; ++i) {
      Finish(layer.attention_out, i, middle_.terms(i), row_.data());
      AddNorm(hidden + i * width_, layer.attention_norm);
      Encode(hidden + i * width_, width_, &middle_, i);
    }
    status = Multiply(layer.up, &middle_, 0, chunk);
    if (!status.ok()) return status;
    const auto inner = static_cast<size_t>(model_->up().out());
    for (size_t i = 0; i < count; ++i) {
      Finish(layer.up, i, middle_.terms(i), row_.data());
      kernels_.gelu(row_.data(), inner);
      Encode(row_.data(), inner, &inner_, i);
    }
    status = Multiply(layer.down, &inner_, 0, chunk);
    if (!status.ok()) return status;
    for (size_t i = 0; i < count; ++i) {
      Finish(layer.down, i, inner_.terms(i), row_.data());
      AddNorm(hidden + i * width_, layer.out_norm);
      Encode(hidden + i * width_, width_, &in_, first + i);
    }
    return absl::OkStatus();
  }

  // row_ onto x.
  void AddNorm(float* x, const NormWeights& norm) const {
    kernels_.add_norm(x, row_.data(), norm.weight.data(), norm.bias.data(), weights_.norm_eps,
                      width_);
  }

  // The logits of pairs, of their first tokens. In fp32 in every precision: a coarse logit would
  // make ties.
  void Score(std::span<const TokenRow> rows, std::span<float> logits) {
    const HeadWeights& head = *weights_.head;
    const float* x = hidden_.data();
    float* const inner = row_.data();
    for (size_t i = 0; i < rows.size(); ++i) {
      std::copy(head.dense.bias.begin(), head.dense.bias.end(), inner);
      for (size_t j = 0; j < width_; ++j) {
        const float* const column = model_->head_columns.data() + j * width_;
        for (size_t o = 0; o < width_; ++o) inner[o] += x[j] * column[o];
      }
      float logit = head.out.bias[0];
      for (size_t o = 0; o < width_; ++o) logit += std::tanh(inner[o]) * head.out.weight[o];
      logits[i] = logit;
      x += rows[i].size() * width_;
    }
  }

  void Pool(std::span<const TokenRow> rows, std::span<float> vectors) const {
    const float* x = hidden_.data();
    float* out = vectors.data();
    for (const auto& row : rows) {
      std::copy_n(x, width_, out);
      if (weights_.mean_pooling) {
        for (size_t token = 1; token < row.size(); ++token) {
          for (size_t i = 0; i < width_; ++i) out[i] += x[token * width_ + i];
        }
        for (size_t i = 0; i < width_; ++i) out[i] /= static_cast<float>(row.size());
      }
      if (weights_.normalize) {
        double squares = 0;
        for (size_t i = 0; i < width_; ++i) squares += double{out[i]} * out[i];
        // As torch.nn.functional.normalize.
        const double length = std::max(std::sqrt(squares), 1e-12);
        for (size_t i = 0; i < width_; ++i) out[i] = static_cast<float>(out[i] / length);
      }
      x += row.size() * width_;
      out += width_;
    }
  }

  const std::shared_ptr<const FusedModel> model_;
  const BertWeights& weights_;
  const BertKernels& kernels_;
  const size_t width_;
  // Of the batch: tokens × width, × 3 · width, × width.
  std::vector<float> hidden_, query_key_value_, context_;
  Activations in_;  // hidden_, encoded
  // Of a chunk.
  Activations middle_, inner_;
  std::vector<float> products_, row_, attention_;
  PackedMatrix::Scratch scratch_;
};

class FusedFactory : public ExecutorFactory {
 public:
  explicit FusedFactory(FusedModel model)
      : model_(std::make_shared<const FusedModel>(std::move(model))) {}

 private:
  std::unique_ptr<Executor> Make(bool) const override {
    return std::make_unique<FusedExecutor>(model_);
  }

  const std::shared_ptr<const FusedModel> model_;
};

BertWeights WithoutLayers(const BertWeights& from) {
  return {.width = from.width,
          .heads = from.heads,
          .norm_eps = from.norm_eps,
          .mean_pooling = from.mean_pooling,
          .normalize = from.normalize,
          .vocab_size = from.vocab_size,
          .positions = from.positions,
          .position_pad_id = from.position_pad_id,
          .relative_bias = from.relative_bias,
          .reach = from.reach,
          .word = from.word,
          .position = from.position,
          .norm = from.norm,
          .layers = {},
          .second_type = from.second_type,
          .head = from.head};
}

absl::StatusOr<PackedLinear> Pack(const LinearWeights& linear, const FusedOptions& options) {
  auto matrix = PackedMatrix::Pack(linear.weight.data(), linear.out, linear.in, options.precision,
                                   options.native);
  if (!matrix.ok()) return matrix.status();
  return PackedLinear{*std::move(matrix), linear.bias};
}

}  // namespace

absl::StatusOr<std::unique_ptr<ExecutorFactory>> MakeFusedModel(const BertWeights& weights,
                                                                const FusedOptions& options) {
  if (absl::Status status = CheckBertWeights(weights, options.max_tokens); !status.ok()) {
    return status;
  }
  try {
    FusedModel model;
    model.options = options;
    model.options.native = options.native && IsNative(options.precision);
    if (options.kernels == nullptr) model.options.kernels = SupportedBertKernels().front();
    for (const BertWeights::Layer& layer : weights.layers) {
      PackedLayer& packed = model.layers.emplace_back();
      packed.attention_norm = layer.attention_norm;
      packed.out_norm = layer.out_norm;
      const std::pair<const LinearWeights*, PackedLinear*> all[] = {
          {&layer.query_key_value, &packed.query_key_value},
          {&layer.attention_out, &packed.attention_out},
          {&layer.up, &packed.up},
          {&layer.down, &packed.down}};
      for (const auto& [from, to] : all) {
        auto linear = Pack(*from, model.options);
        if (!linear.ok()) return linear.status();
        *to = *std::move(linear);
      }
    }
    if (weights.head.has_value()) {
      const auto width = static_cast<size_t>(weights.width);
      model.head_columns.resize(width * width);
      for (size_t o = 0; o < width; ++o) {
        for (size_t i = 0; i < width; ++i) {
          model.head_columns[i * width + o] = weights.head->dense.weight[o * width + i];
        }
      }
    }
    model.weights = WithoutLayers(weights);
    return std::make_unique<FusedFactory>(std::move(model));
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("no memory for a model's packed weights");
  }
}

std::string DescribeFused(Precision precision) {
  return absl::StrCat(std::string(PrecisionName(precision)),
                      IsNative(precision) ? "" : " computed in fp32 (not native here)", ", ",
                      std::string(SupportedBertKernels().front()->name), " kernels");
}

}  // namespace vecino::encoder
