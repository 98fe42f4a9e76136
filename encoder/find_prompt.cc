#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "encoder/encoder.h"

namespace vecino::encoder {
namespace {

constexpr size_t kListedBytes = 512;  // of the names in a message

}  // namespace

absl::StatusOr<Prompt> FindPrompt(const ModelInfo& model, std::string_view name) {
  const auto found = model.prompts.find(name);
  if (found != model.prompts.end()) return found->second;
  std::string names;
  size_t listed = 0;
  for (const auto& [known, prompt] : model.prompts) {
    if (names.size() + known.size() > kListedBytes) break;
    absl::StrAppend(&names, listed++ == 0 ? "" : ", ", absl::Utf8SafeCEscape(known));
  }
  if (listed < model.prompts.size()) {
    absl::StrAppend(&names, " and ", model.prompts.size() - listed, " more");
  }
  return absl::InvalidArgumentError(absl::StrCat("model ", model.name, " has no prompt '",
                                                 absl::CEscape(std::string(name.substr(0, 64))),
                                                 "'; it has: ", names));
}

}  // namespace vecino::encoder
