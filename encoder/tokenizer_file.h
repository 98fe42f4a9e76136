// The tokenizer of a model folder, from its manifest's options and its vocabulary file.
#pragma once

#include <memory>
#include <string_view>

#include "absl/status/statusor.h"
#include "encoder/tokenizer.h"

namespace vecino::encoder {

// The name of the file that holds the vocabulary of a tokenizer of `type` ("wordpiece", "bpe",
// "unigram"); null for a type that this version does not know.
const char* VocabularyFile(std::string_view type);

// options: the manifest's `tokenizer`, as JSON. vocabulary: the bytes of its file. vocab_size: ids
// are below it. docs/encoder.md tells both formats. DATA_LOSS: a field is missing, of another type
// or out of range. UNIMPLEMENTED: a type this version does not know. INVALID_ARGUMENT: the
// vocabulary cannot be used.
absl::StatusOr<std::unique_ptr<Tokenizer>> ReadTokenizer(std::string_view options,
                                                         std::string_view vocabulary,
                                                         int vocab_size);

}  // namespace vecino::encoder
