// Which of its model's prompts a collection puts before texts.
#pragma once

#include <string>

namespace vecino::engine {

// Names (encoder::ModelInfo::prompts). In requests empty: encoder::kQueryPrompt, kDocumentPrompt.
struct PromptNames {
  std::string query, document;

  friend bool operator==(const PromptNames&, const PromptNames&) = default;
};

}  // namespace vecino::engine
