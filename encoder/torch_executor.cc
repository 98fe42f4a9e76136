#include "encoder/torch_executor.h"

#include <ATen/Context.h>
#include <torch/script.h>

#include <algorithm>
#include <cstring>
#include <exception>
#include <istream>
#include <stdexcept>
#include <streambuf>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "encoder/torch_runtime.h"

namespace vecino::encoder {
namespace {

// Lets torch read from bytes already in memory, without a second copy.
class ViewBuffer : public std::streambuf {
 public:
  explicit ViewBuffer(const std::string& bytes) {
    char* begin = const_cast<char*>(bytes.data());  // streambuf's interface; only read from
    setg(begin, begin, begin + bytes.size());
  }

 protected:
  pos_type seekoff(off_type offset, std::ios_base::seekdir from, std::ios_base::openmode) override {
    char* base = from == std::ios_base::beg   ? eback()
                 : from == std::ios_base::cur ? gptr()
                                              : egptr();
    if (offset < eback() - base || offset > egptr() - base) return pos_type(off_type(-1));
    setg(eback(), base + offset, egptr());
    return pos_type(gptr() - eback());
  }
  pos_type seekpos(pos_type position, std::ios_base::openmode which) override {
    return seekoff(off_type(position), std::ios_base::beg, which);
  }
};

class TorchExecutor : public Executor {
 public:
  TorchExecutor(const torch::jit::Module& module, const TorchOptions& options, torch::Device device,
                bool urgent)
      : module_(module), options_(options), device_(device), stream_(device, urgent) {}

  absl::Status Run(std::span<const TokenRow> rows, std::span<float> vectors) override {
    const RowLimits limits = {options_.dimension, options_.max_tokens, options_.vocab_size,
                              options_.pairs};
    if (absl::Status status = CheckRows(rows, vectors, limits); !status.ok()) return status;
    try {
      UseOneThread();
      const torch::InferenceMode no_gradients;
      const c10::OptionalStreamGuard stream = stream_.Enter();
      return Forward(rows, vectors);
    } catch (...) {
      return ModelFailure();
    }
  }

 private:
  absl::Status Forward(std::span<const TokenRow> rows, std::span<float> vectors) {
    size_t width = 0;
    for (const auto& row : rows) width = std::max(width, row.size());
    const auto count = static_cast<int64_t>(rows.size());
    // Pinned, so that the copies to the device need not wait.
    const auto kind = torch::TensorOptions(torch::kInt64).pinned_memory(device_.is_cuda());
    const torch::Tensor ids =
        torch::full({count, static_cast<int64_t>(width)}, options_.pad_id, kind);
    const torch::Tensor lengths = torch::empty({count}, kind);
    const torch::Tensor seconds = torch::empty({options_.pairs ? count : 0}, kind);
    for (size_t i = 0; i < rows.size(); ++i) {
      std::copy(rows[i].begin(), rows[i].end(), ids.data_ptr<int64_t>() + i * width);
      lengths.data_ptr<int64_t>()[i] = static_cast<int64_t>(rows[i].size());
      if (options_.pairs) seconds.data_ptr<int64_t>()[i] = rows[i].second;
    }
    const auto there = [this](const torch::Tensor& tensor) {
      return tensor.to(device_, /*non_blocking=*/true);
    };
    std::vector<torch::jit::IValue> inputs = {there(ids), there(lengths)};
    if (options_.pairs) inputs.emplace_back(there(seconds));
    // The copy back waits for the stream.
    const torch::Tensor result =
        module_.forward(std::move(inputs)).toTensor().to(torch::kCPU).contiguous();
    if (result.scalar_type() != torch::kFloat32 || result.dim() != 2 || result.size(0) != count ||
        result.size(1) != options_.dimension) {
      return absl::InternalError(absl::StrCat("the model returned ", result.toString(), " of ",
                                              result.numel(), " values for ", count, " rows of ",
                                              options_.dimension));
    }
    std::memcpy(vectors.data(), result.data_ptr<float>(), vectors.size_bytes());
    return absl::OkStatus();
  }

  torch::jit::Module module_;  // a handle; the weights are shared
  const TorchOptions options_;
  const torch::Device device_;
  DeviceStream stream_;
};

class TorchModel : public ExecutorFactory {
 public:
  TorchModel(torch::jit::Module module, const TorchOptions& options, torch::Device device)
      : module_(std::move(module)), options_(options), device_(device) {}

  bool pads() const override { return true; }

 private:
  std::unique_ptr<Executor> Make(bool urgent) const override {
    return std::make_unique<TorchExecutor>(module_, options_, device_, urgent);
  }

  const torch::jit::Module module_;
  const TorchOptions options_;
  const torch::Device device_;
};

std::vector<float> FloatsOf(const torch::Tensor& tensor) {
  const torch::Tensor plain = tensor.to(torch::kCPU, torch::kFloat32).contiguous();
  const float* begin = plain.data_ptr<float>();
  return {begin, begin + plain.numel()};
}

NormWeights NormOf(const torch::jit::Module& module) {
  return {FloatsOf(module.attr("weight").toTensor()), FloatsOf(module.attr("bias").toTensor())};
}

LinearWeights LinearOf(const torch::jit::Module& module) {
  const torch::Tensor weight = module.attr("weight").toTensor();
  return {static_cast<int>(weight.size(0)), static_cast<int>(weight.size(1)), FloatsOf(weight),
          FloatsOf(module.attr("bias").toTensor())};
}

// Weights and biases of linears to bfloat16; their module's graph follows (bert_module.py).
void NarrowLinears(torch::jit::Module& module) {
  for (torch::jit::Module part : module.modules()) {
    if (!part.hasattr("weight") || !part.hasattr("bias")) continue;
    const torch::Tensor weight = part.attr("weight").toTensor();
    if (weight.dim() != 2) continue;  // a norm's
    part.setattr("weight", weight.to(torch::kBFloat16));
    part.setattr("bias", part.attr("bias").toTensor().to(torch::kBFloat16));
  }
}

// Of a cross-encoder, whose head has no modules.
LinearWeights HeadLinearOf(const torch::jit::Module& module, const std::string& name) {
  const torch::Tensor weight = module.attr(name + "_weight").toTensor();
  return {static_cast<int>(weight.size(0)), static_cast<int>(weight.size(1)), FloatsOf(weight),
          FloatsOf(module.attr(name + "_bias").toTensor())};
}

// Throws what torch does where something is missing.
BertWeights WeightsOf(const torch::jit::Module& module) {
  BertWeights weights;
  const torch::Tensor word = module.attr("word").toModule().attr("weight").toTensor();
  const torch::Tensor position = module.attr("position").toModule().attr("weight").toTensor();
  weights.width = static_cast<int>(word.size(1));
  weights.vocab_size = static_cast<int>(word.size(0));
  weights.positions = static_cast<int>(position.size(0));
  weights.word = std::make_shared<const std::vector<float>>(FloatsOf(word));
  weights.position = std::make_shared<const std::vector<float>>(FloatsOf(position));
  weights.norm = NormOf(module.attr("norm").toModule());
  weights.norm_eps = static_cast<float>(module.attr("norm_eps").toDouble());
  weights.mean_pooling = module.attr("mean_pooling").toBool();
  weights.normalize = module.attr("normalize").toBool();
  // Exports before there were others than BERT lack both.
  if (module.hasattr("position_pad_id")) {
    const int64_t pad = module.attr("position_pad_id").toInt();
    if (pad < -1 || pad >= weights.positions) throw std::out_of_range("position_pad_id");
    weights.position_pad_id = static_cast<int>(pad);
  }
  if (module.hasattr("relative_bias")) {
    const torch::Tensor bias = module.attr("relative_bias").toTensor();
    weights.relative_bias = FloatsOf(bias);
    weights.reach = static_cast<int>(bias.size(1)) / 2;
  }
  if (module.hasattr("second_type")) {
    weights.second_type = FloatsOf(module.attr("second_type").toTensor());
    weights.head = {HeadLinearOf(module, "dense"), HeadLinearOf(module, "out")};
  }
  const torch::jit::Module layers = module.attr("layers").toModule();
  for (const torch::jit::Module& layer : layers.children()) {
    weights.heads = static_cast<int>(layer.attr("heads").toInt());
    const auto part = [&layer](const char* name) { return layer.attr(name).toModule(); };
    weights.layers.push_back({.query_key_value = LinearOf(part("query_key_value")),
                              .attention_out = LinearOf(part("attention_out")),
                              .attention_norm = NormOf(part("attention_norm")),
                              .up = LinearOf(part("up")),
                              .down = LinearOf(part("down")),
                              .out_norm = NormOf(part("out_norm"))});
  }
  return weights;
}

}  // namespace

absl::Status CheckDevice(const std::string& device) {
  if (device == "cpu") return absl::OkStatus();
  if (device != "cuda") {
    return absl::InvalidArgumentError(
        absl::StrCat("encoder option device is '", device, "'; it must be 'cpu' or 'cuda'"));
  }
  try {
    if (at::hasCUDA()) return absl::OkStatus();
  } catch (const std::exception&) {
    // A driver that fails is no device.
  }
  return absl::FailedPreconditionError(
      "encoder option device is 'cuda', but this LibTorch has no CUDA or finds no device");
}

absl::StatusOr<std::unique_ptr<ExecutorFactory>> LoadTorchModel(const std::string& module_bytes,
                                                                const TorchOptions& options) {
  if (options.dimension < 1 || options.max_tokens < 1 || options.vocab_size < 1) {
    return absl::InvalidArgumentError("dimension, max_tokens and vocab_size must be positive");
  }
  if (options.precision == Precision::kInt8) {
    return absl::InvalidArgumentError("TorchScript runs in fp32 and bf16");
  }
  if (absl::Status status = CheckDevice(options.device); !status.ok()) return status;
  try {
    UseOneThread();
    const torch::Device device(options.device);
    ViewBuffer buffer(module_bytes);
    std::istream stream(&buffer);
    torch::jit::Module module = torch::jit::load(stream, device);
    // Those of earlier exports are frozen already.
    const bool frozen = !module.hasattr("training");
    if (options.precision == Precision::kBf16) {
      if (frozen) {
        return absl::FailedPreconditionError(
            "the module is frozen in fp32; export it again with encoder/export/export.py");
      }
      NarrowLinears(module);
    }
    if (!frozen) {
      module.eval();
      module = torch::jit::freeze(module);
    }
    WaitForWeights(device);
    return std::make_unique<TorchModel>(std::move(module), options, device);
  } catch (const std::exception& error) {
    return absl::DataLossError(absl::StrCat("not a TorchScript module: ", FirstLine(error)));
  } catch (...) {
    return absl::DataLossError("not a TorchScript module");
  }
}

absl::StatusOr<BertWeights> ReadBertWeights(const std::string& module_bytes) {
  torch::jit::Module module;
  try {
    UseOneThread();
    ViewBuffer buffer(module_bytes);
    std::istream stream(&buffer);
    module = torch::jit::load(stream, torch::kCPU);
  } catch (const std::exception& error) {
    return absl::DataLossError(absl::StrCat("not a TorchScript module: ", FirstLine(error)));
  } catch (...) {
    return absl::DataLossError("not a TorchScript module");
  }
  try {
    if (module.hasattr("norm_eps")) return WeightsOf(module);
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("no memory for a model's weights");
  } catch (const std::exception& error) {
    return absl::FailedPreconditionError(
        absl::StrCat("the module's weights are not those of a BERT: ", FirstLine(error)));
  }
  return absl::FailedPreconditionError(
      "the module does not keep its weights by name; export it again with "
      "encoder/export/export.py");
}

}  // namespace vecino::encoder
