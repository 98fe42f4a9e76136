#include "server/rpc/embedding_handlers.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_join.h"
#include "server/rpc/conversions.h"
#include "server/rpc/resource_names.h"
#include "server/rpc/text.h"

namespace vecino::rpc {
namespace {

absl::StatusOr<encoder::InputType> ReadInputType(v1::InputType type) {
  switch (type) {
    case v1::INPUT_TYPE_UNSPECIFIED:
    case v1::INPUT_TYPE_DOCUMENT:
      return encoder::InputType::kDocument;
    case v1::INPUT_TYPE_QUERY:
      return encoder::InputType::kQuery;
    default:
      return engine::InvalidField("input_type", Concat("is ", static_cast<int>(type),
                                                       "; this server knows INPUT_TYPE_QUERY and "
                                                       "INPUT_TYPE_DOCUMENT"));
  }
}

absl::Status CheckOutputType(v1::OutputType type) {
  switch (type) {
    case v1::OUTPUT_TYPE_UNSPECIFIED:
    case v1::OUTPUT_TYPE_FLOAT:
    case v1::OUTPUT_TYPE_INT8:
      return absl::OkStatus();
    default:
      return engine::InvalidField("output_type", Concat("is ", static_cast<int>(type),
                                                        "; this server knows OUTPUT_TYPE_FLOAT and "
                                                        "OUTPUT_TYPE_INT8"));
  }
}

void WriteInt8(const std::vector<float>& vector, v1::Embedding* out) {
  float most = 0;
  for (const float x : vector) most = std::max(most, std::fabs(x));
  const float scale = most > 0 ? most / 127 : 1;
  std::string* bytes = out->mutable_int8_values();
  for (const float x : vector) {
    bytes->push_back(static_cast<char>(static_cast<int8_t>(std::nearbyint(x / scale))));
  }
  out->set_int8_scale(scale);
}

void WriteTimings(const encoder::EmbedTimings& timings, v1::EmbedTimings* out) {
  WriteDuration(timings.tokenize, out->mutable_tokenize());
  WriteDuration(timings.queue, out->mutable_queue());
  WriteDuration(timings.compute, out->mutable_compute());
}

// The model's name, empty for the only one there is, of a request whose texts are as many as may
// be.
template <typename Request>
absl::StatusOr<std::string> ReadModel(const Request& request) {
  std::string model;
  if (!request.model().empty()) {
    auto name = ParseModelName("model", request.model());
    if (!name.ok()) return name.status();
    model = *std::move(name);
  }
  if (absl::Status status = CheckBatch("texts", request.texts_size(), "texts"); !status.ok()) {
    return status;
  }
  return model;
}

}  // namespace

absl::Status EmbeddingHandlers::EmbedText(const v1::EmbedTextRequest& request,
                                          v1::EmbedTextResponse* response,
                                          const engine::CallContext& context) {
  const absl::Time start = absl::Now();
  auto model = ReadModel(request);
  if (!model.ok()) return model.status();
  for (int i = 0; i < request.texts_size(); ++i) {
    if (absl::Status status = CheckText(Concat("texts[", i, "]"), request.texts(i)); !status.ok()) {
      return status;
    }
  }
  auto input_type = ReadInputType(request.input_type());
  if (!input_type.ok()) return input_type.status();
  auto truncate = ReadTruncate(request.truncate());
  if (!truncate.ok()) return truncate.status();
  if (absl::Status status = CheckOutputType(request.output_type()); !status.ok()) return status;
  const bool int8 = request.output_type() == v1::OUTPUT_TYPE_INT8;
  for (const encoder::ModelInfo& info : engine_.Models()) {
    if (info.task != encoder::Task::kEmbed) continue;
    if (!model->empty() && info.name != *model) continue;
    if (request.dimensions() < 0 || request.dimensions() > info.dimension) {
      return engine::InvalidField(
          "dimensions", Concat("is ", request.dimensions(), "; model ", info.name, " makes ",
                               info.dimension, ", and 0 takes them all"));
    }
    // A vector, and some bytes of its message around it.
    const int values = request.dimensions() > 0 ? request.dimensions() : info.dimension;
    const size_t bytes = static_cast<size_t>(values) * (int8 ? 1 : sizeof(float)) + 32;
    if (request.texts_size() * bytes > max_reply_bytes_) {
      return engine::InvalidField(
          "texts", Concat("the vectors of ", request.texts_size(), " texts take ",
                          request.texts_size() * bytes, " bytes, over the reply's limit of ",
                          max_reply_bytes_, "; send at most ", max_reply_bytes_ / bytes));
    }
    break;
  }

  const std::vector<std::string> texts(request.texts().begin(), request.texts().end());
  auto embedded = engine_.Embed({.model = *std::move(model),
                                 .texts = texts,
                                 .input_type = *input_type,
                                 .prompt = request.prompt(),
                                 .truncate = *truncate,
                                 .dimensions = request.dimensions()},
                                context);
  if (!embedded.ok()) return embedded.status();
  const auto& [info, results, timings] = *embedded;
  for (size_t i = 0; i < results.size(); ++i) {
    if (absl::IsInvalidArgument(results[i].status) && engine::FieldOf(results[i].status).empty()) {
      return engine::InvalidField(Concat("texts[", i, "]"), ToStd(results[i].status.message()));
    }
    if (!results[i].status.ok()) return results[i].status;
    auto* out = response->add_embeddings();
    if (int8) {
      WriteInt8(results[i].vector, out);
    } else {
      WriteVector(results[i].vector, out->mutable_vector());
    }
    out->set_token_count(results[i].token_count);
    out->set_truncated(results[i].truncated);
  }
  response->set_model(ModelName(info.name));
  WriteTimings(timings, response->mutable_timings());
  WriteDuration(absl::Now() - start, response->mutable_duration());
  return absl::OkStatus();
}

absl::Status EmbeddingHandlers::RerankTexts(const v1::RerankTextsRequest& request,
                                            v1::RerankTextsResponse* response,
                                            const engine::CallContext& context) {
  const absl::Time start = absl::Now();
  auto model = ReadModel(request);
  if (!model.ok()) return model.status();
  auto truncate = ReadTruncate(request.truncate());
  if (!truncate.ok()) return truncate.status();
  const std::vector<std::string> texts(request.texts().begin(), request.texts().end());
  const auto reranked = engine_.Rerank(
      {.model = *std::move(model), .query = request.query(), .texts = texts, .truncate = *truncate},
      context);
  if (!reranked.ok()) return reranked.status();
  for (const encoder::RerankResult& result : reranked->results) {
    if (!result.status.ok()) return result.status;
    auto* out = response->add_results();
    out->set_score(result.score);
    out->set_token_count(result.token_count);
    out->set_truncated(result.truncated);
  }
  response->set_model(ModelName(reranked->model.name));
  WriteTimings(reranked->timings, response->mutable_timings());
  WriteDuration(absl::Now() - start, response->mutable_duration());
  return absl::OkStatus();
}

absl::Status EmbeddingHandlers::ListModels(const v1::ListModelsRequest&,
                                           v1::ListModelsResponse* response,
                                           const engine::CallContext&) {
  for (const encoder::ModelInfo& info : engine_.Models()) WriteModel(info, response->add_models());
  return absl::OkStatus();
}

absl::Status EmbeddingHandlers::GetModel(const v1::GetModelRequest& request,
                                         v1::GetModelResponse* response,
                                         const engine::CallContext&) {
  auto name = ParseModelName("name", request.name());
  if (!name.ok()) return name.status();
  std::vector<std::string> known;
  for (const encoder::ModelInfo& info : engine_.Models()) {
    if (info.name == *name) {
      WriteModel(info, response->mutable_model());
      return absl::OkStatus();
    }
    known.push_back(ModelName(info.name));
  }
  return absl::NotFoundError(Concat("model \"", *name, "\" is not loaded; the server has ",
                                    known.empty() ? "no models" : absl::StrJoin(known, ", ")));
}

}  // namespace vecino::rpc
