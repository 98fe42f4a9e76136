#include "server/engine/rerank_texts.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/engine/validation.h"

namespace vecino::engine {
namespace {

absl::string_view Absl(std::string_view text) { return {text.data(), text.size()}; }

}  // namespace

absl::StatusOr<encoder::ModelInfo> FindReranker(const encoder::Encoder& encoder,
                                                std::string_view name, std::string_view field) {
  if (!name.empty()) {
    auto info = encoder.Model(name);
    if (!info.ok() || info->task == encoder::Task::kRerank) return info;
    return InvalidField(field, absl::StrCat("is `", info->name,
                                            "`, an embedding model; name a reranker, a model whose "
                                            "task is to score pairs"));
  }
  // In its own precision: others are asked for by name.
  std::vector<encoder::ModelInfo> rerankers;
  std::string names;
  for (encoder::ModelInfo& one : encoder.Models()) {
    if (one.task != encoder::Task::kRerank || one.precision != "fp32") continue;
    absl::StrAppend(&names, names.empty() ? "" : ", ", one.name);
    rerankers.push_back(std::move(one));
  }
  if (rerankers.empty()) {
    return absl::FailedPreconditionError(absl::StrCat(
        Absl(field),
        ": the server has no reranker; export a cross-encoder with encoder/export/export.py into a "
        "folder under its model root (model.root) and start it again"));
  }
  if (rerankers.size() > 1) {
    return InvalidField(field, absl::StrCat("is empty, and the server has ", rerankers.size(),
                                            " rerankers to choose from: ", names));
  }
  return std::move(rerankers.front());
}

absl::StatusOr<RerankedTexts> RerankTexts(encoder::Encoder& encoder, const RerankRequest& request,
                                          const CallContext& context) {
  const auto& texts = request.texts;
  if (absl::Status status = CheckBatchSize("texts", texts.size()); !status.ok()) return status;
  if (request.query.empty() || request.query.size() > Limits::kMaxRerankQueryBytes) {
    return InvalidField("query",
                        absl::StrCat("has ", request.query.size(), " bytes; it must have 1 to ",
                                     Limits::kMaxRerankQueryBytes));
  }
  if (absl::Status status = CheckText("query", request.query); !status.ok()) return status;
  auto info = FindReranker(encoder, request.model, "model");
  if (!info.ok()) return info.status();
  RerankedTexts reply{.model = *std::move(info), .results = {}, .timings = {}};
  reply.results.resize(texts.size());
  std::vector<std::string_view> good;
  std::vector<size_t> places;
  for (size_t i = 0; i < texts.size(); ++i) {
    reply.results[i].status = CheckText(absl::StrCat("texts[", i, "]"), texts[i]);
    if (!reply.results[i].status.ok()) continue;
    good.push_back(texts[i]);
    places.push_back(i);
  }
  if (good.empty()) return reply;
  encoder::RerankOptions options;
  options.truncate =
      request.truncate == Truncate::kError ? encoder::Truncate::kError : encoder::Truncate::kAuto;
  options.deadline = context.deadline;
  options.stop = context.stop;
  options.timings = &reply.timings;
  auto scored = encoder.Rerank(reply.model.name, request.query, good, options);
  if (!scored.ok()) return scored.status();
  for (size_t j = 0; j < places.size(); ++j) {
    encoder::RerankResult& result = reply.results[places[j]];
    result = std::move((*scored)[j]);
    if (absl::IsInvalidArgument(result.status)) {
      result.status = InvalidField(absl::StrCat("texts[", places[j], "]"),
                                   std::string(result.status.message()));
    }
  }
  return reply;
}

}  // namespace vecino::engine
