// Rows and filters made at random, over few fields and values, so that conditions meet.
#pragma once

#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/fields/row.h"

namespace vecino::fields {

class RandomFields {
 public:
  explicit RandomFields(unsigned seed) : rng_(seed) {}

  size_t Below(size_t n) { return std::uniform_int_distribution<size_t>(0, n - 1)(rng_); }

  // A metadata object; often some of its fields are missing, null, lists or of an odd type.
  std::string Json() {
    std::string json = "{";
    const auto add = [&](const std::string& key, const std::string& value) {
      absl::StrAppend(&json, json.size() > 1 ? "," : "", "\"", key, "\":", value);
    };
    if (Below(8) > 0) add("year", Below(12) == 0 ? "null" : absl::StrCat(2000 + Below(30)));
    if (Below(8) > 0) add("price", absl::StrCat(static_cast<double>(Below(1000)) / 8));
    if (Below(8) > 0) add("lang", Quote(Language()));
    if (Below(3) > 0) {
      std::string list = "[";
      const size_t n = Below(4);
      for (size_t i = 0; i < n; ++i) absl::StrAppend(&list, i > 0 ? "," : "", Quote(Tag()));
      add("tags", list + "]");
    }
    if (Below(2) > 0) add("draft", Below(2) > 0 ? "true" : "false");
    if (Below(3) > 0)
      add("author", absl::StrCat("{\"name\":", Quote(Language()), ",\"age\":", Below(90), "}"));
    if (Below(3) > 0) add("day", Quote(Day()));
    if (Below(40) == 0) add("mixed", Below(2) > 0 ? "7" : "\"seven\"");
    return json + "}";
  }

  // A filter over those fields.
  std::string Filter(int depth = 3) {
    switch (depth == 0 ? 9 : Below(12)) {
      case 0:
      case 1:
        return absl::StrCat("(", Filter(depth - 1), ") AND (", Filter(depth - 1), ")");
      case 2:
      case 3:
        return absl::StrCat("(", Filter(depth - 1), ") OR (", Filter(depth - 1), ")");
      case 4:
        return absl::StrCat("NOT (", Filter(depth - 1), ")");
      default:
        return Condition();
    }
  }

 private:
  static std::string Quote(const std::string& text) { return absl::StrCat("\"", text, "\""); }
  std::string Language() {
    return std::string(1, static_cast<char>('a' + Below(6))) + (Below(3) == 0 ? "x" : "");
  }
  std::string Tag() { return absl::StrCat("t", Below(9)); }
  std::string Day() {
    return Below(3) == 0 ? absl::StrCat("2024-05-0", 1 + Below(9))
                         : absl::StrCat("2024-05-0", 1 + Below(9), "T1", Below(9), ":00:00Z");
  }
  std::string Order() {
    const char* const orders[] = {"=", "!=", "<", "<=", ">", ">="};
    return orders[Below(6)];
  }
  std::string Condition() {
    switch (Below(12)) {
      case 0:
        return absl::StrCat("year ", Order(), " ", 2000 + Below(30));
      case 1:
        return absl::StrCat("price ", Order(), " ", static_cast<double>(Below(1000)) / 8);
      case 2:
        return absl::StrCat("lang ", Order(), " ", Quote(Language()));
      case 3:
        return absl::StrCat("tags : ", Quote(Tag()));
      case 4:
        return Below(2) > 0 ? "draft = true" : "draft != false";
      case 5:
        return absl::StrCat("author.name ", Order(), " ", Quote(Language()));
      case 6:
        return absl::StrCat("lang IN (", Quote(Language()), ", ", Quote(Language()),
                            Below(3) == 0 ? ", null)" : ")");
      case 7:
        return Below(2) > 0 ? "exists(author.age)" : "tags:*";
      case 8:
        return Below(2) > 0 ? "year = null" : "year != null";
      case 9:
        return absl::StrCat("day ", Order(), " ", Quote(Day()));
      case 10:
        return absl::StrCat("lang = ", Below(2) > 0 ? "\"*x\"" : "\"a*\"");
      default:
        return Below(2) > 0 ? "author:\"age\"" : "year NOT IN (2001, 2002, 2003)";
    }
  }

  std::mt19937 rng_;
};

}  // namespace vecino::fields
