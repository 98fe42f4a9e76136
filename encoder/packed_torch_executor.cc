#include "encoder/packed_torch_executor.h"

#include <torch/script.h>
#include <torch/version.h>

#include <algorithm>
#include <cstring>
#include <exception>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "encoder/torch_executor.h"
#include "encoder/torch_runtime.h"

namespace vecino::encoder {
namespace {

using torch::Tensor;

// Since 2.4 the operators that attend within texts of a packed batch have the form used here.
#define VECINO_ATTENDS_PACKED \
  (TORCH_VERSION_MAJOR > 2 || (TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR >= 4))

struct Linear {
  Tensor weight, bias;  // in the model's precision
  Tensor operator()(const Tensor& x) const { return at::linear(x, weight, bias); }
};

struct Norm {
  Tensor weight, bias;  // fp32
  Tensor operator()(const Tensor& x, float eps) const {
    return at::layer_norm(x, weight.sizes(), weight, bias, eps);
  }
};

struct Layer {
  Linear query_key_value, attention_out, up, down;
  Norm attention_norm, out_norm;
};

struct PackedModel {
  PackedTorchOptions options;
  torch::Device device{torch::kCPU};
  torch::Dtype kind = torch::kFloat32;  // of products and attention
  int width = 0, heads = 0, vocab_size = 0;
  int position_pad_id = -1;
  float eps = 0;
  bool mean_pooling = true, normalize = false, pairs = false;
  Tensor word, position, second_type;  // fp32; second_type: undefined where there is none
  Norm norm;
  std::vector<Layer> layers;
  Linear dense, out;  // of a cross-encoder, fp32
};

// What a batch is on the device: int32, texts one after the other.
struct PackedRows {
  Tensor ids, positions;  // [tokens]
  Tensor starts;          // [rows + 1], of each text, and the number of tokens
  Tensor lengths;         // [rows]
  Tensor in_second;       // [tokens], 1 in the second text of a pair, else 0
  int64_t longest = 0;
};

// Within each text, of queries, keys and values [tokens, heads, head size]; queries are scaled.
Tensor AttendEachText(const Tensor& query, const Tensor& key, const Tensor& value,
                      const Tensor& starts) {
  const Tensor result = at::empty_like(query, at::MemoryFormat::Contiguous);
  const Tensor at_host = starts.to(torch::kCPU);
  const int32_t* const start = at_host.data_ptr<int32_t>();
  for (int64_t i = 0; i + 1 < at_host.numel(); ++i) {
    const auto text = [&](const Tensor& x) {  // [heads, tokens of the text, head size]
      return x.slice(0, start[i], start[i + 1]).transpose(0, 1);
    };
    const Tensor weights = at::softmax(at::matmul(text(query), text(key).transpose(1, 2)), 2);
    text(result).copy_(at::matmul(weights, text(value)));
  }
  return result;
}

Tensor Attend(const PackedModel& model, const Tensor& query, const Tensor& key, const Tensor& value,
              const PackedRows& rows) {
#if VECINO_ATTENDS_PACKED
  // FlashAttention's blocks are of 128 queries of one text: on texts of 24 tokens the other is
  // quicker (H200, 16,384 tokens: 2.3 ms against 2.6; of 100 tokens 2.2 against 2.0).
  constexpr int64_t kLongTexts = 64;
  const bool long_texts = query.size(0) >= kLongTexts * rows.lengths.size(0);
  if (model.device.is_cuda() && model.kind != torch::kFloat32 && long_texts) {
    return std::get<0>(at::_flash_attention_forward(
        query, key, value, rows.starts, rows.starts, rows.longest, rows.longest, /*dropout_p=*/0,
        /*is_causal=*/false, /*return_debug_mask=*/false, /*scale=*/1.0));
  }
  if (model.device.is_cuda()) {
    return std::get<0>(at::_efficient_attention_forward(
                           query.unsqueeze(0), key.unsqueeze(0), value.unsqueeze(0),
                           /*bias=*/{}, rows.starts, rows.starts, rows.longest, rows.longest,
                           /*dropout_p=*/0, /*custom_mask_type=*/0, /*compute_log_sumexp=*/false,
                           /*scale=*/1.0))
        .squeeze(0);
  }
#endif
  static_cast<void>(model);
  return AttendEachText(query, key, value, rows.starts);
}

class PackedTorchExecutor : public Executor {
 public:
  PackedTorchExecutor(std::shared_ptr<const PackedModel> model, bool urgent)
      : model_(std::move(model)), m_(*model_), stream_(m_.device, urgent) {}

  absl::Status Run(std::span<const TokenRow> rows, std::span<float> vectors) override {
    const RowLimits limits = {m_.pairs ? 1 : m_.width, m_.options.max_tokens, m_.vocab_size,
                              m_.pairs};
    if (absl::Status status = CheckRows(rows, vectors, limits); !status.ok()) return status;
    try {
      UseOneThread();
      const torch::InferenceMode no_gradients;
      const c10::OptionalStreamGuard stream = stream_.Enter();
      const PackedRows packed = Pack(rows);
      const Tensor hidden = Hidden(packed);
      const Tensor result = m_.pairs ? Logits(hidden, packed) : Pool(hidden, packed);
      // Waits for the stream.
      const Tensor here = at::empty(
          result.sizes(), at::TensorOptions(torch::kFloat32).pinned_memory(m_.device.is_cuda()));
      here.copy_(result);
      std::memcpy(vectors.data(), here.data_ptr<float>(), vectors.size_bytes());
      return absl::OkStatus();
    } catch (...) {
      return ModelFailure();
    }
  }

 private:
  // One copy to the device, from pinned memory, so that it need not wait.
  PackedRows Pack(std::span<const TokenRow> rows) const {
    int64_t tokens = 0, longest = 0;
    for (const TokenRow& row : rows) {
      tokens += static_cast<int64_t>(row.size());
      longest = std::max(longest, static_cast<int64_t>(row.size()));
    }
    const auto count = static_cast<int64_t>(rows.size());
    const bool types = m_.second_type.defined();
    const Tensor host =
        at::empty({(types ? 3 : 2) * tokens + 2 * count + 1},
                  at::TensorOptions(torch::kInt32).pinned_memory(m_.device.is_cuda()));
    int32_t* ids = host.data_ptr<int32_t>();
    int32_t* positions = ids + tokens;
    int32_t* starts = positions + tokens;
    int32_t* lengths = starts + count + 1;
    int32_t* in_second = lengths + count;
    const int32_t pad = m_.position_pad_id;
    *starts = 0;
    for (const TokenRow& row : rows) {
      int32_t counted = pad;
      for (size_t i = 0; i < row.size(); ++i) {
        *ids++ = row[i];
        *positions++ = pad < 0 ? static_cast<int32_t>(i) : row[i] == pad ? pad : ++counted;
        if (types) *in_second++ = i >= static_cast<size_t>(row.second) ? 1 : 0;
      }
      *lengths++ = static_cast<int32_t>(row.size());
      starts[1] = starts[0] + static_cast<int32_t>(row.size());
      ++starts;
    }
    const Tensor there = host.to(m_.device, /*non_blocking=*/true);
    PackedRows packed;
    int64_t next = 0;
    const auto take = [&](int64_t n) {
      next += n;
      return there.slice(0, next - n, next);
    };
    packed.ids = take(tokens);
    packed.positions = take(tokens);
    packed.starts = take(count + 1);
    packed.lengths = take(count);
    if (types) packed.in_second = take(tokens);
    packed.longest = longest;
    return packed;
  }

  // What the last layer gives, [tokens, width].
  Tensor Hidden(const PackedRows& rows) const {
    Tensor x = m_.word.index_select(0, rows.ids) + m_.position.index_select(0, rows.positions);
    if (m_.second_type.defined()) {
      x = x + rows.in_second.unsqueeze(1).to(torch::kFloat32) * m_.second_type;
    }
    x = m_.norm(x, m_.eps);
    const int64_t tokens = x.size(0), head = m_.width / m_.heads;
    for (const Layer& layer : m_.layers) {
      const Tensor all = layer.query_key_value(x.to(m_.kind)).view({tokens, 3, m_.heads, head});
      const Tensor context = Attend(m_, all.select(1, 0), all.select(1, 1), all.select(1, 2), rows)
                                 .reshape({tokens, m_.width});
      // The sums are fp32, as x is.
      x = layer.attention_norm(x + layer.attention_out(context), m_.eps);
      x = layer.out_norm(x + layer.down(at::gelu(layer.up(x.to(m_.kind)))), m_.eps);
    }
    return x;
  }

  Tensor FirstOf(const Tensor& hidden, const PackedRows& rows) const {
    return hidden.index_select(0, rows.starts.slice(0, 0, rows.lengths.size(0)));
  }

  Tensor Pool(const Tensor& hidden, const PackedRows& rows) const {
    // `unsafe`: without a look at the lengths, which would wait for the device.
    Tensor vectors = m_.mean_pooling ? at::segment_reduce(hidden, "mean", rows.lengths, {}, {}, 0,
                                                          /*unsafe=*/true)
                                     : FirstOf(hidden, rows);
    if (!m_.normalize) return vectors;
    // As torch.nn.functional.normalize.
    return vectors / at::norm(vectors, 2, {1}, /*keepdim=*/true).clamp_min(1e-12);
  }

  Tensor Logits(const Tensor& hidden, const PackedRows& rows) const {
    return m_.out(at::tanh(m_.dense(FirstOf(hidden, rows))));
  }

  const std::shared_ptr<const PackedModel> model_;
  const PackedModel& m_;
  DeviceStream stream_;
};

class PackedTorchFactory : public ExecutorFactory {
 public:
  explicit PackedTorchFactory(PackedModel model)
      : model_(std::make_shared<const PackedModel>(std::move(model))) {}

 private:
  std::unique_ptr<Executor> Make(bool urgent) const override {
    return std::make_unique<PackedTorchExecutor>(model_, urgent);
  }

  const std::shared_ptr<const PackedModel> model_;
};

absl::Status CheckForm(const BertWeights& weights, const PackedTorchOptions& options) {
  if (options.precision == Precision::kInt8) {
    return absl::InvalidArgumentError("packed batches of LibTorch are in fp32 and bf16");
  }
  if (absl::Status status = CheckDevice(options.device); !status.ok()) return status;
  if (absl::Status status = CheckBertWeights(weights, options.max_tokens); !status.ok()) {
    return status;
  }
  if (!weights.relative_bias.empty()) {
    return absl::FailedPreconditionError("attention over packed texts has no relative biases");
  }
  if (options.device == "cpu") return absl::OkStatus();
  if (!VECINO_ATTENDS_PACKED) {
    return absl::FailedPreconditionError(
        absl::StrCat("attention over packed texts needs LibTorch 2.4; this is ",
                     TORCH_VERSION_MAJOR, ".", TORCH_VERSION_MINOR));
  }
  const int head = weights.width / weights.heads;
  if (head % 8 != 0 || head > 256) {
    return absl::FailedPreconditionError(absl::StrCat(
        "attention over packed texts takes heads of a multiple of 8, at most 256; these are of ",
        head));
  }
  return absl::OkStatus();
}

// Puts floats on the model's device.
class Mover {
 public:
  explicit Mover(torch::Device device) : device_(device) {}

  Tensor operator()(const std::vector<float>& floats, std::vector<int64_t> shape,
                    torch::Dtype kind = torch::kFloat32) const {
    return at::from_blob(const_cast<float*>(floats.data()), shape, torch::kFloat32)  // only read
        .to(device_, kind, /*non_blocking=*/false, /*copy=*/true);
  }
  Linear operator()(const LinearWeights& linear, torch::Dtype kind = torch::kFloat32) const {
    return {(*this)(linear.weight, {linear.out, linear.in}, kind),
            (*this)(linear.bias, {linear.out}, kind)};
  }
  Norm operator()(const NormWeights& norm) const {
    const auto width = static_cast<int64_t>(norm.weight.size());
    return {(*this)(norm.weight, {width}), (*this)(norm.bias, {width})};
  }

 private:
  const torch::Device device_;
};

PackedModel Moved(const BertWeights& from, const PackedTorchOptions& options) {
  PackedModel model;
  model.options = options;
  model.device = torch::Device(options.device);
  if (options.precision == Precision::kBf16) model.kind = torch::kBFloat16;
  model.width = from.width;
  model.heads = from.heads;
  model.vocab_size = from.vocab_size;
  model.position_pad_id = from.position_pad_id;
  model.eps = from.norm_eps;
  model.mean_pooling = from.mean_pooling;
  model.normalize = from.normalize;
  model.pairs = from.head.has_value();
  const Mover moved(model.device);
  model.word = moved(*from.word, {from.vocab_size, from.width});
  model.position = moved(*from.position, {from.positions, from.width});
  if (!from.second_type.empty()) model.second_type = moved(from.second_type, {from.width});
  model.norm = moved(from.norm);
  for (const BertWeights::Layer& layer : from.layers) {
    model.layers.push_back({.query_key_value = moved(layer.query_key_value, model.kind),
                            .attention_out = moved(layer.attention_out, model.kind),
                            .up = moved(layer.up, model.kind),
                            .down = moved(layer.down, model.kind),
                            .attention_norm = moved(layer.attention_norm),
                            .out_norm = moved(layer.out_norm)});
  }
  if (from.head.has_value()) {
    model.dense = moved(from.head->dense);
    model.out = moved(from.head->out);
  }
  return model;
}

}  // namespace

absl::StatusOr<std::unique_ptr<ExecutorFactory>> MakePackedTorchModel(
    const BertWeights& weights, const PackedTorchOptions& options) {
  try {
    if (absl::Status status = CheckForm(weights, options); !status.ok()) return status;
    UseOneThread();
    const torch::InferenceMode no_gradients;
    auto model = std::make_unique<PackedTorchFactory>(Moved(weights, options));
    WaitForWeights(torch::Device(options.device));
    return model;
  } catch (const std::exception& error) {
    return absl::InternalError(
        absl::StrCat("the weights cannot be moved to ", options.device, ": ", FirstLine(error)));
  } catch (...) {
    return absl::InternalError(absl::StrCat("the weights cannot be moved to ", options.device));
  }
}

}  // namespace vecino::encoder
