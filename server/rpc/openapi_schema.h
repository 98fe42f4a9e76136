// Schemas of OpenAPI 3.0 for messages as proto3 JSON has them.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "google/protobuf/descriptor.h"

namespace vecino::rpc {

// The comment of a method, message, field, enum or value, as one paragraph; empty where the
// descriptor was made without comments.
template <class Descriptor>
std::string CommentOf(const Descriptor& descriptor) {
  google::protobuf::SourceLocation location;
  if (!descriptor.GetSourceLocation(&location)) return "";
  const std::string& text =
      location.leading_comments.empty() ? location.trailing_comments : location.leading_comments;
  std::string paragraph;
  for (const char c : text) {
    const bool space = c == ' ' || c == '\n';
    if (!space) {
      paragraph.push_back(c);
    } else if (!paragraph.empty() && paragraph.back() != ' ') {
      paragraph.push_back(' ');
    }
  }
  while (paragraph.ends_with(' ')) paragraph.pop_back();
  return paragraph;
}

// A reference to the schema of `type`, which is added to `*schemas`, with all that it refers to,
// under full names; a schema itself for the messages that JSON has a form of its own for. What a
// oneof means is in the descriptions: JSON Schema could say it, but generators of clients could not
// use it.
nlohmann::ordered_json SchemaOf(const google::protobuf::Descriptor& type,
                                nlohmann::ordered_json* schemas);

}  // namespace vecino::rpc
