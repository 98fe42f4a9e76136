#include "server/engine/model_choice.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/engine/types.h"

namespace vecino::engine {

absl::StatusOr<ModelChoice> ChooseModel(const encoder::Encoder& encoder, std::string_view name,
                                        int dimension, std::string_view parent_name) {
  const std::string parent(parent_name);
  auto model = encoder.Model(name);
  if (!model.ok()) return model.status();
  if (model->task == encoder::Task::kRerank) {
    return InvalidField(
        absl::StrCat(parent, "embedding.model"),
        absl::StrCat("is `", model->name,
                     "`, a reranker, which makes no vectors; name an embedding model, and the "
                     "reranker in `rerank` of a search"));
  }
  if (dimension == 0) dimension = model->dimension;
  const auto& fewer = model->matryoshka;
  if (dimension != model->dimension &&
      std::find(fewer.begin(), fewer.end(), dimension) == fewer.end()) {
    return InvalidField(
        absl::StrCat(parent, "dimension"),
        absl::StrCat("is ", dimension, ", but model `", model->name, "` makes ", model->dimension,
                     " values",
                     fewer.empty() ? "" : absl::StrCat(" or ", absl::StrJoin(fewer, ", ")),
                     "; leave it 0 to take ", model->dimension));
  }
  return ModelChoice{*std::move(model), dimension};
}

absl::StatusOr<PromptNames> ChoosePrompts(const encoder::ModelInfo& model, PromptNames names,
                                          std::string_view parent_name) {
  const std::string parent(parent_name);
  if (names.query.empty()) names.query = encoder::kQueryPrompt;
  if (names.document.empty()) names.document = encoder::kDocumentPrompt;
  for (const auto& [name, field] : {std::pair(&names.query, "embedding.query_prompt"),
                                    std::pair(&names.document, "embedding.document_prompt")}) {
    const auto prompt = encoder::FindPrompt(model, *name);
    if (!prompt.ok()) {
      return InvalidField(absl::StrCat(parent, field), std::string(prompt.status().message()));
    }
  }
  return names;
}

}  // namespace vecino::engine
