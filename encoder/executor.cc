#include "encoder/executor.h"

#include "absl/strings/str_cat.h"

namespace vecino::encoder {

absl::Status CheckRows(std::span<const TokenRow> rows, std::span<float> vectors,
                       const RowLimits& limits) {
  if (rows.empty() || vectors.size() != rows.size() * static_cast<size_t>(limits.dimension)) {
    return absl::InternalError(
        absl::StrCat("batch of ", rows.size(), " rows with room for ", vectors.size(), " floats"));
  }
  for (const TokenRow& row : rows) {
    if (row.empty() || row.size() > static_cast<size_t>(limits.max_tokens)) {
      return absl::InternalError(
          absl::StrCat("row of ", row.size(), " ids; the limit is ", limits.max_tokens));
    }
    const bool pair = row.second > 0 && static_cast<size_t>(row.second) < row.size();
    if (pair != limits.pairs) {
      return absl::InternalError(
          absl::StrCat("a row of ", row.size(), " ids whose second text is at ", row.second,
                       " for a model of ", limits.pairs ? "pairs" : "texts alone"));
    }
    for (const int32_t id : row) {
      if (id < 0 || id >= limits.vocab_size) {
        return absl::InternalError(
            absl::StrCat("token id ", id, "; the vocabulary has ", limits.vocab_size));
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace vecino::encoder
