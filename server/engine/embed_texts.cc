#include "server/engine/embed_texts.h"

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/engine/validation.h"

namespace vecino::engine {

absl::StatusOr<Embedded> EmbedTexts(encoder::Encoder& encoder, const EmbedRequest& request,
                                    const CallContext& context) {
  if (absl::Status status = CheckBatchSize("texts", request.texts.size()); !status.ok())
    return status;
  const auto& texts = request.texts;
  std::string name = request.model;
  if (name.empty()) {
    // In its own precision: others are asked for by name.
    std::vector<encoder::ModelInfo> models = encoder.Models();
    std::erase_if(models, [](const encoder::ModelInfo& one) {
      return one.precision != "fp32" || one.task != encoder::Task::kEmbed;
    });
    if (models.size() != 1) {
      std::string names;
      for (const auto& one : models) absl::StrAppend(&names, names.empty() ? "" : ", ", one.name);
      return InvalidField("model", absl::StrCat("is empty, and the server has ", models.size(),
                                                " embedding models to choose from",
                                                names.empty() ? "" : ": ", names));
    }
    name = models.front().name;
  }
  absl::StatusOr<encoder::ModelInfo> info = encoder.Model(name);
  if (!info.ok()) return info.status();
  if (info->task == encoder::Task::kRerank) {
    return InvalidField("model",
                        absl::StrCat("is `", info->name,
                                     "`, a reranker, which scores pairs of texts and makes "
                                     "no vectors; take RerankTexts, or an embedding model"));
  }

  if (!request.prompt.empty()) {
    const auto prompt = encoder::FindPrompt(*info, request.prompt);
    if (!prompt.ok()) return InvalidField("prompt", std::string(prompt.status().message()));
  }

  Embedded reply{.model = *std::move(info), .results = {}, .timings = {}};
  std::vector<encoder::EmbedResult>& results = reply.results;
  results.resize(texts.size());
  std::vector<std::string_view> good;
  std::vector<size_t> places;
  for (size_t i = 0; i < texts.size(); ++i) {
    results[i].status = CheckText(absl::StrCat("texts[", i, "]"), texts[i]);
    if (!results[i].status.ok()) continue;
    good.push_back(texts[i]);
    places.push_back(i);
  }
  if (good.empty()) return reply;
  encoder::EmbedOptions options;
  options.input_type = request.input_type;
  options.prompt = request.prompt;
  options.lane = request.input_type == encoder::InputType::kQuery ? encoder::Lane::kQuery
                                                                  : encoder::Lane::kBulk;
  options.truncate =
      request.truncate == Truncate::kError ? encoder::Truncate::kError : encoder::Truncate::kAuto;
  options.dimensions = request.dimensions;
  options.deadline = context.deadline;
  options.stop = context.stop;
  options.timings = &reply.timings;
  auto embedded = encoder.Embed(name, good, options);
  if (!embedded.ok()) return embedded.status();
  for (size_t j = 0; j < places.size(); ++j) {
    encoder::EmbedResult& result = results[places[j]];
    result = std::move((*embedded)[j]);
    if (absl::IsInvalidArgument(result.status)) {
      result.status = InvalidField(absl::StrCat("texts[", places[j], "]"),
                                   std::string(result.status.message()));
    }
  }
  return reply;
}

}  // namespace vecino::engine
