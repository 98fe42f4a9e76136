// embed_lines [--executor NAME] [--device NAME] MODEL_ROOT MODEL VECTORS [IDS]: embeds each line of
// stdin with the encoder as the server does. VECTORS: little-endian float32, one row a line. IDS:
// the token ids, one line of decimals a line. Exit status 1 when a line cannot be embedded. With a
// reranker lines are a query, a tab and a text, rows are scores, and each line is scored twice,
// with all texts of its query and alone: exit status 1 also when its two scores differ by more than
// 1e-5.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_join.h"
#include "encoder/encoder.h"
#include "encoder/model_folder.h"
#include "encoder/tokenizer_file.h"

namespace vecino::encoder {
namespace {

int Fail(const absl::Status& status) {
  std::cerr << "embed_lines: " << status << "\n";
  return 1;
}

// model: with or without @ and a precision.
int WriteIds(const char* root, std::string_view model, const std::vector<std::string>& lines,
             const char* path) {
  const auto folder = ReadModelFolder(root, model.substr(0, model.find('@')));
  if (!folder.ok()) return Fail(folder.status());
  const auto tokenizer = ReadTokenizer(folder->tokenizer, folder->vocabulary, folder->vocab_size);
  if (!tokenizer.ok()) return Fail(tokenizer.status());
  std::ofstream out(path);
  for (const std::string& line : lines) {
    out << absl::StrJoin((*tokenizer)->Encode(line, folder->info.max_tokens).ids, " ") << "\n";
  }
  return out.flush() ? 0 : Fail(absl::UnknownError("cannot write the ids"));
}

void WriteFloats(std::span<const float> floats, std::ofstream* out) {
  out->write(reinterpret_cast<const char*>(floats.data()),
             static_cast<std::streamsize>(floats.size_bytes()));
}

int RerankLines(Encoder& encoder, const char* model, const std::vector<std::string>& lines,
                std::ofstream* out) {
  for (size_t i = 0; i < lines.size();) {
    const std::string_view query = std::string_view(lines[i]).substr(0, lines[i].find('\t'));
    std::vector<std::string_view> texts;
    for (; i < lines.size() && lines[i].starts_with(query) && lines[i][query.size()] == '\t'; ++i) {
      texts.push_back(std::string_view(lines[i]).substr(query.size() + 1));
    }
    if (texts.empty()) return Fail(absl::InvalidArgumentError("a line without a tab"));
    const auto together = encoder.Rerank(model, query, texts, {});
    if (!together.ok()) return Fail(together.status());
    for (size_t j = 0; j < texts.size(); ++j) {
      const auto alone = encoder.Rerank(model, query, std::span(texts).subspan(j, 1), {});
      if (!alone.ok()) return Fail(alone.status());
      const RerankResult& result = (*together)[j];
      if (!result.status.ok()) return Fail(result.status);
      if (!(std::fabs(result.score - alone->front().score) <= 1e-5f)) {
        return Fail(absl::InternalError("a score depends on the other texts"));
      }
      WriteFloats({&result.score, 1}, out);
    }
  }
  return out->flush() ? 0 : Fail(absl::UnknownError("cannot write the scores"));
}

int EmbedLines(const std::string& executor, const std::string& device, const char* root,
               const char* model, const std::vector<std::string>& lines, const char* path) {
  const auto encoder =
      OpenEncoder({.model_root = root,
                   .executor = executor,
                   .device = device,
                   .log = [](std::string_view line) { std::cerr << line << "\n"; }});
  if (!encoder.ok()) return Fail(encoder.status());
  const auto info = (*encoder)->Model(model);
  if (!info.ok()) return Fail(info.status());
  std::ofstream out(path, std::ios::binary);
  if (info->task == Task::kRerank) return RerankLines(**encoder, model, lines, &out);
  const std::vector<std::string_view> texts(lines.begin(), lines.end());
  const auto results = (*encoder)->Embed(model, texts, {});
  if (!results.ok()) return Fail(results.status());
  for (const EmbedResult& result : *results) {
    if (!result.status.ok()) return Fail(result.status);
    WriteFloats(result.vector, &out);
  }
  return out.flush() ? 0 : Fail(absl::UnknownError("cannot write the vectors"));
}

}  // namespace
}  // namespace vecino::encoder

int main(int argc, char** argv) {
  std::vector<const char*> words(argv + 1, argv + argc);
  std::string executor = "auto", device = "cpu";
  while (words.size() > 2 && std::string_view(words[0]).starts_with("--")) {
    (std::string_view(words[0]) == "--device" ? device : executor) = words[1];
    words.erase(words.begin(), words.begin() + 2);
  }
  if (words.size() != 3 && words.size() != 4) {
    std::cerr
        << "usage: embed_lines [--executor NAME] [--device NAME] MODEL_ROOT MODEL VECTORS [IDS] < "
           "lines\n";
    return 2;
  }
  std::vector<std::string> lines;
  for (std::string line; std::getline(std::cin, line);) lines.push_back(line);
  const int status =
      vecino::encoder::EmbedLines(executor, device, words[0], words[1], lines, words[2]);
  if (status != 0 || words.size() == 3) return status;
  return vecino::encoder::WriteIds(words[0], words[1], lines, words[3]);
}
