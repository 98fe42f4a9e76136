#include "client/cli/json_values.h"

#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <unordered_set>

namespace vecino::cli {
namespace {

constexpr int kDeepest = 64;  // the server takes metadata of 32 levels; printing recurses

bool TooDeep(std::string_view text) {
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      if (++depth > kDeepest) return true;
    } else if (c == '}' || c == ']') {
      --depth;
    }
  }
  return false;
}

// nlohmann's message without its exception's name: "parse error at line 1, column 5: …".
std::string Reason(const std::string& what) {
  const size_t bracket = what.find("] ");
  std::string reason = bracket == std::string::npos ? what : what.substr(bracket + 2);
  constexpr std::string_view kLine = "at line 1, ";  // of the text parsed, not of the file
  const size_t line = reason.find(kLine);
  if (line != std::string::npos) reason.replace(line, kLine.size(), "at ");
  return reason;
}

}  // namespace

bool ParseJson(std::string_view text, Json* json, std::string* error) {
  if (TooDeep(text)) {
    *error = "JSON nested deeper than " + std::to_string(kDeepest) + " levels";
    return false;
  }
  // Of objects that are open, the keys so far. The parser itself would keep the last one unsaid.
  std::vector<std::unordered_set<std::string>> keys;
  std::optional<std::string> twice;
  const auto watch = [&](int, Json::parse_event_t event, Json& value) {
    if (event == Json::parse_event_t::object_start) {
      keys.emplace_back();
    } else if (event == Json::parse_event_t::object_end) {
      keys.pop_back();
    } else if (event == Json::parse_event_t::key) {
      auto& key = value.get_ref<const std::string&>();
      if (!keys.back().insert(key).second && !twice) twice = key;
    }
    return true;
  };
  try {
    *json = Json::parse(text.begin(), text.end(), watch);
    if (!twice) return true;
    *error = "key '" + *twice + "' stands twice in one object";
    return false;
  } catch (const Json::exception& exception) {
    *error = Reason(exception.what());
    return false;
  }
}

bool ToVector(const Json& json, std::vector<float>* vector, std::string* error) {
  if (!json.is_array()) {
    *error = "vector must be an array of numbers";
    return false;
  }
  if (json.empty()) {
    *error = "vector is empty; leave it out where there is none";
    return false;
  }
  vector->clear();
  vector->reserve(json.size());
  for (const Json& value : json) {
    if (!value.is_number()) {
      *error = "vector[" + std::to_string(vector->size()) + "] is " + value.type_name() +
               ", not a number";
      return false;
    }
    const auto number = value.get<double>();
    if (std::abs(number) > std::numeric_limits<float>::max()) {
      *error = "vector[" + std::to_string(vector->size()) + "] is " + value.dump() +
               ", too large for a float";
      return false;
    }
    vector->push_back(static_cast<float>(number));
  }
  return true;
}

bool CheckNumbers(const Json& json, const std::string& path, std::string* error) {
  constexpr uint64_t kExact = uint64_t{1} << 53;
  if (json.is_number_integer()) {
    const bool negative = !json.is_number_unsigned() && json.get<int64_t>() < 0;
    const uint64_t size =
        negative ? uint64_t{0} - static_cast<uint64_t>(json.get<int64_t>()) : json.get<uint64_t>();
    if (size <= kExact) return true;
    *error = path + " = " + json.dump() +
             " does not fit a double, which is what metadata holds; make it a string";
    return false;
  }
  if (json.is_object()) {
    for (const auto& [key, value] : json.items()) {
      if (!CheckNumbers(value, path + "." + key, error)) return false;
    }
  } else if (json.is_array()) {
    size_t i = 0;
    for (const Json& value : json) {
      if (!CheckNumbers(value, path + "[" + std::to_string(i++) + "]", error)) return false;
    }
  }
  return true;
}

}  // namespace vecino::cli
