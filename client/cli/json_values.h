// JSON values that stand in a file to load, turned into a document's parts.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "client/cli/format.h"

namespace vecino::cli {

// Parses strictly. On failure returns false and sets *error to what is wrong and where. Nesting
// beyond 64 levels is refused before the parser sees it, and so is an object that has a key twice,
// wherever it stands. Never throws.
bool ParseJson(std::string_view text, Json* json, std::string* error);

// A JSON array of numbers. On failure returns false and sets *error.
bool ToVector(const Json& json, std::vector<float>* vector, std::string* error);

// Looks for integers that a double, which is what metadata holds, would change. False sets *error,
// naming the path from `path` on.
bool CheckNumbers(const Json& json, const std::string& path, std::string* error);

}  // namespace vecino::cli
