// How documents that come as text get their vectors.
#include <algorithm>
#include <span>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/engine/chunking.h"
#include "server/engine/collection.h"

namespace vecino::engine {
namespace {

// Tokens of one call of the encoder, about: a part of its queue, so that a call with many long
// documents is not refused for ever. Passages of so many tokens fill its batches.
constexpr size_t kTokensPerCall = 1 << 18;

std::string TextField(size_t i) { return absl::StrCat("documents[", i, "].text"); }

}  // namespace

absl::Status Collection::EmbedWrites(Truncate truncate, const CallContext& context,
                                     std::vector<DocumentWrite>* writes,
                                     std::vector<WriteResult>* results, size_t most_vector_bytes) {
  std::vector<size_t> places;
  for (size_t i = 0; i < writes->size(); ++i) {
    const storage::Document& document = (*writes)[i].document;
    const absl::Status& status = (*results)[i].status;
    if (!status.ok() || !document.vector.empty()) continue;
    // What has neither vector nor a way to one is stored without.
    if (info_.spec.model.empty() || document.text.empty()) continue;
    places.push_back(i);
  }
  if (places.empty()) return absl::OkStatus();
  if (absl::Status status = CheckModel(); !status.ok()) {
    for (const size_t i : places) (*results)[i].status = status;
    return absl::OkStatus();
  }
  std::vector<std::string_view> texts;
  std::vector<size_t> owners;  // of each text, its place in `writes`
  absl::Status status =
      AppendPassages(places, context, most_vector_bytes, writes, results, &texts, &owners);
  if (!status.ok()) return status;

  const absl::Time start = absl::Now();
  encoder::EmbedOptions options;
  options.prompt = info_.spec.prompts.document;
  options.truncate =
      truncate == Truncate::kError ? encoder::Truncate::kError : encoder::Truncate::kAuto;
  options.dimensions = info_.spec.dimension;
  options.deadline = context.deadline;
  options.stop = context.stop;
  const size_t step = info_.spec.chunking.has_value()
                          ? kTokensPerCall / static_cast<size_t>(info_.spec.chunking->max_tokens)
                          : texts.size();
  // Given to the documents only when all of it is there: a call that fails may come again.
  std::vector<std::vector<float>> vectors(writes->size());
  for (size_t first = 0; first < texts.size(); first += step) {
    const size_t count = std::min(step, texts.size() - first);
    auto embedded =
        context_.encoder->Embed(info_.spec.model, std::span(texts).subspan(first, count), options);
    if (!embedded.ok()) return embedded.status();
    for (size_t j = 0; j < count; ++j) {
      const size_t i = owners[first + j];
      encoder::EmbedResult& one = (*embedded)[j];
      WriteResult& result = (*results)[i];
      result.token_count += one.token_count;
      result.truncated = result.truncated || one.truncated;
      if (!result.status.ok()) continue;  // of a passage before
      result.status = absl::IsInvalidArgument(one.status)
                          ? InvalidField(TextField(i), std::string(one.status.message()))
                          : one.status;
      std::vector<float>& vector = vectors[i];
      if (vector.empty()) {
        vector = std::move(one.vector);
      } else {
        vector.insert(vector.end(), one.vector.begin(), one.vector.end());
      }
    }
  }
  for (const size_t i : places) {
    if ((*results)[i].status.ok()) (*writes)[i].document.vector = std::move(vectors[i]);
  }
  context_.metrics->write_embed.Observe(absl::ToDoubleSeconds(absl::Now() - start));
  return absl::OkStatus();
}

// The texts to embed of the documents at `places`: whole ones, or their passages, which are set.
absl::Status Collection::AppendPassages(std::span<const size_t> places, const CallContext& context,
                                        size_t most_vector_bytes,
                                        std::vector<DocumentWrite>* writes,
                                        std::vector<WriteResult>* results,
                                        std::vector<std::string_view>* texts,
                                        std::vector<size_t>* owners) const {
  if (!info_.spec.chunking.has_value()) {
    for (const size_t i : places) texts->push_back((*writes)[i].document.text);
    owners->assign(places.begin(), places.end());
    return absl::OkStatus();
  }
  const auto model = context_.encoder->Model(info_.spec.model);
  if (!model.ok()) return model.status();
  const auto prompt = encoder::FindPrompt(*model, info_.spec.prompts.document);
  if (!prompt.ok()) return prompt.status();
  for (const size_t i : places) {
    if (absl::Status status = CheckCall(context, "embedding"); !status.ok()) return status;
    (*results)[i].token_count = 0;
    storage::Document& document = (*writes)[i].document;
    auto passages = SplitDocument(TextField(i), document.text, *info_.spec.chunking,
                                  *context_.encoder, model->name, prompt->tokens);
    if (!passages.ok()) {
      (*results)[i].status = passages.status();
      continue;
    }
    // One alone is always taken: its passages are limited.
    const size_t row = sizeof(float) * static_cast<size_t>(info_.spec.dimension);
    if (!texts->empty() && texts->size() + passages->size() > most_vector_bytes / row) {
      (*results)[i].status = absl::ResourceExhaustedError(absl::StrCat(
          "documents[", i, "].text has ", passages->size(), " passages, and the vectors of the ",
          texts->size(), " passages before it in this call take ", texts->size() * row,
          " bytes, of at most ", most_vector_bytes, "; send fewer documents at once"));
      continue;
    }
    document.passages = *std::move(passages);
    for (const storage::Passage& passage : document.passages) {
      texts->push_back(
          std::string_view(document.text).substr(passage.begin, passage.end - passage.begin));
      owners->push_back(i);
    }
  }
  return absl::OkStatus();
}

}  // namespace vecino::engine
