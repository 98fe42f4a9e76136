#include "encoder/text_model.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "encoder/fused_executor.h"
#include "encoder/packed_matrix.h"
#include "encoder/packed_torch_executor.h"
#include "encoder/precision.h"
#include "encoder/tokenizer_file.h"
#include "encoder/torch_executor.h"

namespace vecino::encoder {
namespace {

// Far above what kernels of another machine change (about 1e-6), far below any wrong weight or
// token.
constexpr float kTolerance = 1e-4f;

absl::Status Differs(const GoldenSentence& golden, const std::string& what) {
  return absl::DataLossError(absl::StrCat(
      "golden sentence '", absl::Utf8SafeCEscape(golden.text).substr(0, 60), "': ", what));
}

absl::Status CheckIds(const GoldenSentence& golden, const ModelInfo& info,
                      const Tokenizer& tokenizer) {
  const Tokens tokens = tokenizer.Encode(golden.text, info.max_tokens);
  if (tokens.ids == golden.ids) return absl::OkStatus();
  return Differs(
      golden, absl::StrCat("token ids are [", absl::StrJoin(tokens.ids, " "),
                           "], the manifest's model has [", absl::StrJoin(golden.ids, " "), "]"));
}

// The least cosine of a vector to the one of fp32, and the least correlation of logits; 0: see
// kTolerance.
double LeastCosine(const ModelInfo& info) {
  // Far below what rounding costs any sentence (docs/encoder.md), far above another text's.
  if (info.precision == PrecisionName(Precision::kBf16)) return 0.999;
  if (info.precision == PrecisionName(Precision::kInt8)) return 0.99;
  return 0;
}

double Cosine(const float* a, const float* b, int dimension) {
  double product = 0, of_a = 0, of_b = 0;
  for (int j = 0; j < dimension; ++j) {
    product += double{a[j]} * b[j];
    of_a += double{a[j]} * a[j];
    of_b += double{b[j]} * b[j];
  }
  return product / std::sqrt(of_a * of_b);
}

absl::Status CheckVectors(std::span<const GoldenSentence> batch, const ModelInfo& info,
                          Executor& executor) {
  const int dimension = info.dimension;
  const double least = LeastCosine(info);
  std::vector<TokenRow> rows;
  for (const GoldenSentence& golden : batch) rows.emplace_back(golden.ids);
  std::vector<float> vectors(batch.size() * dimension);
  if (absl::Status status = executor.Run(rows, vectors); !status.ok()) return status;
  for (size_t i = 0; i < batch.size(); ++i) {
    if (least > 0) {
      const double cosine = Cosine(&vectors[i * dimension], batch[i].vector.data(), dimension);
      if (cosine >= least) continue;
      return Differs(batch[i], absl::StrCat("the vector's cosine to that of fp32 is ", cosine,
                                            "; the limit for ", info.precision, " is ", least));
    }
    float worst = 0;
    for (int j = 0; j < dimension; ++j) {
      const float difference = std::fabs(vectors[i * dimension + j] - batch[i].vector[j]);
      // Not `>`: it must also refuse NaN.
      if (!(difference <= worst)) worst = difference;
    }
    if (!(worst <= kTolerance)) {
      return Differs(batch[i], absl::StrCat("the vector differs by ", worst,
                                            " in one float; the limit is ", kTolerance));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckGolden(const std::vector<GoldenSentence>& golden, const ModelInfo& info,
                         const Tokenizer& tokenizer, Executor& executor) {
  for (const GoldenSentence& sentence : golden) {
    if (absl::Status status = CheckIds(sentence, info, tokenizer); !status.ok()) return status;
  }
  // Batches of 1, 2, 3, ... sentences: the paths with and without a mask both run.
  std::span<const GoldenSentence> rest = golden;
  for (size_t size = 1; !rest.empty(); ++size) {
    const size_t count = std::min(size, rest.size());
    if (absl::Status status = CheckVectors(rest.first(count), info, executor); !status.ok()) {
      return status;
    }
    rest = rest.subspan(count);
  }
  return absl::OkStatus();
}

namespace {

absl::Status PairDiffers(const GoldenPair& golden, const std::string& what) {
  return absl::DataLossError(
      absl::StrCat("golden pair '", absl::Utf8SafeCEscape(golden.query).substr(0, 60), "', '",
                   absl::Utf8SafeCEscape(golden.text).substr(0, 60), "': ", what));
}

// Pearson's; 1 where those of `b` are all the same.
double Correlation(const std::vector<double>& a, const std::vector<double>& b) {
  const auto n = static_cast<double>(a.size());
  double of_a = 0, of_b = 0, squares_a = 0, squares_b = 0, product = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    of_a += a[i] / n;
    of_b += b[i] / n;
  }
  for (size_t i = 0; i < a.size(); ++i) {
    squares_a += (a[i] - of_a) * (a[i] - of_a);
    squares_b += (b[i] - of_b) * (b[i] - of_b);
    product += (a[i] - of_a) * (b[i] - of_b);
  }
  if (squares_b == 0) return 1;
  return product / std::sqrt(squares_a * squares_b);
}

}  // namespace

absl::Status CheckGoldenPairs(const std::vector<GoldenPair>& golden, int token_types,
                              const ModelInfo& info, const Tokenizer& tokenizer,
                              Executor& executor) {
  std::vector<TokenRow> rows;
  for (const GoldenPair& pair : golden) {
    const Tokens tokens = tokenizer.EncodePair(pair.query, pair.text, info.max_tokens);
    if (tokens.ids != pair.ids) {
      return PairDiffers(
          pair, absl::StrCat("token ids are [", absl::StrJoin(tokens.ids, " "),
                             "], the manifest's model has [", absl::StrJoin(pair.ids, " "), "]"));
    }
    std::vector<int32_t> types(pair.ids.size(), 0);
    if (token_types == 2) std::fill(types.begin() + tokens.second, types.end(), 1);
    if (types != pair.types) {
      return PairDiffers(
          pair, absl::StrCat("token types are [", absl::StrJoin(types, " "),
                             "], the manifest's model has [", absl::StrJoin(pair.types, " "), "]"));
    }
    rows.emplace_back(pair.ids, tokens.second);
  }
  const double least = LeastCosine(info);
  std::vector<double> ours, theirs;
  size_t next = 0;
  for (size_t size = 1; next < golden.size(); ++size) {
    const size_t count = std::min(size, golden.size() - next);
    std::vector<float> logits(count);
    absl::Status status = executor.Run(std::span(rows).subspan(next, count), logits);
    if (!status.ok()) return status;
    for (size_t i = 0; i < count; ++i) {
      const GoldenPair& pair = golden[next + i];
      ours.push_back(logits[i]);
      theirs.push_back(pair.logit);
      const float difference = std::fabs(logits[i] - pair.logit);
      const float limit = kTolerance * std::max(1.0f, std::fabs(pair.logit));
      // Not `>`: it must also refuse NaN.
      if (least == 0 && !(difference <= limit)) {
        return PairDiffers(
            pair, absl::StrCat("the logit is ", logits[i], ", the manifest's model's ", pair.logit,
                               "; they may differ by ", limit));
      }
    }
    next += count;
  }
  if (const double correlation = Correlation(ours, theirs); least > 0 && !(correlation >= least)) {
    return absl::DataLossError(
        absl::StrCat("golden pairs: the correlation of the logits with those ", "of fp32 is ",
                     correlation, "; the limit for ", info.precision, " is ", least));
  }
  return absl::OkStatus();
}

namespace {

// The folder's model in that precision, whose vectors are another model's.
absl::StatusOr<ModelInfo> InPrecision(const ModelFolder& folder, Precision precision) {
  ModelInfo info = folder.info;
  if (precision == Precision::kFp32) return info;
  info.precision = PrecisionName(precision);
  absl::StrAppend(&info.name, "@", info.precision);
  auto hash = Sha256(absl::StrCat(info.hash, "@", info.precision));
  if (!hash.ok()) return hash.status();
  info.hash = *std::move(hash);
  return info;
}

absl::StatusOr<TextModel> LoadTorch(const ModelFolder& folder,
                                    std::shared_ptr<const Tokenizer> tokenizer,
                                    const std::string& device, Precision precision) {
  auto info = InPrecision(folder, precision);
  if (!info.ok()) return info.status();
  const bool pairs = info->task == Task::kRerank;
  auto weights = LoadTorchModel(folder.module_bytes, {.dimension = pairs ? 1 : info->dimension,
                                                      .max_tokens = info->max_tokens,
                                                      .vocab_size = folder.vocab_size,
                                                      .pad_id = tokenizer->pad_id(),
                                                      .device = device,
                                                      .precision = precision,
                                                      .pairs = pairs});
  if (!weights.ok()) return weights.status();
  return TextModel{*std::move(info), std::move(tokenizer), *std::move(weights), device == "cpu",
                   absl::StrCat("TorchScript on ", device)};
}

// Of the weights alone: on the CPU by the fused executor, on CUDA in packed batches.
absl::StatusOr<TextModel> LoadFused(const ModelFolder& folder, const BertWeights& weights,
                                    std::shared_ptr<const Tokenizer> tokenizer,
                                    const std::string& device, Precision precision) {
  auto info = InPrecision(folder, precision);
  if (!info.ok()) return info.status();
  const bool pairs = info->task == Task::kRerank;
  const bool agrees = pairs ? weights.second_type.empty() == (folder.token_types == 1)
                            : weights.width == info->dimension &&
                                  weights.normalize == info->normalize &&
                                  weights.mean_pooling == (info->pooling == "mean");
  if (!agrees || weights.vocab_size != folder.vocab_size || weights.head.has_value() != pairs) {
    return absl::DataLossError("model.pt and manifest.json contradict each other");
  }
  const bool cpu = device == "cpu";
  auto made =
      cpu ? MakeFusedModel(weights, {.max_tokens = info->max_tokens, .precision = precision})
          : MakePackedTorchModel(
                weights,
                {.max_tokens = info->max_tokens, .precision = precision, .device = device});
  if (!made.ok()) return made.status();
  return TextModel{*std::move(info), std::move(tokenizer), *std::move(made), cpu,
                   cpu ? absl::StrCat("fused executor on cpu: ", DescribeFused(precision))
                       : absl::StrCat("packed batches on ", device, ": ",
                                      std::string(PrecisionName(precision)))};
}

// The model, if its golden sentences agree.
absl::StatusOr<TextModel> Proven(absl::StatusOr<TextModel> model, const ModelFolder& folder) {
  if (!model.ok()) return model;
  const std::unique_ptr<Executor> runs = model->weights->MakeExecutor();
  const absl::Status status =
      model->info.task == Task::kRerank
          ? CheckGoldenPairs(folder.pairs, folder.token_types, model->info, *model->tokenizer,
                             *runs)
          : CheckGolden(folder.golden, model->info, *model->tokenizer, *runs);
  if (status.ok()) return model;
  return absl::Status(status.code(), absl::StrCat(model->runs_by, ": ", status.message()));
}

}  // namespace

absl::StatusOr<std::vector<TextModel>> LoadTextModels(
    const std::filesystem::path& root, std::string_view name, const std::string& device,
    const std::string& executor, absl::FunctionRef<void(std::string_view)> warn) {
  const absl::StatusOr<ModelFolder> folder = ReadModelFolder(root, name);
  if (!folder.ok()) return folder.status();
  auto made = ReadTokenizer(folder->tokenizer, folder->vocabulary, folder->vocab_size);
  if (!made.ok()) return made.status();
  const std::shared_ptr<const Tokenizer> tokenizer = *std::move(made);
  std::vector<TextModel> models;
  std::string why;
  // Those of a precision that fails are left out, as long as fp32 does not.
  const auto add = [&](absl::StatusOr<TextModel> model, Precision precision) {
    model = Proven(std::move(model), *folder);
    if (model.ok()) {
      models.push_back(*std::move(model));
      models.back().runs_by += why;
      ModelInfo& info = models.back().info;
      for (auto& [prompt_name, prompt] : info.prompts) {
        prompt.tokens = tokenizer->Encode(prompt.text, info.max_tokens).count;
      }
    } else if (precision != Precision::kFp32) {
      warn(absl::StrCat("model ", std::string(name), "@", std::string(PrecisionName(precision)),
                        " is not served: ", model.status().ToString()));
    }
    return model.status();
  };
  absl::StatusOr<BertWeights> weights = absl::FailedPreconditionError("not asked for");
  const auto add_fused = [&](const std::string& on, Precision precision) {
    return add(weights.ok() ? LoadFused(*folder, *weights, tokenizer, on, precision)
                            : absl::StatusOr<TextModel>(weights.status()),
               precision);
  };
  if (executor != "torchscript") {
    weights = ReadBertWeights(folder->module_bytes);
    const absl::Status status = add_fused(device, Precision::kFp32);
    if (status.ok()) {
      // GPUs from before Ampere have no attention over packed texts in bf16, but TorchScript's.
      if (!add_fused(device, Precision::kBf16).ok() && device != "cpu" && executor == "auto") {
        add(LoadTorch(*folder, tokenizer, device, Precision::kBf16), Precision::kBf16)
            .IgnoreError();
      }
      add_fused("cpu", Precision::kInt8).IgnoreError();
      return models;
    }
    if (executor == "fused") return status;
    why = absl::StrCat(", not by the fused executor: ", status.message());
  }
  const absl::Status status =
      add(LoadTorch(*folder, tokenizer, device, Precision::kFp32), Precision::kFp32);
  if (!status.ok()) return status;
  // LibTorch has no fast product of such numbers where the CPU has none.
  if (device != "cpu" || IsNative(Precision::kBf16)) {
    add(LoadTorch(*folder, tokenizer, device, Precision::kBf16), Precision::kBf16).IgnoreError();
  }
  // What TorchScript has not, on the CPU.
  if (device != "cpu" && executor != "torchscript") {
    why.clear();
    add_fused("cpu", Precision::kInt8).IgnoreError();
  }
  return models;
}

}  // namespace vecino::encoder
