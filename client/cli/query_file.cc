#include "client/cli/query_file.h"

#include <memory>
#include <utility>
#include <vector>

#include "client/cli/format.h"
#include "client/cli/input.h"
#include "client/cli/interrupt.h"
#include "client/cli/json_values.h"
#include "client/cli/record_reader.h"
#include "client/cli/terminal.h"

namespace vecino::cli {

std::string ReadQueryFile(const std::string& path, RecallQueries* queries) {
  Result<std::unique_ptr<Input>> input = Input::Open(path, &Interrupted());
  if (!input.ok()) return input.status().message();
  std::string line;
  for (int number = 1;; ++number) {
    const Input::Outcome outcome = (*input)->ReadLine(kLongestRecord, &line);
    if (outcome == Input::Outcome::kEnd) break;
    const std::string where = Printable(path) + " line " + std::to_string(number) + ": ";
    if (outcome == Input::Outcome::kTooLong) return where + "longer than 8 MiB";
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (line.empty()) continue;
    if (line.front() != '[') {
      queries->texts.push_back(line);
      continue;
    }
    const Json json = Json::parse(line, nullptr, /*allow_exceptions=*/false);
    std::string error;
    std::vector<float> vector;
    if (!json.is_array()) return where + "begins with [ but is no JSON array";
    if (!ToVector(json, &vector, &error)) return where + error;
    queries->vectors.push_back(std::move(vector));
  }
  if (!(*input)->status().ok()) return (*input)->status().message();
  if (queries->texts.empty() && queries->vectors.empty()) {
    return Printable(path) + " holds no queries; write a text or a JSON array on each line";
  }
  return "";
}

}  // namespace vecino::cli
